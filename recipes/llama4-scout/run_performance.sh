#!/usr/bin/env bash
# Measures the running server under random prompts: 1024 tokens in, 1024 out, 512 requests at a time, five times as many
# in all; with MODEL=pocket what a CPU does in a minute. INPUT_LEN, OUTPUT_LEN, CONCURRENCY, NUM_PROMPTS and RESULT, the
# result file in this folder, change that; arguments go to `outrider bench serve`.
set -euo pipefail
# shellcheck source=recipes/llama4-scout/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

program=$(find_outrider)
if [ "$MODEL" = pocket ]; then
  INPUT_LEN=${INPUT_LEN:-128} OUTPUT_LEN=${OUTPUT_LEN:-128} CONCURRENCY=${CONCURRENCY:-32}
fi
CONCURRENCY=${CONCURRENCY:-512}
model=$(served_model)
# A folder or Pocket Scout brings its tokenizer; an id's is in the Hugging Face cache.
exec "$program" bench serve --host "$HOST" --port "$PORT" --model "$model" --trust-remote-code --dataset-name random \
  --random-input-len "${INPUT_LEN:-1024}" --random-output-len "${OUTPUT_LEN:-1024}" --ignore-eos \
  --max-concurrency "$CONCURRENCY" --num-prompts "${NUM_PROMPTS:-$((CONCURRENCY * 5))}" \
  --save-result --result-filename "${RESULT:-outrider_benchmark_serving_results.json}" "$@"
