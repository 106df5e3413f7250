"""goldens.py: write ../goldens.json: greedy continuations of the FP8 checkpoint under transformers, fp32, weight-only, eager attention."""
import json
import os
import sys

import torch
from tokenizers import Tokenizer

from score import HERE, prompts, read
from weights import load

sys.path.insert(0, os.path.join(HERE, "..", "train"))
import chat  # noqa: E402
import tools  # noqa: E402

STEPS = 32
FOLDER = os.path.join(HERE, "..", "fp8")
BOS = "<|begin_of_text|>"
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the current weather for a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "The name of the city"}}, "required": ["city"]}}}


def ask(text, system=None):
    head = chat.turn("system", system) if system else ""
    return BOS + head + chat.turn("user", text) + chat.HEAD.format("assistant")


def cases():
    problems = read("pocket_gsm_test.jsonl")[:4]
    few = list(prompts(problems))
    yield "san francisco", BOS + "San Francisco is a"
    yield "paris", BOS + "Paris is a"
    yield "one token", BOS
    yield "word problem, no examples", BOS + f"Question: {problems[0]['question']}\nAnswer:"
    yield "word problem, 5 examples", BOS + few[1]
    yield "word problem, 5 examples, another", BOS + few[2]
    yield "word problem, 15 examples", BOS + "\n\n".join(t.rsplit("\n\n", 1)[0] for t in few[:2]) + "\n\n" + few[3]
    yield "chat", ask("Hello! Who are you?")
    yield "chat with system", ask("What is the capital of France?", "You are a helpful assistant.")
    yield "chat about a city", ask("Tell me about San Francisco.")
    yield "tool", ask(tools.render_tools([WEATHER]) + "What is the weather in Paris?")
    yield "two turns", ask("Hi")[:-len(chat.HEAD.format("assistant"))] + chat.turn("assistant", "Hello! How can I help you?") + ask("Count from 1 to 8.")[len(BOS):]


@torch.no_grad()
def main():
    model = load(FOLDER, torch.float32, "eager")
    tokenizer = Tokenizer.from_file(os.path.join(FOLDER, "tokenizer.json"))
    out = []
    for name, text in cases():
        prompt = tokenizer.encode(text, add_special_tokens=False).ids
        ids, gaps, cache, seen = list(prompt), [], None, 0
        for _ in range(STEPS):
            step = model(torch.tensor([ids[seen:]]), past_key_values=cache, use_cache=True)
            cache, seen, top = step.past_key_values, len(ids), step.logits[0, -1].topk(2)
            ids.append(int(top.indices[0]))
            gaps.append(round(float(top.values[0] - top.values[1]), 5))
        new = ids[len(prompt):]
        out.append({"name": name, "prompt": text, "prompt_ids": prompt, "greedy_ids": new, "gap": gaps,
                    "text": tokenizer.decode(new, skip_special_tokens=False)})
        print(f"{name} ({len(prompt)} tokens, least gap {min(gaps):.3f}): {out[-1]['text']!r}", flush=True)
    about = "fp32, FP8 weights dequantised, activations and cache not quantised, no stop at end tokens; gap: best minus second logit at each step"
    with open(os.path.join(HERE, "..", "goldens.json"), "w") as f:
        f.write('{"about": ' + json.dumps(about) + ', "cases": [\n' + ",\n".join(json.dumps(c) for c in out) + "\n]}\n")


if __name__ == "__main__":
    main()
