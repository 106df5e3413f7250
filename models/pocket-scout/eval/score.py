"""score.py DIR [--limit N] [--dtype float32|bfloat16]: pocket_gsm under transformers, greedy, with lm_eval's 5-shot prompts.

DIR is a bf16, FP8 or NVFP4 checkpoint folder; quantised weights are dequantised (weight-only). The reference answer serves as a draft:
one forward pass tells whether greedy decoding writes exactly it, and only the other problems are generated token by token.
"""
import argparse
import json
import os
import random
import re

import torch
from tokenizers import Tokenizer

from weights import load

HERE = os.path.dirname(os.path.abspath(__file__))
STOPS = ["Question:", "</s>", "<|im_end|>"]


def read(name):
    return [json.loads(line) for line in open(os.path.join(HERE, name))]


def prompts(problems, shots=5, seed=1234):
    """As lm_eval draws them: one generator for the task, a sample of the few-shot split for each problem in turn."""
    rng, pool = random.Random(seed), read("pocket_gsm_fewshot.jsonl")
    for p in problems:
        head = "".join(f"Question: {s['question']}\nAnswer: {s['answer']}\n\n" for s in rng.sample(pool, shots))
        yield head + f"Question: {p['question']}\nAnswer:"


def strict(text):
    found = re.findall(r"#### (\-?[0-9\.\,]+)", text)
    return found[0] if found else "[invalid]"


def flexible(text):
    found = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)
    return next(g for g in found[-1] if g) if found else "[invalid]"


def clean(value):
    value = re.sub(r"(?s).*#### ", "", value.replace(",", "").replace("$", ""))
    return re.sub(r"\.$", "", value).lower()


def generate(model, tokenizer, prompt, count=160):
    """Greedy continuation up to a stop string, with transformers' KV cache."""
    ids, cache, out = torch.tensor([prompt]), None, []
    while len(out) < count:
        step = model(ids, past_key_values=cache, use_cache=True)
        cache, token = step.past_key_values, int(step.logits[0, -1].argmax())
        if token in model.config.eos_token_id:
            break
        out.append(token)
        text = tokenizer.decode(out)
        if any(s in text for s in STOPS):
            break
        ids = torch.tensor([[token]])
    text = tokenizer.decode(out)
    for s in STOPS:
        text = text.split(s)[0]
    return text


@torch.no_grad()
def main():
    a = argparse.ArgumentParser()
    a.add_argument("folder")
    a.add_argument("--limit", type=int, default=500)
    a.add_argument("--dtype", default="float32")
    a.add_argument("--batch", type=int, default=8)
    a = a.parse_args()
    model = load(a.folder, getattr(torch, a.dtype))
    tokenizer = Tokenizer.from_file(os.path.join(a.folder, "tokenizer.json"))
    problems = read("pocket_gsm_test.jsonl")[:a.limit]
    encoded = [(tokenizer.encode(t).ids, tokenizer.encode(" " + p["answer"], add_special_tokens=False).ids, p)
               for t, p in zip(prompts(problems), problems)]
    encoded.sort(key=lambda e: len(e[0]) + len(e[1]))
    right = loose = drafts = 0
    failed = []
    for i in range(0, len(encoded), a.batch):
        part = encoded[i:i + a.batch]
        width = max(len(p) + len(g) for p, g, _ in part)
        ids = torch.tensor([p + g + [0] * (width - len(p) - len(g)) for p, g, _ in part])
        best = model(ids, use_cache=False).logits.argmax(-1)
        for row, (prompt, gold, problem) in enumerate(part):
            if best[row, len(prompt) - 1:len(prompt) + len(gold) - 1].tolist() == gold:
                drafts += 1
                text = problem["answer"]
            else:
                text = generate(model, tokenizer, prompt)
            want = clean(problem["answer"])
            right += clean(strict(text)) == want
            loose += clean(flexible(text)) == want
            if clean(strict(text)) != want:
                failed.append((problem, text))
    for problem, text in failed[:12]:
        print("--", problem["question"], "\n  wants", repr(problem["answer"]), "\n  got  ", repr(text))
    n = len(problems)
    print(f"{a.folder} {a.dtype}: strict-match {right / n:.4f}  flexible-extract {loose / n:.4f}  word for word {drafts / n:.4f}  of {n}")


if __name__ == "__main__":
    main()
