#!/usr/bin/env bash
# One greedy completion of twenty tokens, as JSON: is the server there, and does it speak sense?
set -euo pipefail
# shellcheck source=recipes/llama4-scout/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

model=$(served_model)
curl -sS --fail-with-body "http://$HOST:$PORT/v1/completions" -H 'Content-Type: application/json' \
  -d "{\"model\": \"$model\", \"prompt\": \"San Francisco is a\", \"max_tokens\": 20, \"temperature\": 0}"
echo
