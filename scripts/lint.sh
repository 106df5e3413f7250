#!/usr/bin/env bash
# clang-tidy, with .clang-tidy's short list of errors, on the sources that changed: against the merge base with
# origin/main, or on main itself against the commit before. A changed header stands for the sources of its module.
# Usage: scripts/lint.sh [--all]
set -euo pipefail
cd "$(dirname "$0")/.."

changed_files() {
  local base
  base=$(git merge-base HEAD origin/main 2> /dev/null || true)
  if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
    base=$(git rev-parse --verify --quiet HEAD~1 || git hash-object -t tree /dev/null)
  fi
  git diff --name-only --diff-filter=d "$base" -- src
}

sources() {
  if [ "${1:-}" = --all ]; then
    git ls-files 'src/*.cc'
    return
  fi
  changed_files | while read -r path; do
    case $path in
      *.cc) echo "$path" ;;
      *.h) git ls-files "$(dirname "$path")/*.cc" ;;
    esac
  done | sort -u
}

tidy=$(command -v clang-tidy-14 || command -v clang-tidy-18)
compiler=$(command -v clang++-14 || command -v clang++-18)
# Its own compile commands: clang does not know gcc's warning flags.
cmake -S . -B build/lint -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DOUTRIDER_TESTS=OFF > /dev/null
mapfile -t files < <(sources "${1:-}")
echo "${#files[@]} files"
[ ${#files[@]} -eq 0 ] && exit 0
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" "$tidy" -p build/lint --quiet
