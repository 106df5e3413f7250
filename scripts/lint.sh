#!/usr/bin/env bash
# clang-tidy, with .clang-tidy's short list of errors, on the sources that changed: since the merge base with
# origin/main, or on main itself in its last day. A changed header stands for the sources of its module. src/cuda is left
# to nvcc: its headers are not what clang 16 reads.
# Usage: scripts/lint.sh [--all]
set -euo pipefail
cd "$(dirname "$0")/.."

changed_files() {
  local base
  base=$(git merge-base HEAD origin/main 2> /dev/null || true)
  if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
    base=$(git rev-list -1 --before="$(($(git log -1 --format=%ct) - 86400))" HEAD)
  fi
  [ -n "$base" ] || base=$(git hash-object -t tree /dev/null)
  git diff --name-only --diff-filter=d "$base" -- src ':!src/cuda'
}

sources() {
  if [ "${1:-}" = --all ]; then
    git ls-files 'src/*.cc' ':!src/cuda'
    return
  fi
  changed_files | while read -r path; do
    case $path in
      *.cc) echo "$path" ;;
      *.h) git ls-files "$(dirname "$path")/*.cc" ;;
    esac
  done | sort -u
}

# Its own compile commands: clang does not know gcc's warning flags.
cmake -S . -B build/lint -G Ninja -DCMAKE_CXX_COMPILER=clang++-16 -DOUTRIDER_TESTS=OFF > /dev/null
mapfile -t files < <(sources "${1:-}")
echo "${#files[@]} files"
[ ${#files[@]} -eq 0 ] && exit 0
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-16 -p build/lint --quiet
