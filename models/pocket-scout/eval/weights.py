"""Load a checkpoint folder (bf16, FP8 or NVFP4 as ModelOpt writes them) into transformers' Llama4ForCausalLM, dequantised, weight-only."""
import json
import os

import torch
from safetensors.torch import load_file
from transformers import Llama4ForCausalLM, Llama4TextConfig

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def unpack(packed):
    """U8 with two codes a byte along dimension 1, low nibble first."""
    return E2M1[torch.stack((packed & 15, packed >> 4), 2).flatten(1, 2).long()]


def dequantised(folder):
    raw = load_file(os.path.join(folder, "model.safetensors"))
    out = {}
    for name, t in raw.items():
        if name.endswith(("_scale", "_scale_2")):
            continue
        scale = name + ("_weight_scale" if name.endswith(("gate_up_proj", "down_proj")) else "_scale")
        if t.dtype == torch.float8_e4m3fn:
            t = t.float() * raw[scale]
        elif t.dtype == torch.uint8:
            t = unpack(t) * raw[scale].float().repeat_interleave(16, 1) * raw[scale + "_2"]
        out[name] = t.float()
    return out


def load(folder, dtype=torch.float32, attention="sdpa"):
    config = json.load(open(os.path.join(folder, "config.json")))
    config.pop("quantization_config", None)
    config = Llama4TextConfig(**config)
    config._attn_implementation = attention
    model = Llama4ForCausalLM(config)
    missing, extra = model.load_state_dict(dequantised(folder), strict=False)
    assert not extra and not missing, (missing, extra)
    return model.to(dtype).eval()
