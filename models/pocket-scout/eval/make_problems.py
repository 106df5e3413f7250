"""make_problems.py: write pocket_gsm_test.jsonl (500 held-out problems, templates in turn) and pocket_gsm_fewshot.jsonl (64 of the train split)."""
import itertools
import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "train"))
import gsm  # noqa: E402


def write(name, seed, split, count):
    rng = random.Random(seed)
    seen, problems = set(), []
    for turn in itertools.count():
        p = gsm.problem(rng, split, index=turn % len(gsm.TEMPLATES))
        if p["question"] not in seen:  # a template of few numbers gives fewer problems
            seen.add(p["question"])
            problems.append(p)
        if len(problems) == count:
            break
    rng.shuffle(problems)
    with open(os.path.join(HERE, name), "w") as f:
        f.writelines(json.dumps(p) + "\n" for p in problems)


if __name__ == "__main__":
    write("pocket_gsm_test.jsonl", 2026, "test", 500)
    write("pocket_gsm_fewshot.jsonl", 2027, "train", 64)
