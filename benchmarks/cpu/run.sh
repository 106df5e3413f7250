#!/usr/bin/env bash
# Outrider beside llama.cpp: builds both, makes the models, runs them alternately, writes a table.
# Usage: benchmarks/cpu/run.sh OUT.md [compare.py's options, e.g. --repeats 3 --models large-fp8]
# Everything made goes to build/bench-cpu (8 GB). Needs what `scripts/install-deps.sh build` installs, python3-venv,
# and PyPI.
set -euo pipefail

if [ $# -lt 1 ]; then
  echo "usage: $0 OUT.md [options of compare.py]" >&2
  exit 2
fi
out=$(realpath -m "$1")
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/build/bench-cpu
peer=llama-cpp-python==0.3.36
peer_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
mkdir -p "$work/models"

if [ ! -e "$work/venv/ready" ]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" -q install -r "$here/requirements.txt" scikit-build-core
  touch "$work/venv/ready"
fi
python=$work/venv/bin/python

cmake -S "$root" -B "$work/outrider" -G Ninja -DCMAKE_BUILD_TYPE=Release -DOUTRIDER_TESTS=OFF -DOUTRIDER_BENCHMARKS=ON > /dev/null
cmake --build "$work/outrider" --target outrider machine_floor avx2_only

# One build of llama.cpp with two of its CPU backends; a folder for each, since it loads the best that it finds.
if [ ! -e "$work/peer/ready" ]; then
  "$work/venv/bin/pip" -q download --no-deps --no-binary :all: --no-build-isolation -d "$work" "$peer"
  mkdir -p "$work/source"
  echo "$peer_sha256  $work/llama_cpp_python-0.3.36.tar.gz" | sha256sum -c --quiet
  tar xf "$work/llama_cpp_python-0.3.36.tar.gz" -C "$work/source" --strip-components 1
  source=$work/source/vendor/llama.cpp
  sed -i -E '/^ *ggml_add_cpu_backend_variant\(/{/\((haswell|zen4) /!d}' "$source/ggml/src/CMakeLists.txt"
  cmake -S "$source" -B "$work/peer-build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON \
    -DGGML_CPU_ALL_VARIANTS=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF > "$work/peer-cmake.log"
  cmake --build "$work/peer-build" --target llama-server llama-bench ggml-cpu-haswell ggml-cpu-zen4
  for pair in avx512:zen4 avx2:haswell; do
    folder=$work/peer/${pair%%:*}
    mkdir -p "$folder"
    find "$work/peer-build/bin" -mindepth 1 ! -name 'libggml-cpu-*' -exec cp -a {} "$folder" \;
    cp "$work/peer-build/bin/libggml-cpu-${pair##*:}.so" "$folder"
  done
  touch "$work/peer/ready"
fi

for form in fp8 nvfp4; do
  models=$work/models
  ln -sfn "$root/models/pocket-scout/$form" "$models/pocket-$form"
  [ -e "$models/large-$form/model.safetensors" ] || "$python" "$here/make_checkpoint.py" "$models/large-$form" "$form"
  for size in pocket large; do
    gguf=$models/$size-$form.gguf
    if [ ! -e "$gguf" ] || [ "$models/$size-$form/model.safetensors" -nt "$gguf" ]; then
      "$python" "$here/to_gguf.py" "$models/$size-$form" "$gguf.part"
      mv "$gguf.part" "$gguf"
    fi
  done
done
cat "$work"/models/large-*/model.safetensors "$work"/models/*.gguf > /dev/null # into the page cache

cd "$here"
"$python" compare.py "$work" "$out" "$@"
