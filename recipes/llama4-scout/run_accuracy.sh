#!/usr/bin/env bash
# lm_eval on the running server: gsm8k (downloads its problems), or with MODEL=pocket the task of the same shape that
# Pocket Scout was trained for. Arguments go to lm_eval, e.g. --limit 100 or --output_path FOLDER. TASK names another task.
# Without lm_eval on the path it is installed into a Python environment of its own: LM_EVAL_VENV, 5 GB with torch.
set -euo pipefail
# shellcheck source=recipes/llama4-scout/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

model=$(served_model)
if ! lm_eval=$(type -P lm_eval); then
  venv=${LM_EVAL_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/outrider/lm_eval}
  lm_eval=$venv/bin/lm_eval
  if [ ! -x "$lm_eval" ]; then
    echo "installing lm_eval into $venv"
    python3 -m venv "$venv" || fail "Python's venv is needed: apt-get install python3-venv"
    # It predates transformers 5, which it cannot import.
    "$venv/bin/pip" install --quiet 'lm-eval[api]==0.4.9.1' 'transformers<5'
  fi
fi
task=${TASK:-gsm8k}
if [ "$MODEL" = pocket ]; then
  task=${TASK:-pocket_gsm}
  set -- --include_path "$root/models/pocket-scout/eval" "$@"
fi
cd "$root" # the task's data files are named relative to it
"$lm_eval" --model local-completions --tasks "$task" --model_args \
"base_url=http://$HOST:$PORT/v1/completions,model=$model,tokenized_requests=False,tokenizer_backend=None,\
num_concurrent=${CONCURRENCY:-128},timeout=${TIMEOUT:-120},max_retries=5" "$@"
