"""to_gguf.py CHECKPOINT OUT.gguf: a Llama 4 checkpoint (bf16, ModelOpt FP8 or NVFP4) for llama.cpp.

FP8 weights become Q8_0 and NVFP4 weights Q4_0, from their exact values; what is bf16 stays BF16 (llama.cpp wants
norms and routers as F32). Where llama.cpp's llama4 graph has constants instead of metadata, and the checkpoint
differs, a line says so: attention chunks of 8192, temperature with floor_scale 8192 and attn_scale 0.1, NoPE every
fourth layer.
"""
import json
import pathlib
import sys

import gguf
import numpy as np

from formats import E2M1, E4M3

Q = gguf.GGMLQuantizationType
BLOCK = 16


class Checkpoint:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.file = np.memmap(folder / "model.safetensors", np.uint8, "r")
        length = int.from_bytes(self.file[:8].tobytes(), "little")
        self.header, self.base = json.loads(self.file[8:8 + length].tobytes()), 8 + length

    def raw(self, name):
        entry = self.header[name]
        dtype = {"BF16": np.uint16, "F32": np.float32, "U8": np.uint8, "F8_E4M3": np.uint8}[entry["dtype"]]
        begin, end = entry["data_offsets"]
        return self.file[self.base + begin:self.base + end].view(dtype).reshape(entry["shape"])

    def values(self, name, prefix, axis):
        """fp32 values and the GGUF type that comes nearest."""
        kind, raw = self.header[name]["dtype"], self.raw(name)
        if kind == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32), Q.BF16
        if kind == "F8_E4M3":
            return E4M3[raw] * self.raw(prefix + "weight_scale"), Q.Q8_0
        codes = np.stack([raw & 15, raw >> 4], axis=axis + 1)
        shape = list(raw.shape)
        shape[axis] *= 2
        scales = np.repeat(E4M3[self.raw(prefix + "weight_scale")], BLOCK, axis=axis)
        return E2M1[codes.reshape(shape)] * scales * self.raw(prefix + "weight_scale_2"), Q.Q4_0


def add(writer, name, values, kind):
    values = np.ascontiguousarray(values, dtype=np.float32)
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def add_metadata(writer, config):
    writer.add_name("benchmark")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size_mlp"])
    writer.add_expert_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["num_local_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_interleave_moe_layer_step(config["interleave_moe_layer_step"])
    for name, fixed in (("attention_chunk_size", 8192), ("floor_scale", 8192), ("attn_scale", 0.1)):
        if config[name] != fixed:
            print(f"{name} is {config[name]}, llama.cpp computes with {fixed}")


def add_tokenizer(writer, folder, config):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = [f"<unused {i}>" for i in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(tokens)
    for text, i in tokenizer["model"]["vocab"].items():
        tokens[i], types[i] = text, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama4")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    eos = config["eos_token_id"]
    writer.add_eos_token_id(eos[0] if isinstance(eos, list) else eos)


def rope_factors(config):
    """What each rotation frequency is divided by (llama3 scaling)."""
    rope, dim = config["rope_parameters"], config["head_dim"]
    wavelength = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    smooth = np.clip((original / wavelength - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def add_layer(writer, checkpoint, i):
    def linear(to, name):
        add(writer, f"blk.{i}.{to}.weight", *checkpoint.values(at + name + ".weight", at + name + ".", 1))

    def f32(to, name):
        add(writer, f"blk.{i}.{to}.weight", checkpoint.values(at + name + ".weight", "", 0)[0], Q.F32)

    at = f"model.layers.{i}."
    f32("attn_norm", "input_layernorm")
    f32("ffn_norm", "post_attention_layernorm")
    f32("ffn_gate_inp", "feed_forward.router")
    for to, name in (("attn_q", "q_proj"), ("attn_k", "k_proj"), ("attn_v", "v_proj"), ("attn_output", "o_proj")):
        linear(to, "self_attn." + name)
    for part in ("gate", "up", "down"):
        linear(f"ffn_{part}_shexp", f"feed_forward.shared_expert.{part}_proj")
    experts = at + "feed_forward.experts."
    values, kind = checkpoint.values(experts + "gate_up_proj", experts + "gate_up_proj_", 1)
    gate, up = np.split(values.transpose(0, 2, 1), 2, axis=1)
    add(writer, f"blk.{i}.ffn_gate_exps.weight", gate, kind)
    add(writer, f"blk.{i}.ffn_up_exps.weight", up, kind)
    values, kind = checkpoint.values(experts + "down_proj", experts + "down_proj_", 1)
    add(writer, f"blk.{i}.ffn_down_exps.weight", values.transpose(0, 2, 1), kind)


def main():
    folder = pathlib.Path(sys.argv[1])
    checkpoint = Checkpoint(folder)
    writer = gguf.GGUFWriter(sys.argv[2], "llama4", use_temp_file=True)
    add_metadata(writer, checkpoint.config)
    add_tokenizer(writer, folder, checkpoint.config)
    add(writer, "rope_freqs.weight", rope_factors(checkpoint.config), Q.F32)
    add(writer, "token_embd.weight", *checkpoint.values("model.embed_tokens.weight", "", 1))
    add(writer, "output.weight", *checkpoint.values("lm_head.weight", "", 1))
    add(writer, "output_norm.weight", checkpoint.values("model.norm.weight", "", 0)[0], Q.F32)
    for i in range(checkpoint.config["num_hidden_layers"]):
        add_layer(writer, checkpoint, i)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
