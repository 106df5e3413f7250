"""make_checkpoint.py OUT fp8|nvfp4: a random Llama 4 checkpoint, every measure a quarter of Scout's, 1 to 2 GB of weights.

The tokenizer and the vocabulary are Pocket Scout's. Codes follow a normal distribution, so that sums behave.
"""
import json
import pathlib
import shutil
import struct
import sys

import numpy as np

from formats import E2M1, E4M3

POCKET = pathlib.Path(__file__).resolve().parents[2] / "models" / "pocket-scout"
HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, EXPERTS, LAYERS, VOCAB = 1280, 2048, 10, 2, 128, 16, 14, 4096
SIGMA = 0.03  # of the weights
BLOCK = 16


def nearest(values, codes):
    """Index into `codes` of the nearest finite code."""
    finite = np.flatnonzero(np.isfinite(codes))
    order = finite[np.argsort(codes[finite], kind="stable")]
    ascending = codes[order]
    return order[np.searchsorted((ascending[1:] + ascending[:-1]) / 2, values)].astype(np.uint8)


class Writer:
    """safetensors, tensor after tensor: bytes go to a body file, the header in front of it at the end."""

    def __init__(self, path):
        self.path, self.header, self.end = path, {"__metadata__": {"format": "pt"}}, 0
        self.body = open(path.with_suffix(".body"), "wb")

    def add(self, name, dtype, shape, array):
        data = np.ascontiguousarray(array).tobytes()
        self.header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [self.end, self.end + len(data)]}
        self.end += len(data)
        self.body.write(data)

    def close(self):
        self.body.close()
        header = json.dumps(self.header).encode()
        header += b" " * (-len(header) % 64)
        with open(self.path, "wb") as out, open(self.body.name, "rb") as body:
            out.write(struct.pack("<Q", len(header)) + header)
            shutil.copyfileobj(body, out, 1 << 24)
        pathlib.Path(self.body.name).unlink()


class Weights:
    def __init__(self, writer, form):
        self.writer, self.form = writer, form
        self.rng = np.random.default_rng(4)
        normal = self.rng.standard_normal(1 << 16).astype(np.float32)
        self.fp8 = nearest(normal * 64, E4M3)  # 448 is seven sigma
        nibbles = nearest(normal[: 1 << 15] * 2, E2M1) | nearest(normal[1 << 15:] * 2, E2M1) << 4
        self.fp4 = np.tile(nibbles, 2)
        self.scales = nearest(np.clip(normal * 20 + 200, 100, 400), E4M3)

    def draw(self, table, shape):
        return table[self.rng.integers(0, 1 << 16, size=shape, dtype=np.uint16)]

    def bf16(self, name, shape, sigma=SIGMA, mean=0.0):
        values = (self.rng.standard_normal(shape) * sigma + mean).astype(np.float32)
        self.writer.add(name, "BF16", shape, (values.view(np.uint32) >> 16).astype(np.uint16))

    def number(self, name, value):
        self.writer.add(name, "F32", [], np.float32(value))

    def quantised(self, name, prefix, shape, axis):
        """`axis`: the one that is summed over. `prefix` begins the scales' names."""
        if self.form == "fp8":
            self.writer.add(name, "F8_E4M3", shape, self.draw(self.fp8, shape))
            self.number(prefix + "weight_scale", SIGMA / 64)
        else:
            packed = [n // 2 if i == axis else n for i, n in enumerate(shape)]
            blocks = [n // BLOCK if i == axis else n for i, n in enumerate(shape)]
            self.writer.add(name, "U8", packed, self.draw(self.fp4, packed))
            self.writer.add(prefix + "weight_scale", "F8_E4M3", blocks, self.draw(self.scales, blocks))
            self.number(prefix + "weight_scale_2", SIGMA / 2 / 200)
        self.number(prefix + "input_scale", 0.02)

    def linear(self, name, out, cols):
        self.quantised(name + ".weight", name + ".", [out, cols], 1)


def write_weights(path, form):
    writer = Writer(path)
    w = Weights(writer, form)
    w.bf16("model.embed_tokens.weight", [VOCAB, HIDDEN])
    w.bf16("lm_head.weight", [VOCAB, HIDDEN])
    w.bf16("model.norm.weight", [HIDDEN], 0.1, 1.0)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        w.bf16(at + "input_layernorm.weight", [HIDDEN], 0.1, 1.0)
        w.bf16(at + "post_attention_layernorm.weight", [HIDDEN], 0.1, 1.0)
        w.linear(at + "self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN)
        w.linear(at + "self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN)
        w.linear(at + "self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN)
        w.linear(at + "self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM)
        w.number(at + "self_attn.k_proj.k_scale", 0.02)
        w.number(at + "self_attn.v_proj.v_scale", 0.02)
        w.bf16(at + "feed_forward.router.weight", [EXPERTS, HIDDEN])
        for name, out, cols in (("gate_proj", INNER, HIDDEN), ("up_proj", INNER, HIDDEN), ("down_proj", HIDDEN, INNER)):
            w.linear(at + "feed_forward.shared_expert." + name, out, cols)
        experts = at + "feed_forward.experts."
        w.quantised(experts + "gate_up_proj", experts + "gate_up_proj_", [EXPERTS, HIDDEN, 2 * INNER], 1)
        w.quantised(experts + "down_proj", experts + "down_proj_", [EXPERTS, INNER, HIDDEN], 1)
    writer.close()


def main():
    out, form = pathlib.Path(sys.argv[1]), sys.argv[2]
    out.mkdir(parents=True, exist_ok=True)
    for file in (POCKET / form).iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, out / file.name)
    config = json.loads((POCKET / form / "config.json").read_text())
    config.update(hidden_size=HIDDEN, intermediate_size=INNER, intermediate_size_mlp=2 * INNER, head_dim=HEAD_DIM,
                  num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, num_local_experts=EXPERTS,
                  num_hidden_layers=LAYERS, moe_layers=list(range(LAYERS)), vocab_size=VOCAB,
                  attention_chunk_size=8192, floor_scale=8192,
                  no_rope_layers=[int((i + 1) % 4 != 0) for i in range(LAYERS)],
                  layer_types=["chunked_attention" if (i + 1) % 4 else "full_attention" for i in range(LAYERS)])
    routers = [f"model.layers.{i}.feed_forward.router" for i in range(LAYERS)]
    config["quantization_config"]["ignore"] = ["lm_head", "model.embed_tokens"] + routers
    (out / "config.json").write_text(json.dumps(config, indent=1))
    quant = json.loads((out / "hf_quant_config.json").read_text())
    quant["quantization"]["exclude_modules"] = config["quantization_config"]["ignore"]
    (out / "hf_quant_config.json").write_text(json.dumps(quant, indent=1))
    write_weights(out / "model.safetensors", form)
    print(out, f"{(out / 'model.safetensors').stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
