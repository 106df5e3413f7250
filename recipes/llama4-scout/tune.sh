#!/usr/bin/env bash
# Throughput against latency: starts a server for each pair of TENSOR_PARALLEL_SIZES and MAX_NUM_SEQS (lists of numbers),
# loads it with as many requests at a time, and names the settings of most throughput, least latency and the balance
# between them. INPUT_LEN, OUTPUT_LEN, NUM_PROMPTS as in run_performance.sh; OUTPUT_DIR (sweep) gets table, plot and logs.
# Further options of `outrider bench sweep` go on the command line, then `--` and those of the servers.
set -euo pipefail
# shellcheck source=recipes/llama4-scout/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

program=$(find_outrider)
load=() server=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  load+=("$1")
  shift
done
[ $# -eq 0 ] || shift
if [ "$MODEL" = pocket ]; then
  config=$here/Llama4_Hopper.yaml
  server+=(--device cpu)
  MAX_NUM_SEQS=${MAX_NUM_SEQS:-1 4 16 64} INPUT_LEN=${INPUT_LEN:-128} OUTPUT_LEN=${OUTPUT_LEN:-128}
else
  choose_dtype
  MODEL=${MODEL:-nvidia/Llama-4-Scout-17B-16E-Instruct-$DTYPE}
fi
[ -z "${NUM_PROMPTS:-}" ] || load+=(--num-prompts "$NUM_PROMPTS")
read -ra sizes <<< "${TENSOR_PARALLEL_SIZES:-1}"
read -ra sequences <<< "${MAX_NUM_SEQS:-8 32 128 512}"
exec "$program" bench sweep --model "$MODEL" --tensor-parallel-size "${sizes[@]}" --max-num-seqs "${sequences[@]}" \
  --random-input-len "${INPUT_LEN:-1024}" --random-output-len "${OUTPUT_LEN:-1024}" --ignore-eos \
  --output-dir "${OUTPUT_DIR:-sweep}" "${load[@]}" -- --config "$config" "${server[@]}" "$@"
