# shellcheck shell=bash
# What the recipe's scripts share; they source it.
#   MODEL      pocket: Pocket Scout, anywhere. Unset: Llama 4 Scout in the form that suits the GPU. Else an id or a folder.
#   DTYPE      FP8 or FP4, in place of the form that suits the GPU
#   HOST, PORT the server's address: 127.0.0.1, 8000
#   OUTRIDER   the program; unset: the one on the path, else the one that `make build` made
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
MODEL=${MODEL:-}
HOST=${HOST:-127.0.0.1}
PORT=${PORT:-8000}

fail() {
  echo "$(basename "$0"): $1" >&2
  exit 1
}

find_outrider() {
  local program=${OUTRIDER:-}
  [ -n "$program" ] || program=$(type -P outrider) || program=$root/build/outrider
  [ -x "$program" ] || fail "no outrider on the path and no $program; run \`make build\`, or name the program in OUTRIDER"
  echo "$program"
}

# "9.0" for Hopper, "10.0" for Blackwell; nothing where there is no NVIDIA GPU.
compute_capability() {
  nvidia-smi -i 0 --query-gpu=compute_cap --format=csv,noheader 2> /dev/null || true
}

# Sets DTYPE and config, the form of the weights and the options file: FP8 on Hopper, NVFP4 on Blackwell, unless DTYPE says
# otherwise.
choose_dtype() {
  case $(compute_capability) in
    9.*)
      DTYPE=${DTYPE:-FP8}
      config=$here/Llama4_Hopper.yaml
      ;;
    10.* | 12.*)
      DTYPE=${DTYPE:-FP4}
      # shellcheck disable=SC2034 # the scripts that source this use it
      config=$here/Llama4_Blackwell.yaml
      ;;
    '') fail "nvidia-smi names no GPU; Llama 4 Scout needs one. MODEL=pocket runs the recipe on the CPU" ;;
    *) fail "this GPU is neither Hopper nor Blackwell; MODEL=pocket runs the recipe on the CPU" ;;
  esac
  case $DTYPE in
    FP8 | FP4) ;;
    *) fail "DTYPE=$DTYPE: FP8 or FP4" ;;
  esac
}

# The name of the model that runs on HOST:PORT.
served_model() {
  local models
  models=$(curl -sf "http://$HOST:$PORT/v1/models") ||
    fail "no server answers on $HOST:$PORT; start launch_server.sh and wait for \"Application startup complete\""
  models=${models#*\"id\":\"}
  echo "${models%%\"*}"
}

container_engine() {
  local engine
  for engine in ${ENGINE:-docker podman}; do
    type -P "$engine" > /dev/null && echo "$engine" && return
  done
  fail "neither docker nor podman is here; install one, or go on without a container: \`make build\`"
}
