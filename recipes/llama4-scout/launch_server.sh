#!/usr/bin/env bash
# Serves Llama 4 Scout with the options file for this machine's GPU: FP8 on Hopper, NVFP4 on Blackwell. DTYPE=FP4 takes
# NVFP4 on Hopper, too, DTYPE=FP8 takes FP8 on Blackwell. MODEL=pocket serves Pocket Scout on the CPU; any other MODEL is
# an id or a folder. TENSOR_PARALLEL_SIZE (1) and MAX_NUM_SEQS (512) are the two settings to choose between throughput and
# latency with; further options of `outrider serve` go on the command line.
set -euo pipefail
# shellcheck source=recipes/llama4-scout/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

program=$(find_outrider)
if [ "$MODEL" = pocket ]; then
  config=$here/Llama4_Hopper.yaml
  set -- --device cpu "$@"
else
  choose_dtype
  MODEL=${MODEL:-nvidia/Llama-4-Scout-17B-16E-Instruct-$DTYPE}
fi
exec "$program" serve "$MODEL" --config "$config" --tensor-parallel-size "${TENSOR_PARALLEL_SIZE:-1}" \
  --max-num-seqs "${MAX_NUM_SEQS:-512}" --host "$HOST" --port "$PORT" "$@"
