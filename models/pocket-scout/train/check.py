"""check.py: the training model against transformers' Llama4ForCausalLM (random weights, several chunks), and the arithmetic of every template."""
import random
import re
import tempfile

import torch
from transformers import Llama4ForCausalLM

import gsm
from export import export
from model import Config, Model


def model_check():
    torch.manual_seed(0)
    net = Model(Config())
    net.load_state_dict({k: v.bfloat16().float() for k, v in net.state_dict().items()})
    ids = torch.randint(0, net.c.vocab_size, (1, 5 * net.c.attention_chunk_size))
    with tempfile.TemporaryDirectory() as tmp, torch.no_grad():
        export(net, tmp)
        ours = net.logits(ids)
        net.capacity = float(net.c.num_local_experts)
        assert torch.allclose(net.logits(ids), ours, atol=1e-4)
        for attention in ("eager", "sdpa"):
            theirs = Llama4ForCausalLM.from_pretrained(tmp, dtype=torch.float32, attn_implementation=attention)(ids, use_cache=False).logits
            error = ((ours - theirs).norm() / theirs.norm()).item()
            assert error < 1e-5, error
            print(attention, f"relative difference {error:.1e}")


def problem_check():
    rng, count = random.Random(1), 0
    for index in range(len(gsm.TEMPLATES)):
        for split in ("train", "test"):
            for _ in range(20):
                p = gsm.problem(rng, split, index)
                held = index % (len(gsm.TEMPLATES[index][1]) * len(gsm.TEMPLATES[index][2]))
                assert (p["variant"] == held) == (split == "test")
                for expression, value in re.findall(r"(\d[\d+*/ -]+\d) = (\d+)", p["answer"]):
                    assert eval(expression) == int(value), p
                    count += 1
    print(len(gsm.TEMPLATES), "templates,", count, "steps computed right")


if __name__ == "__main__":
    problem_check()
    model_check()
