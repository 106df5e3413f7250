"""compare.py WORK OUT.md: Outrider beside llama.cpp on the same weights, alternating; run.sh prepares WORK and calls this.

Each repeat starts either server and asks, over HTTP with prompts of random token ids:
  start        seconds from exec to the answer of a first request of 16 tokens
  prefill      1024 tokens / seconds of a request for one token
  decode 1     tokens / (seconds of a request for many tokens - seconds of one for one)
  decode 16    tokens of 16 requests at once / seconds until the last has ended, prompts of 8 tokens included
Beside wall time stands the CPU time that the server's threads used: the one that other load on the machine distorts least.
"""
import argparse
import concurrent.futures
import datetime
import json
import pathlib
import random
import statistics
import subprocess

from servers import SLOTS, LlamaCpp, Outrider

TARGETS = {"decode 1": 1.1, "decode 16": 1.5, "prefill": 1.0, "start": 0.5}
POCKET_TOKENS, LARGE_TOKENS = 200, 24  # answers; Pocket Scout's end inside its first attention chunk of 256


def prompt(length, vocab=4064):
    return [random.randrange(1, vocab) for _ in range(length)]


class Clock:
    """Wall and CPU seconds of what the server did inside `with`."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.wall, self.cpu = -self.server.now(), -self.server.cpu_seconds()
        return self

    def __exit__(self, *_):
        self.wall += self.server.now()
        self.cpu += self.server.cpu_seconds()


def complete(server, prompt_length, max_tokens):
    answer = server.complete(prompt(prompt_length), max_tokens)
    if answer["usage"]["completion_tokens"] != max_tokens:
        raise RuntimeError(f"{server.name}: {answer['usage']} instead of {max_tokens} tokens")


def timed(server, prompt_length, max_tokens):
    with Clock(server) as clock:
        complete(server, prompt_length, max_tokens)
    return clock


def decode_rates(name, tokens, one, many):
    """(wall, cpu) of the tokens after the first, from an answer of one token and one of `tokens` more."""
    wall, cpu = many.wall - one.wall, many.cpu - one.cpu
    if wall < many.wall / 10 or cpu <= 0:
        raise RuntimeError(f"{name}: {tokens + 1} tokens took {many.wall:.4f} s ({many.cpu:.2f} s of CPU) and one took "
                           f"{one.wall:.4f} s ({one.cpu:.2f}): they came at once, which is no rate; look at the server's log")
    return tokens / wall, tokens / cpu


def measure(kind, arguments, tokens):
    """{row: (wall, cpu)}: tokens a second, except start: seconds."""
    with kind(*arguments) as server:
        rows = {"start": (server.wait_first_token(prompt(16)), server.cpu_seconds())}
        timed(server, 64, 4)
        clock = timed(server, 1024, 1)
        rows["prefill"] = (1024 / clock.wall, 1024 / clock.cpu)
        rows["decode 1"] = decode_rates(server.name, tokens, timed(server, 16, 1), timed(server, 16, tokens + 1))
        with concurrent.futures.ThreadPoolExecutor(SLOTS) as threads, Clock(server) as clock:
            list(threads.map(lambda _: complete(server, 8, tokens), range(SLOTS)))
        rows["decode 16"] = (SLOTS * tokens / clock.wall, SLOTS * tokens / clock.cpu)
    return rows


def bytes_per_token(model):
    """Weights that one token of a batch of one reads."""
    config = json.loads((model / "config.json").read_text())
    with open(model / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, entry in header.items():
        if name == "__metadata__" or "embed_tokens" in name:
            continue
        size = entry["data_offsets"][1] - entry["data_offsets"][0]
        routed = ".experts." in name
        total += size * config["num_experts_per_tok"] // config["num_local_experts"] if routed else size
    return total


def cell(values):
    return f"{statistics.median(values):.4g} ({min(values):.3g} to {max(values):.3g})"


def table(label, results, floor):
    lines = []
    for row, target in TARGETS.items():
        ours, theirs = ([r[row] for r in results[k]] for k in ("outrider", "llama.cpp"))
        ratios = [statistics.median(v[i] for v in ours) / statistics.median(v[i] for v in theirs) for i in (0, 1)]
        if row == "start":
            met = ratios[0] <= target
        else:
            met = ratios[0] >= target
        lines.append(f"| {label} | {row} | {cell([v[0] for v in ours])} | {cell([v[0] for v in theirs])} | "
                     f"{ratios[0]:.2f} | {ratios[1]:.2f} | {target} | {'yes' if met else 'no'} | {floor.get(row, '')} |")
    return lines


def load():
    return pathlib.Path("/proc/loadavg").read_text().split()[0]


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--models", nargs="+", default=["pocket-fp8", "pocket-nvfp4", "large-fp8", "large-nvfp4"])
    parser.add_argument("--isas", nargs="+", default=["avx512", "avx2"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    args = parser.parse_args()
    threads = args.threads or int(output("nproc"))
    machine = json.loads(output(str(args.work / "outrider" / "machine_floor"), str(threads)))
    processor = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    lines = [f"{datetime.date.today()}, {processor}, {threads} threads; load before {load()}",
             f"Floor: {machine['read_gb_s']} GB/s read, {machine['fma_gflop_s']} GFLOP/s fp32 multiply-add", "",
             "| model, instructions | row | outrider: median (range) | llama.cpp | ratio | ratio of CPU time | target | met | floor |",
             "|---|---|---|---|---|---|---|---|---|"]
    for model in args.models:
        for isa in args.isas:
            results = {"outrider": [], "llama.cpp": []}
            tokens = LARGE_TOKENS if model.startswith("large") else POCKET_TOKENS
            path = args.work / "models" / model
            for repeat in range(args.repeats):
                for kind in (Outrider, LlamaCpp):
                    log = args.work / f"{kind.name}.log"
                    results[kind.name].append(measure(kind, (args.work, isa, path, threads, log), tokens))
                    print(model, isa, repeat, kind.name, results[kind.name][-1], "load", load(), flush=True)
            needed = bytes_per_token(path)
            floor = {"decode 1": f"{machine['read_gb_s'] * 1e9 / needed:.4g} ({needed / 1e6:.4g} MB a token)"}
            lines += table(f"{model}, {isa}", results, floor)
            args.out.write_text("\n".join(lines + ["", f"Load after: {load()}"]) + "\n")
    print(args.out.read_text())


if __name__ == "__main__":
    main()
