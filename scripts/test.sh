#!/usr/bin/env bash
# Runs the suite, or the groups that are named, to the end whatever fails; prints a table of steps and their seconds,
# then `N passed, N failed`. Results and logs: build/results. Settings: FUZZ_SECONDS (60 a parser).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
  cat << 'END'
usage: scripts/test.sh [group...]; without one, all but fuzz and clients; with CI=true, all but clients
  checks   format, include directions, house rules, shell and Python scripts, clang-tidy
  unit     build (in CI with warnings as errors); unit, golden and property tests
  api      real clients and a browser against the binary
  asan     unit and API tests under AddressSanitizer and UndefinedBehaviorSanitizer
  tsan     engine tests under ThreadSanitizer
  fuzz     each parser of foreign bytes
  clients  lm_eval against the served model (downloads torch)
  summary  nothing: the table of the runs so far
END
}

groups=("$@")
[ $# -eq 0 ] && groups=(checks unit api asan tsan)
[ $# -eq 0 ] && [ "${CI:-}" = true ] && groups+=(fuzz)
for group in "${groups[@]}"; do
  case $group in
    checks | unit | api | asan | tsan | fuzz | clients | summary) ;;
    *) usage; [ "$group" = --help ] && exit 0; exit 2 ;;
  esac
done

export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1
# Sanitizers' builds read the files of a module eight at a time as one source: half of the time. The build for the unit
# tests takes the modules' files one by one and so shows that each stands alone; in CI the tests themselves go together.
unity=(-DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=8)
results=$PWD/build/results
mkdir -p "$results"
table=$results/steps.tsv # name, seconds, passed, failed
# CI adds up the suite's two halves.
[ -n "${OUTRIDER_KEEP_RESULTS:-}" ] || : > "$table"

# step NAME COMMAND...: the command's tests are counted from $results/NAME.xml when it wrote one; else it is one check.
step() {
  local name=$1 log=$results/$1.log junit=$results/$1.xml start status=0 counts
  shift
  rm -f "$junit"
  start=$(date +%s)
  echo "== $name"
  "$@" > "$log" 2>&1 < /dev/null || status=$?
  counts=$(count_results "$junit" "$status")
  printf '%s\t%s\t%s\n' "$name" "$(($(date +%s) - start))" "$counts" >> "$table"
  if [ "$status" -ne 0 ]; then
    echo "-- $name failed; $log ends:"
    tail -n 100 "$log"
  fi
  return "$status"
}

# Prints "passed TAB failed". A run that failed without naming a failed test counts as one failure.
count_results() {
  local junit=$1 status=$2 passed=0 failed=0
  if [ -f "$junit" ]; then
    read -r passed failed < <(python3 scripts/count_junit.py "$junit")
    [ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
  elif [ "$status" -eq 0 ]; then
    passed=1
  else
    failed=1
  fi
  printf '%s\t%s' "$passed" "$failed"
}

# configure_and_build DIR TARGETS... -- CMAKE_ARGUMENTS...
configure_and_build() {
  local dir=$1 targets=()
  shift
  while [ "$1" != -- ]; do
    targets+=("$1")
    shift
  done
  shift
  cmake -S . -B "$dir" -G Ninja --log-level=WARNING "$@" && cmake --build "$dir" --target "${targets[@]}"
}

run_ctest() { # NAME DIR [CTEST_ARGUMENTS]
  local name=$1 dir=$2
  shift 2
  ctest --test-dir "$dir" -j "$(nproc)" --output-on-failure --no-tests=error --output-junit "$results/$name.xml" "$@"
}

# An environment of its own for a folder of Python tests, made again only when its requirements changed.
make_venv() { # FOLDER PIP_ARGUMENTS...
  local venv=.venv/$1 requirements=tests/$1/requirements.txt
  shift
  cmp -s "$requirements" "$venv/installed.txt" && return 0
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" \
    -r "$requirements" && cp "$requirements" "$venv/installed.txt"
}

run_pytest() { # NAME VENV BINARY PYTEST_ARGUMENTS...
  local name=$1 venv=$2 binary=$3
  shift 3
  OUTRIDER_BINARY=$PWD/$binary ".venv/$venv/bin/python" -m pytest -q --junitxml "$results/$name.xml" "$@"
}

run_checks() {
  step format scripts/check_format.sh
  step includes python3 scripts/check_includes.py
  step house scripts/check_house.sh
  step shellcheck shellcheck .ci/run scripts/*.sh recipes/llama4-scout/*.sh deploy/*.sh deploy/docker/*.sh
  step python-syntax python3 scripts/check_python.py
  step script-tests python3 tests/scripts/test_check_includes.py
  step clang-tidy scripts/lint.sh
}

# CI compiles the CUDA runner whatever the machine (its tests skip what needs a GPU), and warnings are errors. Elsewhere it is
# built where there is a use or a compiler for it, and what another compiler warns of fails nothing.
run_unit() {
  local compiler=gpu cuda=AUTO unity_tests=OFF werror=OFF
  if [ "${CI:-}" = true ]; then
    compiler=always cuda=ON unity_tests=ON werror=ON
  fi
  step cuda-compiler scripts/install-cuda.sh $compiler || return
  step build configure_and_build build all -- -DCMAKE_BUILD_TYPE=Release -DOUTRIDER_WERROR=$werror -DOUTRIDER_TESTS=ON \
    -DOUTRIDER_CUDA=$cuda -DOUTRIDER_UNITY_TESTS=$unity_tests || return
  step tensor-cores no_serialized_products
  step unit run_ctest unit build
}

# nvcc only remarks on matrix instructions that do not overlap (C7510 and others): right, but slow.
no_serialized_products() {
  ! grep "(C75[0-9][0-9])" "$results/build.log"
}

# The groups that need the binary of another group build it when that group was not asked for.
ensure_binary() {
  [ -x build/outrider ] || step build-binary make build
}

run_api() {
  ensure_binary && step api-environment make_venv api || return
  step api run_pytest api api build/outrider tests/api
  step web run_pytest web api build/outrider tests/web
}

run_asan() {
  step asan-build configure_and_build build/asan all -- -DCMAKE_BUILD_TYPE=Sanitize -DCMAKE_CXX_FLAGS_SANITIZE=-O1 \
    -DOUTRIDER_SANITIZE=address,undefined "${unity[@]}" || return
  step asan-unit run_ctest asan-unit build/asan
  # What a test says about seconds holds for the optimised binary only, and long ones take ten times as long here.
  step asan-api-environment make_venv api &&
    step asan-api run_pytest asan-api api build/asan/outrider tests/api -m "not timing and not long"
}

run_tsan() {
  step tsan-build configure_and_build build/tsan test_engine -- -DCMAKE_BUILD_TYPE=Sanitize \
    -DCMAKE_CXX_FLAGS_SANITIZE=-O1 -DOUTRIDER_SANITIZE=thread "${unity[@]}" &&
    step tsan-engine run_ctest tsan-engine build/tsan -L engine
}

run_fuzz() {
  step fuzz-build configure_and_build build/fuzz fuzzers -- -DCMAKE_CXX_COMPILER=clang++-16 -DCMAKE_BUILD_TYPE=Sanitize \
    -DCMAKE_CXX_FLAGS_SANITIZE=-O1 -DOUTRIDER_SANITIZE=fuzzer-no-link,address,undefined -DOUTRIDER_TESTS=OFF \
    -DOUTRIDER_FUZZ=ON "${unity[@]}" &&
    step fuzz python3 scripts/fuzz.py build/fuzz --seconds "${FUZZ_SECONDS:-60}" --junit "$results/fuzz.xml"
}

run_clients() {
  # Every package is named with its version: pip need not solve anything, and must not add to it.
  ensure_binary && step clients-environment make_venv clients --no-deps &&
    step clients run_pytest clients clients build/outrider tests/clients
}

run_summary() { :; }

[ "${groups[*]}" = summary ] || step dependencies scripts/install-deps.sh test || groups=(summary)
for group in "${groups[@]}"; do
  "run_$group"
done

echo
awk -F'\t' '{ printf "%-24s %5d s %6d passed %4d failed\n", $1, $2, $3, $4; seconds += $2 }
            END { printf "%-24s %5d s\n", "all steps", seconds }' "$table"
awk -F'\t' '{ passed += $3; failed += $4 }
            END { printf "%d passed, %d failed\n", passed, failed; exit failed > 0 || passed == 0 }' "$table"
