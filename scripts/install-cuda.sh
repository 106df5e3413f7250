#!/usr/bin/env bash
# Sees to a CUDA compiler, nvcc 13.0 or newer. Does nothing, and needs no network, when there is one; else it puts
# NVIDIA's own wheels (scripts/cuda-requirements.txt: 104 MB to download, 280 MB installed) as a toolkit into .cuda.
# Usage: scripts/install-cuda.sh find|gpu|always
#   find    prints the path of nvcc, or fails; installs nothing
#   gpu     installs only where there is an NVIDIA driver: others have no use for it
#   always  installs; compiling and the tests of host code need no GPU
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
case $mode in
  find | gpu | always) ;;
  *) echo "usage: $0 find|gpu|always" >&2; exit 2 ;;
esac

# The first of these that is new enough: older ones know neither Hopper's instructions nor C++20 well enough.
find_nvcc() {
  local candidate release
  for candidate in "${CUDACXX:-}" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}" \
    "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc "$PWD/.cuda/bin/nvcc"; do
    [ -x "$candidate" ] || continue
    release=$("$candidate" --version 2> /dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p') || continue
    if [ "${release:-0}" -ge 13 ]; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

has_driver() {
  [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi > /dev/null
}

requirements=scripts/cuda-requirements.txt
if [ "$mode" = find ]; then
  find_nvcc || exit 1
  exit 0
fi
if nvcc=$(find_nvcc); then
  # Ours is brought up to date; anybody else's is left alone.
  [ "$nvcc" != "$PWD/.cuda/bin/nvcc" ] || cmp -s "$requirements" .cuda/requirements.txt && exit 0
fi
[ "$mode" = always ] || has_driver || exit 0
case $(uname -m) in
  x86_64 | aarch64) ;;
  *)
    echo "$0: the wheels are for x86_64 and aarch64 only; install CUDA 13.0 from NVIDIA's packages" >&2
    exit 1
    ;;
esac

scripts/install-deps.sh cuda
echo "installing the CUDA compiler into .cuda (NVIDIA's licence: .cuda/licenses)"
part=$PWD/.cuda.part
rm -rf "$part"
trap 'rm -rf "$part"' EXIT
/usr/bin/python3 -m venv "$part/venv"
"$part/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
  --no-compile --target "$part/wheels" -r "$requirements"
root=$part/wheels/nvidia/cu13
# nvcc looks for lib64, CMake for the shared library's name without a version.
ln -s lib "$root/lib64"
ln -s libcudart.so.13 "$root/lib/libcudart.so"
mkdir "$root/licenses"
for licence in "$part"/wheels/*.dist-info/licenses/*; do
  cp "$licence" "$root/licenses/$(basename "${licence%/licenses/*}" .dist-info).txt"
done
cp "$requirements" "$root/requirements.txt"
rm -rf .cuda
mv "$root" .cuda
