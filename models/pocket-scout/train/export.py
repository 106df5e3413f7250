"""export.py CHECKPOINT.pt OUTDIR: write the Hugging Face bf16 checkpoint, with the tokenizer files of ../fp8."""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file

from model import Config, Model

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja")


def export(model, out, tokenizer_dir=os.path.join(HERE, "..", "fp8")):
    os.makedirs(out, exist_ok=True)
    base = json.load(open(os.path.join(tokenizer_dir, "generation_config.json")))["bos_token_id"]
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(model.c.hf(base), f, indent=2)
        f.write("\n")
    save_file(model.hf_state(), os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    for name in TOKENIZER_FILES:
        shutil.copy(os.path.join(tokenizer_dir, name), os.path.join(out, name))


if __name__ == "__main__":
    saved = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
    net = Model(Config(**saved["config"]))
    net.load_state_dict({k: v.float() for k, v in saved["model"].items()})
    export(net, sys.argv[2])
