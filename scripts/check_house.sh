#!/usr/bin/env bash
# House rules that a command can check: no file above 600 lines, no note of unfinished work, no path of one machine,
# and no more than 40 MB in the repository.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

sources=('*.cc' '*.h' '*.py' '*.sh' '*.cu' '*.cuh' '*.cmake' 'Makefile' 'CMakeLists.txt' '.ci/run')
texts=("${sources[@]}" '*.md' '*.yaml' '*.yml' '*.svg')
not_this=(':!scripts/check_house.sh')
status=0

report() { # TITLE: fails when standard input has lines
  local lines
  lines=$(cat)
  [ -z "$lines" ] && return
  printf '%s\n%s\n' "$1" "$lines"
  status=1
}

report "files of more than 600 lines:" < <(
  git ls-files -z -- "${sources[@]}" | xargs -0 -r wc -l | awk '$2 != "total" && $1 > 600')
report "unfinished work:" < <(git grep -nIwE 'TOD[O]|FIXM[E]|XX[X]|HAC[K]' -- "${sources[@]}" "${not_this[@]}")
report "paths of one machine:" < <(
  git grep -nIE '(^|[^A-Za-z0-9_.$}])/(work|root|home/[a-z]+)/' -- "${texts[@]}" "${not_this[@]}")
report "tracked bytes, above 40 MB:" < <(
  git ls-files -z | xargs -0 -r stat -c %s | awk '{ bytes += $1 } END { if (bytes > 40e6) print bytes }')
exit "$status"
