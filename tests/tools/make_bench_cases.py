#!/usr/bin/env python3
"""Write tests/bench/data/*.json with numpy, Python's random and vLLM 0.10.2's own benchmark module.

Usage: VLLM_CLIENT=FOLDER make_bench_cases.py, in an environment as benchmarks/bench-client/vllm_client.py describes.

random.json    numbers drawn from numpy's and Python's generators
datasets.json  prompts (as lengths, first characters and hashes) that vLLM's client makes with Pocket Scout's tokenizer
metrics.json   made-up answers with the figures and the table that vLLM's client makes of them
texts.*        the files that the data sets read
"""
import asyncio
import contextlib
import hashlib
import io
import json
import os
import pathlib
import random
import sys
import types

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/bench/data"
POCKET = ROOT / "models/pocket-scout/fp8"
sys.path.insert(0, str(ROOT / "benchmarks/bench-client"))


def random_cases():
    cases = {"integers": [], "gamma": [], "randint": [], "permutation": [], "shuffle": [], "choices": []}
    for seed in (0, 1, 42, 4294967295):
        generator = np.random.default_rng(seed)
        for low, high in ((0, 200000), (818, 1229), (5, 6), (0, 2**32), (0, 2**31 + 1), (0, 3)):
            cases["integers"].append([seed, low, high, generator.integers(low, high, size=7).tolist()])
        for shape in (1.0, 0.5, 0.01, 2.0, 7.5):
            np.random.seed(seed)
            cases["gamma"].append([seed, shape, [float(np.random.gamma(shape=shape, scale=0.1)) for _ in range(9)]])
        np.random.seed(seed)
        cases["randint"].append([seed, [int(np.random.randint(0, end)) for end in (1, 2, 3, 1000, 4064, 200000, 2**32)]])
        cases["permutation"].append([seed, np.random.RandomState(seed).permutation(20).tolist()])
        random.seed(seed)
        items = list(range(20))
        random.shuffle(items)
        cases["shuffle"].append([seed, items])
        cases["choices"].append([seed, random.choices(range(1000), k=8)])
    return cases


def write_texts():
    words = "the river runs past old stone houses while rain falls on green hills and 42 boats wait 漢字 🚀 naïve".split()
    rng = random.Random(7)

    def sentence(least, most):
        return " ".join(rng.choice(words) for _ in range(rng.randint(least, most)))

    chats = [{"id": str(i), "conversations": [{"from": "human", "value": sentence(1, 60)}, {"from": "gpt", "value": sentence(1, 60)},
                                              {"from": "human", "value": "more"}][:rng.randint(1, 3)]} for i in range(30)]
    chats.append({"id": "none"})
    (OUT / "texts.sharegpt.json").write_text(json.dumps(chats, ensure_ascii=False, indent=0) + "\n")
    (OUT / "texts.custom.jsonl").write_text(
        "".join(json.dumps({"prompt": sentence(3, 20), "more": 1}, ensure_ascii=i % 2 == 0) + "\n" for i in range(12)))
    (OUT / "texts.spec_bench.jsonl").write_text(
        "".join(json.dumps({"turns": [sentence(3, 20), "x"], "category": "odd" if i % 2 else "even"}) + "\n" for i in range(9)))
    (OUT / "texts.sonnet.txt").write_text("".join(sentence(6, 9) + "\n" for _ in range(40)))
    (OUT / "texts.burstgpt.csv").write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" +
        "".join(f"{i},{'GPT-4' if i % 3 else 'ChatGPT'},{rng.randint(1, 90)},{rng.randint(0, 3) * i},0,API log\n" for i in range(25)))


DATASETS = [
    ["random", {"num_prompts": 6, "random_input_len": 64}],
    ["random", {"num_prompts": 5, "seed": 3, "random_input_len": 50, "random_output_len": 20, "random_range_ratio": 0.3,
                "random_prefix_len": 9}],
    ["random", {"num_prompts": 2, "random_input_len": 0, "random_prefix_len": 4, "random_output_len": 1}],
    ["prefix_repetition", {"num_prompts": 7, "seed": 5, "prefix_repetition_num_prefixes": 3, "prefix_repetition_prefix_len": 20,
                           "prefix_repetition_suffix_len": 12}],
    ["sharegpt", {"num_prompts": 8, "seed": 1}],
    ["sharegpt", {"num_prompts": 40, "seed": 2, "sharegpt_output_len": 3}],
    ["sharegpt", {"num_prompts": 40, "seed": 2, "no_oversample": True}],
    ["custom", {"num_prompts": 5}],
    ["custom", {"num_prompts": 20, "seed": 9, "custom_skip_chat_template": True, "custom_output_len": 11}],
    ["custom", {"num_prompts": 0}],
    ["spec_bench", {"num_prompts": 6, "spec_bench_category": "odd"}],
    ["sonnet", {"num_prompts": 4, "sonnet_input_len": 200, "sonnet_prefix_len": 90}],
    ["sonnet", {"num_prompts": 3, "seed": 4, "sonnet_input_len": 120, "sonnet_prefix_len": 10, "endpoint_type": "openai-chat"}],
    ["burstgpt", {"num_prompts": 6, "seed": 2}],
    ["burstgpt", {"num_prompts": 30}],
]
FILES = {"sharegpt": "texts.sharegpt.json", "custom": "texts.custom.jsonl", "spec_bench": "texts.spec_bench.jsonl",
         "sonnet": "texts.sonnet.txt", "burstgpt": "texts.burstgpt.csv"}


def dataset_cases():
    import argparse

    from transformers import AutoTokenizer
    from vllm.benchmarks import datasets, serve
    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    cases = []
    for name, changes in DATASETS:
        parser = argparse.ArgumentParser()
        serve.add_cli_args(parser)
        args = parser.parse_args(["--model", "x"])
        args.dataset_name = name
        args.dataset_path = str(OUT / FILES[name]) if name in FILES else None
        for key, value in changes.items():
            setattr(args, key, value)
        random.seed(args.seed)
        np.random.seed(args.seed)
        samples = datasets.get_samples(args, tokenizer)
        cases.append({"name": name, "file": FILES.get(name, ""), "options": changes, "requests": [
            [hashlib.sha256(s.prompt.encode()).hexdigest()[:16], s.prompt[:12], s.prompt_len, s.expected_output_len,
             s.request_id or ""] for s in samples], "next_gamma": float(np.random.gamma(shape=1.0, scale=1.0))})
    return cases


def schedule_cases():
    from vllm.benchmarks import serve
    cases = []
    clock = types.SimpleNamespace(now=0.0)
    real = serve.time.time, serve.asyncio.sleep

    async def sleep(seconds):
        clock.now += seconds

    async def times(**options):
        np.random.seed(options.pop("seed"))
        return [(clock.now, rate) async for _, rate in serve.get_request(input_requests=list(range(8)), **options)]

    for options in ({"seed": 0, "request_rate": 10.0}, {"seed": 3, "request_rate": 2.5, "burstiness": 0.5},
                    {"seed": 1, "request_rate": float("inf"), "burstiness": 3.0, "ramp_up_strategy": "linear",
                     "ramp_up_start_rps": 2, "ramp_up_end_rps": 20},
                    {"seed": 1, "request_rate": float("inf"), "ramp_up_strategy": "exponential", "ramp_up_start_rps": 1,
                     "ramp_up_end_rps": 30}, {"seed": 0, "request_rate": float("inf")}):
        serve.time.time, serve.asyncio.sleep = lambda: clock.now, sleep
        clock.now = 0.0
        sent = asyncio.run(times(**dict(options)))
        serve.time.time, serve.asyncio.sleep = real
        shown = {key: "inf" if value == float("inf") else value for key, value in options.items()}
        cases.append({"options": shown, "times": [t for t, _ in sent],
                      "rates": ["inf" if r == float("inf") else r for _, r in sent]})
    return cases


def metrics_case(seed, count, percentiles, goodput, concurrency, rate):
    """One run of vLLM's benchmark() whose request function is made up and whose clock is ours."""
    from transformers import AutoTokenizer
    from vllm.benchmarks import serve
    from vllm.benchmarks.datasets import SampleRequest
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
    rng = random.Random(seed)
    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    requests, outputs = [], []
    for i in range(count):
        requests.append(SampleRequest(prompt="x", prompt_len=rng.randint(1, 50), expected_output_len=9, request_id=str(i)))
        ok = rng.random() < 0.8 and count > 1
        itl = [rng.random() / 50 for _ in range(rng.choice([0, 1, 5, 12]))] if ok else []
        ttft = rng.random() / 4 if ok else 0.0
        outputs.append(RequestFuncOutput(
            generated_text="the river runs " * rng.randint(0, 3) if ok else "", success=ok, latency=ttft + sum(itl), ttft=ttft,
            output_tokens=rng.choice([0, len(itl) + 1, len(itl) + 1]), itl=itl, prompt_len=requests[-1].prompt_len))
    duration = 1.0 + rng.random()
    answers = iter([RequestFuncOutput(success=True)] + outputs)

    async def request_func(request_func_input, session, pbar=None):
        return next(answers)

    real_class = serve.time
    ticks = iter([0.0, duration])
    serve.time = types.SimpleNamespace(perf_counter=lambda: next(ticks), time=real_class.time)
    serve.ASYNC_REQUEST_FUNCS["openai"] = request_func

    async def rates(*_args, **_kwargs):
        for request in requests:
            yield request, rate
    serve.get_request = rates
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = asyncio.run(serve.benchmark(
            endpoint_type="openai", api_url="http://x/v1/completions", base_url="http://x", model_id="m", model_name=None,
            tokenizer=tokenizer, input_requests=requests, logprobs=None, request_rate=rate, burstiness=1.0, disable_tqdm=True,
            profile=False, selected_percentile_metrics=["ttft", "tpot", "itl", "e2el"], selected_percentiles=percentiles,
            ignore_eos=False, goodput_config_dict=goodput, max_concurrency=concurrency, lora_modules=None, extra_body={}))
    serve.time = real_class
    text = printed.getvalue()
    return {"duration": duration, "percentiles": percentiles, "goodput": goodput, "max_concurrency": concurrency,
            "request_rate": "inf" if rate == float("inf") else rate,
            "outcomes": [{"success": o.success, "ttft": o.ttft, "latency": o.latency, "itl": o.itl, "tokens": o.output_tokens or 0,
                          "text": o.generated_text, "prompt_len": o.prompt_len} for o in outputs],
            "table": text[text.index("====="):],
            "result": {k: v for k, v in result.items() if k not in ("ttfts", "itls", "generated_texts", "errors", "input_lens")}}


def metrics_cases():
    return [metrics_case(1, 25, [99.0], {}, None, float("inf")), metrics_case(2, 40, [50.0, 99.9, 0.0, 100.0], {}, 16, 7.25),
            metrics_case(3, 31, [99.0], {"ttft": 120.0, "tpot": 9.0, "e2el": 200.0}, 512, float("inf")),
            metrics_case(4, 1, [99.0], {}, None, float("inf"))]


def main():
    from vllm_client import install
    install(os.environ["VLLM_CLIENT"])
    OUT.mkdir(parents=True, exist_ok=True)
    write_texts()

    def write(name, value):
        (OUT / name).write_text(json.dumps(value, indent=None, separators=(",", ":"), ensure_ascii=False) + "\n")
    write("random.json", random_cases())
    write("datasets.json", dataset_cases())
    write("schedule.json", schedule_cases())
    import vllm.benchmarks.lib.ready_checker as ready
    ready.tqdm = lambda *a, **k: contextlib.nullcontext(types.SimpleNamespace(
        n=0, update=lambda *_: None, refresh=lambda: None, close=lambda: None))
    write("metrics.json", metrics_cases())


if __name__ == "__main__":
    main()
