#!/usr/bin/env bash
# A shell in the container, in which the recipe goes on; the scripts lie in recipes/llama4-scout. HF_HOME, if it is set, is
# mounted, so that models are fetched once. Arguments are the engine's, e.g. -v FOLDER:FOLDER. With MODEL=pocket no GPU is
# asked for. A second shell in it: docker exec -it outrider bash
set -euo pipefail
# shellcheck source=recipes/llama4-scout/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

engine=$(container_engine)
arguments=(-e "HF_TOKEN=${HF_TOKEN:-}" -e "HF_HOME=${HF_HOME:-}" -e "MODEL=$MODEL")
if [ -n "${HF_HOME:-}" ]; then
  # What is fetched shall belong to who asked for it.
  mkdir -p "$HF_HOME"
  arguments+=(-v "$HF_HOME:$HF_HOME" --user "$(id -u):$(id -g)")
fi
[ "$MODEL" = pocket ] || arguments+=(--gpus all)
[ -t 0 ] && arguments+=(-t)
"$engine" run "${arguments[@]}" --ipc=host --entrypoint /bin/bash --name outrider --rm -i "$@" outrider:deploy
