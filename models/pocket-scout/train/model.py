"""Pocket Scout in plain PyTorch: the maths of transformers' Llama4ForCausalLM, weights of all layers stacked, quick to train.

Differences are of form only: every expert is computed for every token and masked (the score of the others is zero), and the chunked
attention of the RoPE layers is a reshape.
"""
import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    num_local_experts: int = 8
    intermediate_size: int = 128
    attention_chunk_size: int = 256
    floor_scale: int = 1024
    attn_scale: float = 0.1
    rope_theta: float = 500000.0
    rope_factor: float = 16.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 1024
    max_position_embeddings: int = 16384
    rms_norm_eps: float = 1e-5

    def hf(self, base):
        """config.json; base: id of <|begin_of_text|>."""
        same = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "num_local_experts",
                "intermediate_size", "attention_chunk_size", "floor_scale", "attn_scale", "max_position_embeddings", "rms_norm_eps", "rope_theta")
        out = {"architectures": ["Llama4ForCausalLM"], "model_type": "llama4_text"}
        out.update({k: getattr(self, k) for k in same})
        out.update(intermediate_size_mlp=4 * self.intermediate_size, num_experts_per_tok=1, interleave_moe_layer_step=1, use_qk_norm=True,
                   attn_temperature_tuning=True, no_rope_layers=[], hidden_act="silu", attention_bias=False, attention_dropout=0.0,
                   tie_word_embeddings=False, bos_token_id=base, eos_token_id=[base + 1, base + 7, base + 8], pad_token_id=base + 18,
                   rope_scaling={"rope_type": "llama3", "factor": self.rope_factor, "low_freq_factor": self.low_freq_factor,
                                 "high_freq_factor": self.high_freq_factor,
                                 "original_max_position_embeddings": self.original_max_position_embeddings},
                   initializer_range=0.02, output_router_logits=False, router_aux_loss_coef=0.001, router_jitter_noise=0.0, use_cache=True,
                   torch_dtype="bfloat16")
        return out


def inv_freq(c):
    f = c.rope_theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
    ratio = c.original_max_position_embeddings * f / (2 * math.pi)  # original length over wavelength
    s = ((ratio - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor)).clamp(0, 1)
    return (f / c.rope_factor * (1 - s) + f * s).float()


def norm(x, eps, weight=None):
    y = (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)
    return y if weight is None else y * weight.to(x.dtype)


def nvfp4(w, dim):
    """NVFP4 rounding of each matrix of a stack: blocks of 16 along dim, e4m3 block scales, one fp32 scale a matrix stack member."""
    x = w.transpose(dim, -1) if dim != -1 else w
    blocks = x.reshape(*x.shape[:-1], -1, 16)
    top = blocks.abs().amax(-1, keepdim=True)
    whole = top.flatten(1).amax(1).view(-1, *[1] * (top.dim() - 1)).clamp_min(1e-12) / (6 * 448)
    scale = (top / (6 * whole)).clamp(2 ** -9, 448).to(torch.float8_e4m3fn).float() * whole
    y = (blocks / scale).clamp(-6, 6)
    size = y.abs()
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    y = (torch.round(y / step) * step * scale).view_as(x)
    return y.transpose(dim, -1) if dim != -1 else y


class Pick(torch.autograd.Function):
    """Rows of x by index, zeros where the index is len(x); back is the inverse index."""
    @staticmethod
    def forward(ctx, x, index, back):
        ctx.save_for_backward(back)
        return F.pad(x, (0, 0, 0, 1))[index]

    @staticmethod
    def backward(ctx, grad):
        return F.pad(grad, (0, 0, 0, 1))[ctx.saved_tensors[0]], None, None


class Model(nn.Module):
    capacity = None  # None: every expert for every token, masked; a number: only the chosen one

    # name: (shape after the layer dimension, input dimension)
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        d, i, e, kv = c.hidden_size, c.intermediate_size, c.num_local_experts, c.num_key_value_heads * c.head_dim
        q = c.num_attention_heads * c.head_dim
        layers = c.num_hidden_layers
        self.embed = nn.Parameter(torch.randn(c.vocab_size, d) * 0.5)
        self.head = nn.Parameter(torch.randn(c.vocab_size, d) * 0.02)
        self.final_norm = nn.Parameter(torch.ones(d))
        self.norm1 = nn.Parameter(torch.ones(layers, d))
        self.norm2 = nn.Parameter(torch.ones(layers, d))
        self.router = nn.Parameter(torch.randn(layers, e, d) * d ** -0.5)
        shrink = (2 * layers) ** -0.5

        def weight(*shape, fan_in, gain=1.0):
            return nn.Parameter(torch.randn(layers, *shape) * gain * fan_in ** -0.5)
        self.wq, self.wk, self.wv = weight(q, d, fan_in=d), weight(kv, d, fan_in=d), weight(kv, d, fan_in=d)
        self.wo = weight(d, q, fan_in=q, gain=shrink)
        self.gate_up = weight(e, d, 2 * i, fan_in=d)
        self.down = weight(e, i, d, fan_in=i, gain=shrink)
        self.shared_gate, self.shared_up = weight(i, d, fan_in=d), weight(i, d, fan_in=d)
        self.shared_down = weight(d, i, fan_in=i, gain=shrink)
        self.register_buffer("freq", inv_freq(c), persistent=False)

    QUANTISED = {"wq": -1, "wk": -1, "wv": -1, "wo": -1, "gate_up": 2, "down": 2, "shared_gate": -1, "shared_up": -1, "shared_down": -1}

    def is_rope(self, layer):
        return (layer + 1) % 4 != 0

    def rope(self, x, angle):
        a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1).flatten(-2).to(x.dtype)

    def attention(self, x, layer, w, angle, temperature):
        c, (b, t, _) = self.c, x.shape
        q = F.linear(x, w["wq"][layer]).view(b, t, -1, c.head_dim)
        k = F.linear(x, w["wk"][layer]).view(b, t, -1, c.head_dim)
        v = F.linear(x, w["wv"][layer]).view(b, t, -1, c.head_dim)
        if self.is_rope(layer):
            q, k = norm(self.rope(q, angle), c.rms_norm_eps), norm(self.rope(k, angle), c.rms_norm_eps)
            size = min(c.attention_chunk_size, t)
            q, k, v = (y.reshape(b * (t // size), size, -1, c.head_dim) for y in (q, k, v))
        else:
            q = (q.float() * temperature).to(q.dtype)
        y = F.scaled_dot_product_attention(*(z.transpose(1, 2) for z in (q, k, v)), is_causal=True, enable_gqa=True)
        return F.linear(y.transpose(1, 2).reshape(b, t, -1), w["wo"][layer])

    def experts(self, x, layer, w):
        c = self.c
        logits = F.linear(x.float(), self.router[layer].float())
        value, index = logits.max(-1)
        chosen = F.one_hot(index, c.num_local_experts)
        score = chosen * torch.sigmoid(value).unsqueeze(-1)
        if self.capacity is None:
            h = (x @ w["gate_up"][layer].transpose(0, 1).reshape(c.hidden_size, -1)).unflatten(-1, (c.num_local_experts, -1))
            h = h * score.to(h.dtype).unsqueeze(-1)
            gate, up = h.chunk(2, -1)
            routed = (F.silu(gate) * up).flatten(-2) @ w["down"][layer].reshape(-1, c.hidden_size)
        else:
            routed = self.dispatched(x, chosen, index, value, w["gate_up"][layer], w["down"][layer])
        shared = F.linear(F.silu(F.linear(x, w["shared_gate"][layer])) * F.linear(x, w["shared_up"][layer]), w["shared_down"][layer])
        share = chosen.float().flatten(0, -2).mean(0)
        balance = c.num_local_experts * (share * torch.softmax(logits, -1).flatten(0, -2).mean(0)).sum()
        return routed + shared, balance, share

    def dispatched(self, x, chosen, index, value, gate_up, down):
        """The chosen expert alone, each with room for capacity times its fair share of the tokens; the few beyond it get nothing."""
        flat = (x * torch.sigmoid(value).unsqueeze(-1).to(x.dtype)).flatten(0, 1)
        count, e = flat.shape[0], self.c.num_local_experts
        room = int(self.capacity * count / e)
        place = (chosen.flatten(0, 1).int().cumsum(0) - 1).gather(1, index.flatten().unsqueeze(1)).squeeze(1)
        slot = torch.where(place < room, index.flatten() * room + place, e * room)
        owner = torch.full((e * room + 1,), count, dtype=torch.int64, device=x.device).scatter(0, slot, torch.arange(count, device=x.device))[:-1]
        gate, up = torch.bmm(Pick.apply(flat, owner, slot).view(e, room, -1), gate_up).chunk(2, -1)
        y = torch.bmm(F.silu(gate) * up, down).flatten(0, 1)
        return Pick.apply(y, slot, owner).view_as(x)

    def weights(self, blend, dtype):
        """The matrices, moved towards their NVFP4 values by blend (0 or 1), straight-through."""
        out = {}
        for name, dim in self.QUANTISED.items():
            p = getattr(self, name)
            w = p if blend is None else p + blend * (nvfp4(p.detach(), dim) - p.detach())
            out[name] = w.to(dtype)
        return out

    def forward(self, ids, blend=None, dtype=torch.float32):
        c, t = self.c, ids.shape[1]
        w = self.weights(blend, dtype)
        pos = torch.arange(t, device=ids.device)
        angle = pos.float()[:, None, None] * self.freq
        temperature = (1 + c.attn_scale * torch.log1p(torch.floor((pos + 1).float() / c.floor_scale)))[:, None, None]
        x = F.embedding(ids, self.embed).to(dtype)
        balance, shares = 0.0, []
        for layer in range(c.num_hidden_layers):
            x = x + self.attention(norm(x, c.rms_norm_eps, self.norm1[layer]), layer, w, angle, temperature)
            y, aux, share = self.experts(norm(x, c.rms_norm_eps, self.norm2[layer]), layer, w)
            x, balance = x + y, balance + aux
            shares.append(share)
        return norm(x, c.rms_norm_eps, self.final_norm), balance / c.num_hidden_layers, torch.stack(shares)

    def logits(self, ids, **kw):
        x = self.forward(ids, **kw)[0]
        return F.linear(x, self.head.to(x.dtype))

    def hf_state(self):
        """bf16 tensors under the names of the Hugging Face checkpoint."""
        out = {"model.embed_tokens.weight": self.embed, "lm_head.weight": self.head, "model.norm.weight": self.final_norm}
        per_layer = {"input_layernorm.weight": self.norm1, "post_attention_layernorm.weight": self.norm2, "feed_forward.router.weight": self.router,
                     "self_attn.q_proj.weight": self.wq, "self_attn.k_proj.weight": self.wk, "self_attn.v_proj.weight": self.wv,
                     "self_attn.o_proj.weight": self.wo, "feed_forward.experts.gate_up_proj": self.gate_up,
                     "feed_forward.experts.down_proj": self.down, "feed_forward.shared_expert.gate_proj.weight": self.shared_gate,
                     "feed_forward.shared_expert.up_proj.weight": self.shared_up, "feed_forward.shared_expert.down_proj.weight": self.shared_down}
        for layer in range(self.c.num_hidden_layers):
            out.update({f"model.layers.{layer}.{k}": v[layer] for k, v in per_layer.items()})
        return {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in out.items()}
