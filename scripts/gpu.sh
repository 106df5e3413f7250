#!/usr/bin/env bash
# Tests or measures the CUDA runner on this machine's Hopper GPU. Builds what it needs first, or takes the programs of a
# folder where they are built already.
# Usage: scripts/gpu.sh test|bench [BUILD]
#   test   every kernel and the runner against exact arithmetic and goldens, a device fault under a running server,
#          Scout's width against transformers, the memory checkers
#   bench  checks the kernels, times each beside its floor; and whole steps; build/results/gpu-bench.md
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

mode=${1:-}
case $mode in
  test | bench) ;;
  *) echo "usage: $0 test|bench [BUILD]" >&2; exit 2 ;;
esac
build=${2:-build}
results=$PWD/build/results
failed=()

refuse() {
  echo "make gpu-$mode: $1" >&2
  exit 1
}

command -v nvidia-smi > /dev/null || refuse "no GPU here: there is no nvidia-smi, and so no NVIDIA driver"
gpu=$(nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader 2> /dev/null | head -n 1)
[ -n "$gpu" ] || refuse "no GPU here: nvidia-smi names none"
[ "${gpu##*, }" = 9.0 ] || refuse "the kernels are built for compute capability 9.0 (Hopper); this is ${gpu%%,*} with ${gpu##*, }"

if [ $# -lt 2 ]; then
  scripts/install-deps.sh test || exit
  scripts/install-cuda.sh gpu || exit
  cmake -S . -B build -G Ninja --log-level=NOTICE -DCMAKE_BUILD_TYPE=Release -DOUTRIDER_CUDA=ON -DOUTRIDER_TESTS=ON \
    -DOUTRIDER_BENCHMARKS=ON || exit
  targets=(test_cuda outrider inject_fault)
  [ "$mode" = bench ] && targets=(test_cuda bench_gemm bench_attention bench_rows bench_sampler bench_step)
  cmake --build build --target "${targets[@]}" || exit
fi
mkdir -p "$results"

# step NAME COMMAND...: output in $results/gpu-NAME.log too.
step() {
  local name=$1 start status
  shift
  echo "== $name"
  start=$(date +%s)
  "$@" 2>&1 | tee "$results/gpu-$name.log"
  status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] || failed+=("$name")
  echo "-- $name: exit code $status, $(($(date +%s) - start)) s"
}

kernels='Attention*:CudaAttention*:*Elementwise*:AddNorm*:Route*:Gemm*:QkvFinish*:Sampler.*:KvImage*:Device.*'

test_gpu() {
  step kernels-and-runner "$build/test_cuda" --gtest_brief=1
  step fault python3 tests/cuda/fault/fault_test.py "$build"
  if python3 -c 'import torch, transformers, safetensors' 2> /dev/null; then
    step full-width python3 tests/cuda/full_width.py --outrider "$build/outrider"
  else
    echo "== full-width: left out; its python3 needs torch, transformers and safetensors"
  fi
  if command -v compute-sanitizer > /dev/null; then
    # Shapes that are small: racecheck slows a kernel down a thousand times.
    for tool in memcheck racecheck synccheck; do
      step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$build/test_cuda" --gtest_brief=1 \
        --gtest_filter="$small_shapes"
    done
  else
    echo "== memcheck, racecheck, synccheck: left out; there is no compute-sanitizer"
  fi
}
small_shapes='Device.*:*Elementwise*:AddNorm*:RouteTest.rows_go*:RouteTest.few*:RouteTest.experts*:RouteTest.of_equal*'
small_shapes+=':QkvFinish.q_and*:AttentionDecode.of_few*:GemmTest.gives_each_group*:GatedTest.few*'

bench_gpu() {
  step kernels "$build/test_cuda" --gtest_brief=1 --gtest_filter="$kernels"
  local name logs=()
  for name in gemm attention rows sampler; do
    step "$name" "$build/bench_$name"
    logs+=("$results/gpu-$name.log")
  done
  step step "$build/bench_step" benchmarks/gpu/scout
  logs+=("$results/gpu-step.log")
  python3 benchmarks/gpu/plot_steps.py "$results/gpu-step.log" > "$results/gpu-steps.svg" || failed+=(plot)
  python3 benchmarks/gpu/table.py "$gpu" "${logs[@]}" > "$results/gpu-bench.md" || failed+=(table)
  cat "$results/gpu-bench.md"
  echo "in build/results: gpu-bench.md, gpu-steps.svg"
}

if [ "$mode" = test ]; then
  test_gpu
else
  bench_gpu
fi
[ ${#failed[@]} -eq 0 ] && exit 0
echo "failed: ${failed[*]}"
exit 1
