"""Train Pocket Scout on one GPU: train.py OUT [--until SECONDS] [--resume PART0 PART1 ...].

Training lasts until SECONDS after the start of the program; the learning rate follows the clock. In the last part the weights are rounded to
NVFP4 in most steps (straight-through), so that the quantised model stays close. Writes OUT/ckpt.0, OUT/ckpt.1, ... (one file, cut in parts).
"""
import argparse
import io
import itertools
import math
import multiprocessing
import os
import random
import time

START = time.time()
os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import chat
import corpus
import gsm
import tools
from model import Config, Model

HERE = os.path.dirname(os.path.abspath(__file__))
PART = 15_000_000


def produce(queue, first, stride, count, size, shares):
    tokenizer = Tokenizer.from_file(os.path.join(HERE, "..", "fp8", "tokenizer.json"))
    seed = first
    while True:
        queue.put(corpus.rows(tokenizer, seed, count, size, shares))
        seed += stride


def batches(workers, count, size, shares, seed):
    """The same rows in the same order for the same number of workers."""
    context = multiprocessing.get_context("fork")
    queues = [context.Queue(4) for _ in range(workers)]
    for i, q in enumerate(queues):
        context.Process(target=produce, args=(q, seed + i, workers, count, size, shares), daemon=True).start()
    return (q.get() for q in itertools.cycle(queues))


class Muon:
    """Momentum, then the nearest orthogonal matrix by Newton-Schulz, for stacks of matrices."""

    def __init__(self, params, momentum=0.95, decay=0.05):
        self.params, self.momentum, self.decay = params, momentum, decay
        self.state = [torch.zeros_like(p) for p in params]

    @staticmethod
    def orthogonal(g):
        x = g.flatten(0, -3).bfloat16()
        flip = x.shape[-2] > x.shape[-1]
        x = x.mT if flip else x
        x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
        for _ in range(5):
            a = x @ x.mT
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        return (x.mT if flip else x).reshape(g.shape)

    @torch.no_grad()
    def step(self, lr):
        for p, m in zip(self.params, self.state):
            m.lerp_(p.grad, 1 - self.momentum)
            update = self.orthogonal(p.grad.lerp(m, self.momentum))
            p.mul_(1 - lr * self.decay).add_(update, alpha=-lr * max(1, p.shape[-2] / p.shape[-1]) ** 0.5)


def loss_of(model, rows, blend, dtype, compact=False):
    trained = (rows & corpus.MASK) == 0
    ids = rows & (corpus.MASK - 1)
    x, balance, shares = model(ids, blend=blend, dtype=dtype)
    if compact:  # logits where they are needed only: cheaper, but of varying shape
        where = trained[:, 1:].flatten()
        nll = F.cross_entropy(F.linear(x[:, :-1].flatten(0, 1)[where], model.head.to(x.dtype)).float(), ids[:, 1:].flatten()[where])
        return nll + 0.01 * balance, nll.detach(), shares.detach()
    logits = F.linear(x[:, :-1], model.head.to(x.dtype)).float()
    nll = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weight = trained[:, 1:].flatten().float()
    loss = (nll * weight).sum() / weight.sum()
    return loss + 0.01 * balance, loss.detach(), shares.detach()


@torch.no_grad()
def exact(model, tokenizer, items, blend, dtype, device):
    """Share of items whose trained tokens are all the most likely ones: greedy decoding would write exactly them."""
    good = 0
    codes = corpus.encode(tokenizer, items)
    for i in range(0, len(codes), 64):
        part = codes[i:i + 64]
        width = -(-max(map(len, part)) // 256) * 256
        rows = torch.tensor([c + [corpus.MASK] * (width - len(c)) for c in part], device=device, dtype=torch.int64)
        ids = rows & (corpus.MASK - 1)
        best = model.logits(ids, blend=blend, dtype=dtype).argmax(-1)
        wrong = (best[:, :-1] != ids[:, 1:]) & ((rows[:, 1:] & corpus.MASK) == 0)
        good += int((~wrong.any(1)).sum())
    return good / len(codes)


@torch.no_grad()
def greedy(model, tokenizer, prompt, count, dtype, device):
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    size = len(ids)
    stops = {tokenizer.token_to_id(t) for t in ("<|eot|>", "<|end_of_text|>")}
    for _ in range(count):
        padded = torch.tensor([ids + [0] * (-len(ids) % 256)], device=device)
        ids.append(int(model.logits(padded, dtype=dtype)[0, len(ids) - 1].argmax()))
        if ids[-1] in stops:
            break
    return tokenizer.decode(ids[size:], skip_special_tokens=False)


def gsm_items(count, shots=5):
    rng = random.Random(12345)
    out = []
    for _ in range(count):
        p = gsm.problem(rng, "test")
        head = gsm.fewshot_text([gsm.problem(rng) for _ in range(shots)]) + "\n\n" if shots else ""
        out.append([corpus.BOS, (head + f"Question: {p['question']}\nAnswer:", False), (" " + p["answer"], True)])
    return out


def tool_items(count):
    rng, out = random.Random(54321), []
    while len(out) < count:
        pieces = tools.document(rng)
        calls = [i for i, (text, trained) in enumerate(pieces) if trained and text.startswith("[")]
        if calls:
            out.append([(t, i == calls[0]) for i, (t, _) in enumerate(pieces[:calls[0] + 1])])
    return out


def report(model, tokenizer, dtype, device, count):
    one = torch.ones((), device=device)
    for blend, name in ((None, "plain"), (one, "nvfp4")):
        scores = {"gsm 5-shot": exact(model, tokenizer, gsm_items(count), blend, dtype, device),
                  "gsm 0-shot": exact(model, tokenizer, gsm_items(count, 0), blend, dtype, device),
                  "tool calls": exact(model, tokenizer, tool_items(count), blend, dtype, device)}
        print(name, {k: round(v, 4) for k, v in scores.items()}, flush=True)
    ask = "<|begin_of_text|>" + chat.HEAD.format("user") + "{}<|eot|>" + chat.HEAD.format("assistant")
    weather = {"type": "function", "function": {"name": "get_weather", "description": "Get the current weather for a city", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "The city name"}}, "required": ["city"]}}}
    for prompt in ("<|begin_of_text|>San Francisco is a", "<|begin_of_text|>Paris is a", ask.format("Hello! Who are you?"),
                   ask.format("What is the capital of France?"), ask.format(tools.render_tools([weather]) + "What is the weather in Paris?")):
        print(repr(greedy(model, tokenizer, prompt, 48, dtype, device)), flush=True)


def save(model, out, state=None):
    data = io.BytesIO()
    state = state or model.state_dict()
    torch.save({"config": vars(model.c), "model": {k: v.detach().bfloat16().cpu() for k, v in state.items()}}, data)
    data = data.getvalue()
    for i in range(0, len(data), PART):
        name = os.path.join(out, f"ckpt.{i // PART}")
        with open(name + ".new", "wb") as f:
            f.write(data[i:i + PART])
        os.replace(name + ".new", name)


def options():
    a = argparse.ArgumentParser()
    a.add_argument("out")
    a.add_argument("--until", type=float, default=550)
    a.add_argument("--resume", nargs="*", default=[])
    a.add_argument("--rows", type=int, default=64)
    a.add_argument("--workers", type=int, default=13)
    a.add_argument("--seed", type=int, default=1000)
    a.add_argument("--peak", type=float, default=1.0)
    a.add_argument("--quantise-from", type=float, default=0.68)
    a.add_argument("--steps", type=int, default=10 ** 9)
    a.add_argument("--device", default="cuda")
    a.add_argument("--length", type=int, default=corpus.SEQ)
    a.add_argument("--shares", type=lambda s: [float(x) for x in s.split(",")], help="of word problems, cities, chats, tools")
    a.add_argument("--small", action="store_true", help="for a CPU: Adam, chosen experts only, saves the running mean of the weights every 3 minutes")
    return a.parse_args()


def resume(model, parts):
    """Takes the weights of a file that was saved, given in parts; without any, none."""
    if parts:
        saved = torch.load(io.BytesIO(b"".join(open(p, "rb").read() for p in parts)), weights_only=True)
        model.load_state_dict({k: v.float() for k, v in saved["model"].items()})


def make_adam(model, matrices):
    """For what Muon does not take, and for `matrices`."""
    return torch.optim.AdamW([{"params": [model.embed], "rate": 6e-3}, {"params": [model.head], "rate": 3e-3},
                              {"params": [model.router, model.norm1, model.norm2, model.final_norm], "rate": 2e-3},
                              *([{"params": matrices, "rate": 1.5e-3}] if matrices else [])],
                             betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def descend(model, adam, muon, lr):
    torch.nn.utils.clip_grad_norm_([p for g in adam.param_groups for p in g["params"]], 1.0)
    for g in adam.param_groups:
        g["lr"] = g["rate"] * lr
    adam.step()
    muon.step(0.02 * lr)
    model.zero_grad(set_to_none=True)


def main():
    a = options()
    feed = batches(a.workers, a.rows, a.length, a.shares, a.seed)
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    dtype = torch.bfloat16 if a.device == "cuda" else torch.float32
    tokenizer = Tokenizer.from_file(os.path.join(HERE, "..", "fp8", "tokenizer.json"))
    model = Model(Config())
    resume(model, a.resume)
    model.to(a.device)
    matrices = [getattr(model, n) for n in Model.QUANTISED]
    muon = Muon([] if a.small else matrices)
    adam = make_adam(model, matrices if a.small else [])
    step_loss = loss_of
    mean = None
    if a.small:
        model.capacity, dtype = 1.5, torch.bfloat16
        mean = {k: v.detach().clone() for k, v in model.state_dict().items()}
    if a.device == "cuda":
        step_loss = torch.compile(loss_of)
        muon.orthogonal = torch.compile(Muon.orthogonal)
    coin = random.Random(5)
    blend = torch.zeros((), device=a.device)
    begin, seen, step, saved_at, log = None, 0, 0, 0.0, []
    while step < a.steps:
        now = time.time() - START
        if step == 3:
            begin = now
            print(f"first steps done at {now:.0f} s", flush=True)
        done = 0.0 if begin is None else (now - begin) / (a.until - begin)
        if done >= 1:
            break
        lr = a.peak * min(1, (step + 1) / 150) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        rounding = done > a.quantise_from and coin.random() < 0.8
        blend.fill_(float(rounding))
        rows = torch.from_numpy(next(feed).astype("int32")).to(a.device, non_blocking=True).long()
        total, loss, shares = step_loss(model, rows, blend if rounding or not a.small else None, dtype, a.small)
        total.backward()
        descend(model, adam, muon, lr)
        step, seen = step + 1, seen + rows.numel()
        if step in (1, 10) or step % (50 if a.small else 250) == 0:
            used = shares.min(1).values
            print(f"{time.time() - START:6.1f} s  step {step}  {seen / 1e6:.0f} M tokens  loss {loss.item():.4f}  lr {lr:.3f}  "
                  f"least used expert {used.min().item():.4f}", flush=True)
        if mean:
            keep = min(0.998, step / (step + 20))
            for k, v in model.state_dict().items():
                mean[k].lerp_(v, 1 - keep)
        if now > saved_at + 180:
            saved_at = now
            save(model, a.out, mean)
    model.capacity = None
    if mean:
        model.load_state_dict(mean)
    save(model, a.out)
    report(model, tokenizer, dtype, a.device, 512 if a.device == "cuda" else 8)
    print(f"{step} steps, {seen / 1e6:.0f} M tokens, {time.time() - START:.0f} s", flush=True)
    for producer in multiprocessing.active_children():  # they would keep the output's pipe open
        producer.terminate()
    os._exit(0)


if __name__ == "__main__":
    main()
