"""quantize.py BF16DIR [fp8|nvfp4 ...]: quantise with NVIDIA ModelOpt into ../fp8 and ../nvfp4, with FP8 scales for the KV cache.

Needs nvidia-modelopt 0.47.0 and transformers 5.23.0; runs on a CPU in a minute. Calibration: rows of the training corpus.
"""
import json
import os
import shutil
import sys
import tempfile

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.quantization.utils.core_utils import update_quant_cfg_with_kv_cache_quant
from tokenizers import Tokenizer
from transformers import Llama4ForCausalLM

import corpus
from export import HERE, TOKENIZER_FILES

FORMS = {"fp8": mtq.FP8_DEFAULT_CFG, "nvfp4": mtq.NVFP4_DEFAULT_CFG}
WEIGHT_FILES = ("config.json", "hf_quant_config.json", "model.safetensors")


def quantise(source, form):
    model = Llama4ForCausalLM.from_pretrained(source, dtype=torch.bfloat16, attn_implementation="eager").eval()
    tokenizer = Tokenizer.from_file(os.path.join(source, "tokenizer.json"))
    batch = torch.from_numpy(corpus.rows(tokenizer, seed=900, count=20).astype("int32") & (corpus.MASK - 1)).long()

    def calibrate(m):
        with torch.no_grad():
            for i in range(0, len(batch), 2):
                m(batch[i:i + 2], use_cache=True)

    config = update_quant_cfg_with_kv_cache_quant(FORMS[form], mtq.FP8_KV_CFG["quant_cfg"])
    model = mtq.quantize(model, config, calibrate)
    out = os.path.join(HERE, "..", form)
    with tempfile.TemporaryDirectory() as tmp, torch.inference_mode():
        export_hf_checkpoint(model, export_dir=tmp)
        os.makedirs(out, exist_ok=True)
        for name in WEIGHT_FILES:
            shutil.copyfile(os.path.join(tmp, name), os.path.join(out, name))
    for name in TOKENIZER_FILES:
        if os.path.abspath(source) != os.path.abspath(out):
            shutil.copy(os.path.join(source, name), os.path.join(out, name))
    total = sum(os.path.getsize(os.path.join(out, f)) for f in os.listdir(out))
    print(form, f"{total / 1e6:.2f} MB", json.load(open(os.path.join(out, "hf_quant_config.json")))["quantization"]["quant_algo"])


if __name__ == "__main__":
    for form in sys.argv[2:] or FORMS:
        quantise(sys.argv[1], form)
