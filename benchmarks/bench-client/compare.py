#!/usr/bin/env python3
"""Hold `outrider bench serve` to vLLM 0.10.2's own client and to a server that keeps its own times.

    VLLM_CLIENT=FOLDER benchmarks/bench-client/compare.py [--outrider build/outrider] [--python PYTHON] [--write FILE]

FOLDER and PYTHON as vllm_client.py describes. Three parts, one table each, in Markdown:
  bodies   both clients' requests to a recording server, compared byte by byte
  figures  five alternating runs of both against one `outrider serve`
  cost     512 streams at 10 000 tokens/s from paced_server.py: CPU seconds, and errors of TTFT and ITL
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/api"))
POCKET = ROOT / "models/pocket-scout/fp8"
DATA = ROOT / "tests/bench/data"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def outrider(args, *flags):
    return [str(args.outrider), "bench", "serve", *flags]


def vllm(args, *flags):
    return [args.python, str(HERE / "vllm_client.py"), *flags]


def run(command):
    """Standard output, and CPU seconds of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr[-3000:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


BODIES = [
    ("random", ["--random-input-len", "200", "--random-output-len", "8", "--ignore-eos"]),
    ("random, ranges, prefix", ["--seed", "7", "--random-input-len", "100", "--random-output-len", "9", "--random-range-ratio",
                                "0.4", "--random-prefix-len", "30", "--top-p", "0.9", "--temperature", "0.5"]),
    ("random, chat", ["--endpoint-type", "openai-chat", "--endpoint", "/v1/chat/completions", "--random-input-len", "50",
                      "--random-output-len", "8"]),
    ("sharegpt", ["--dataset-name", "sharegpt", "--dataset-path", str(DATA / "texts.sharegpt.json"), "--seed", "3"]),
    ("sonnet", ["--dataset-name", "sonnet", "--dataset-path", str(DATA / "texts.sonnet.txt"), "--sonnet-input-len", "200",
                "--sonnet-prefix-len", "90"]),
    ("custom", ["--dataset-name", "custom", "--dataset-path", str(DATA / "texts.custom.jsonl"), "--custom-output-len", "8"]),
    ("prefix_repetition", ["--dataset-name", "prefix_repetition", "--prefix-repetition-prefix-len", "20",
                           "--prefix-repetition-suffix-len", "20", "--prefix-repetition-num-prefixes", "3"]),
]


def compare_bodies(args):
    from synthetic_server import SyntheticServer
    lines = ["| data set | requests | bodies equal, in order | x-request-ids equal |", "|---|---|---|---|"]
    for name, flags in BODIES:
        seen = []
        for client in (outrider, vllm):
            with SyntheticServer(tokens=2) as fake:
                run(client(args, "--port", str(fake.port), "--model", "m", "--tokenizer", str(POCKET), "--num-prompts", "12",
                           "--max-concurrency", "1", *flags))
                seen.append([(record.raw, record.headers.get("x-request-id")) for record in fake.records])
        equal = sum(a[0] == b[0] for a, b in zip(*seen))
        ids = sum(a[1] == b[1] for a, b in zip(*seen))
        lines.append(f"| {name} | {len(seen[0])}, {len(seen[1])} | {equal} | {ids} |")
    return lines


LABELS = ["Successful requests", "Total input tokens", "Total generated tokens", "Benchmark duration (s)",
          "Output token throughput (tok/s)", "Mean TTFT (ms)", "Median TTFT (ms)", "P99 TTFT (ms)", "Mean TPOT (ms)",
          "Median TPOT (ms)", "P99 TPOT (ms)", "Mean ITL (ms)", "Median ITL (ms)", "P99 ITL (ms)"]


def compare_figures(args):
    port = free_port()
    flags = ["--port", str(port), "--model", "pocket-scout", "--tokenizer", str(POCKET), "--random-input-len", "256",
             "--random-output-len", "64", "--ignore-eos", "--max-concurrency", "16", "--num-prompts", str(args.num_prompts)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([str(args.outrider), "serve", "--port", str(port), "--no-enable-prefix-caching", "--threads", "1"],
                                  stdout=log, stderr=log)
        try:
            values = {outrider: [], vllm: []}
            for _ in range(5):
                for client in (outrider, vllm):
                    text, _ = run(client(args, *flags))
                    values[client].append([float(re.search(re.escape(label) + r": +([\d.]+)", text)[1]) for label in LABELS])
        finally:
            server.terminate()
            server.wait()
    lines = ["| figure | outrider, median of 5 (range) | vLLM's client (range) | ratio |", "|---|---|---|---|"]
    for i, label in enumerate(LABELS):
        columns = [[row[i] for row in values[client]] for client in (outrider, vllm)]
        ours, theirs = (statistics.median(column) for column in columns)
        ranges = [f"{statistics.median(column):g} ({min(column):g} to {max(column):g})" for column in columns]
        lines.append(f"| {label} | {ranges[0]} | {ranges[1]} | {ours / theirs:.3f} |")
    return lines


def errors_ms(result, record, prefix):
    """Measured minus recorded: of each request's TTFT and of each of its ITLs."""
    ttft, itl = [], []
    for i, (measured, between) in enumerate(zip(result["ttfts"], result["itls"])):
        times = record[f"{prefix}{i}"]
        ttft.append((measured - times[0]) * 1000)
        itl += [(value - (b - a)) * 1000 for value, a, b in zip(between, times, times[1:])]
    return ttft, itl


def summary(errors):
    sizes = sorted(map(abs, errors))
    return f"{statistics.median(errors):.3f} / {statistics.mean(errors):.3f} / {statistics.median(sizes):.3f} / " \
           f"{sizes[int(len(sizes) * .99)]:.3f}"


def measure_cost(args):
    lines = ["| client | streams | tokens/s of the server | CPU s | CPU s / s | TTFT error (ms) | ITL error (ms) |",
             "|---|---|---|---|---|---|---|"]
    tokens = 200
    with tempfile.TemporaryDirectory() as folder:
        for name, client in (("outrider", outrider), ("vLLM", vllm)):
            for count, rate in ((512, "250"), (32, "20")):
                port, record = free_port(), pathlib.Path(folder, "record.json")
                server = subprocess.Popen([sys.executable, str(HERE / "paced_server.py"), str(port), str(record)])
                time.sleep(0.5)
                _, cpu = run(client(args, "--port", str(port), "--model", "m", "--tokenizer", str(POCKET), "--random-input-len",
                                    "16", "--random-output-len", str(tokens), "--num-prompts", str(count), "--request-rate", rate,
                                    "--disable-tqdm", "--save-result", "--save-detailed", "--result-dir", folder,
                                    "--result-filename", "r.json"))
                _, idle = run(client(args, "--port", str(port), "--model", "m", "--tokenizer", str(POCKET), "--random-input-len",
                                     "16", "--random-output-len", "1", "--num-prompts", "1", "--disable-tqdm",
                                     "--request-id-prefix", "idle"))
                result = json.loads(pathlib.Path(folder, "r.json").read_text())
                server.send_signal(signal.SIGTERM)
                server.wait()
                ttft, itl = errors_ms(result, json.loads(record.read_text()), "benchmark-serving")
                work = cpu - idle  # starting Python, reading the tokenizer
                seconds = result["duration"]
                lines.append(
                    f"| {name} | {count} | {count * tokens / seconds:.0f} | {work:.2f} | {work / seconds:.3f} | "
                    f"{summary(ttft)} | {summary(itl)} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outrider", type=pathlib.Path, default=ROOT / "build/outrider")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--num-prompts", type=int, default=96)
    parser.add_argument("--parts", nargs="+", default=["bodies", "figures", "cost"])
    parser.add_argument("--write", type=pathlib.Path)
    args = parser.parse_args()
    if "VLLM_CLIENT" not in os.environ:
        sys.exit("VLLM_CLIENT is not set: see benchmarks/bench-client/vllm_client.py")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    text = [f"# The benchmark client beside vLLM 0.10.2's, {datetime.date.today()}", "",
            f"Machine: {os.cpu_count()} cores of {cpu}, load {os.getloadavg()[0]:.1f} at the start. Commit {commit}.",
            "Command: `benchmarks/bench-client/compare.py`."]
    parts = {"bodies": ("Requests", compare_bodies), "figures": ("Figures on one server, five alternating runs", compare_figures),
             "cost": ("Cost and errors (median / mean / median size / 99th of 100 sizes), 200 tokens a stream, one each 51.2 ms",
                      measure_cost)}
    for part in args.parts:
        title, function = parts[part]
        text += ["", f"## {title}", "", *function(args)]
    print("\n".join(text))
    if args.write:
        args.write.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
