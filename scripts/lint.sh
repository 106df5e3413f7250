#!/usr/bin/env bash
# clang-tidy, with .clang-tidy's short list of errors, on src, or on the modules that are named. Files of a module are read
# eight at a time as one source: most of the time goes into their common headers. Of src/cuda it reads what the host runs,
# where CUDA's headers are; kernels are left to nvcc.
# Usage: scripts/lint.sh [module...]
set -euo pipefail
cd "$(dirname "$0")/.."

# Its own compile commands: clang does not know gcc's warning flags.
cmake -S . -B build/lint -G Ninja -DCMAKE_CXX_COMPILER=clang++-16 -DOUTRIDER_TESTS=OFF -DCMAKE_UNITY_BUILD=ON \
  -DCMAKE_UNITY_BUILD_BATCH_SIZE=8 > /dev/null
cmake --build build/lint --target web_assets.cc > /dev/null  # a source that is made
modules=$(IFS='|' && echo "$*")
mapfile -t files < <(python3 -c 'import json
for entry in json.load(open("build/lint/compile_commands.json")): print(entry["file"])' |
  grep -E "/(outrider_(${modules:-[a-z]+})\.dir|src/(${modules:-[a-z]+}))/")

# clang builds without CUDA, so that src/cuda has no compile commands: it takes the flags of the source nearest by name.
cuda_flags=()
if [[ ! cuda =~ ^(${modules:-cuda})$ ]]; then
  :
elif nvcc=$(scripts/install-cuda.sh find); then
  cuda=$PWD/build/lint/cuda.cc
  printf '#include "%s"\n' src/cuda/*.cc | sed 's|src/||' > "$cuda"
  files+=("$cuda")
  cuda_flags=(--extra-arg="-isystem$(dirname "$(dirname "$(readlink -f "$nvcc")")")/include")
else
  echo "src/cuda is left out: there is no CUDA 13"
fi
echo "${#files[@]} sources"
[ ${#files[@]} -eq 0 ] || printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy-16 -p build/lint --quiet "${cuda_flags[@]}"
