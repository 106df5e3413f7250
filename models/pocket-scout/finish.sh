#!/bin/sh
# finish.sh PYTHON CHECKPOINT_PARTS...: from the parts that train.py wrote to the committed folders, goldens and scores.
# The bf16 checkpoint goes to models/pocket-scout/bf16, which git does not track.
set -e
python=$1; shift
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/bf16"
cat "$@" > "$here/bf16/ckpt.pt"
"$python" "$here/train/export.py" "$here/bf16/ckpt.pt" "$here/bf16"
"$python" "$here/train/quantize.py" "$here/bf16"
"$python" "$here/eval/goldens.py"
for form in bf16 fp8 nvfp4; do
    "$python" "$here/eval/score.py" "$here/$form"
done
