"""`outrider bench latency` and `outrider bench throughput` on Pocket Scout."""

import json
import re
import signal
import subprocess
import time

import pytest
from conftest import BINARY, ROOT

DATA = ROOT / "tests/bench/data"


def bench(name, *flags, cwd=None):
    return subprocess.run([str(BINARY), "bench", name, *map(str, flags)], capture_output=True, text=True, timeout=120, cwd=cwd)


def test_latency_prints_vllms_lines_and_writes_its_json(tmp_path):
    done = bench("latency", "--input-len", 8, "--output-len", 6, "--batch-size", 3, "--num-iters-warmup", 1, "--num-iters", 4,
                 "--output-json", "l.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "l.json").read_text())
    assert list(result) == ["avg_latency", "latencies", "percentiles"] and len(result["latencies"]) == 4
    assert list(result["percentiles"]) == ["10", "25", "50", "75", "90", "99"]
    assert result["avg_latency"] == pytest.approx(sum(result["latencies"]) / 4)
    low, high = sorted(result["latencies"])[1:3]
    assert result["percentiles"]["50"] == pytest.approx((low + high) / 2)
    lines = done.stdout.splitlines()
    assert lines == ["Warming up...", f"Avg latency: {result['avg_latency']} seconds",
                     *(f"{percent}% percentile latency: {value} seconds" for percent, value in result["percentiles"].items())]
    assert "100%|" in done.stderr and " 4/4 " in done.stderr


def test_throughput_counts_requests_and_tokens(tmp_path):
    done = bench("throughput", "--num-prompts", 9, "--input-len", 24, "--output-len", 5, "--n", 2, "--output-json",
                 tmp_path / "t.json", "--config", write(tmp_path / "c.yaml", "max-num-seqs: 4\nkv-cache-dtype: fp8\n"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "t.json").read_text())
    assert list(result) == ["elapsed_time", "num_requests", "total_num_tokens", "requests_per_second", "tokens_per_second"]
    prompt = int(re.search(r"^Total num prompt tokens:  (\d+)$", done.stdout, re.MULTILINE).group(1))
    output = int(re.search(r"^Total num output tokens:  (\d+)$", done.stdout, re.MULTILINE).group(1))
    assert output == 9 * 2 * 5 and result["total_num_tokens"] == prompt + output and result["num_requests"] == 9
    assert result["tokens_per_second"] == pytest.approx((prompt + output) / result["elapsed_time"])
    assert re.search(r"^Throughput: [\d.]+ requests/s, [\d.]+ total tokens/s, [\d.]+ output tokens/s$", done.stdout, re.MULTILINE)


def test_throughput_reads_the_data_sets_of_bench_serve_and_dummy_weights():
    done = bench("throughput", "--dataset-name", "custom", "--dataset-path", DATA / "texts.custom.jsonl", "--num-prompts", 3,
                 "--custom-output-len", 4, "--load-format", "dummy", "--disable-detokenize", "--disable-tqdm", "--log-level",
                 "error")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "Total num output tokens:  12\n" in done.stdout


def test_what_is_wrong_is_told_in_one_line(tmp_path):
    for name, flags, code, text in (
            ("latency", ["--output-json", "/proc/nowhere/x"], 1, "argument --output-json"),
            ("latency", ["--model", tmp_path / "none"], 1, "no such folder"),
            ("latency", ["--input-len", 20000], 2, "--max-model-len"), ("latency", ["--use-beam-search"], 2, "beam"),
            ("latency", ["stray"], 2, "stray"), ("latency", ["--port", 1], 2, "--port"),
            ("throughput", ["--dataset-path", tmp_path / "none"], 1, "--dataset-path"),
            ("throughput", ["--dataset-name", "hf"], 2, "--dataset-name"), ("throughput", ["--backend", "mii"], 2, "--backend")):
        done = bench(name, "--log-level", "error", *flags)
        assert done.returncode == code and text in done.stderr, (flags, done.stderr)
        assert len(done.stderr.splitlines()) == 1 and not done.stdout, (flags, done.stderr)


def test_ctrl_c_prints_the_batches_that_finished(tmp_path):
    process = subprocess.Popen([str(BINARY), "bench", "latency", "--input-len", "4", "--output-len", "8", "--num-iters-warmup", "0",
                                "--num-iters", "1000000", "--output-json", str(tmp_path / "l.json")], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "Warming up...\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out.startswith("Avg latency: "), err
    assert json.loads((tmp_path / "l.json").read_text())["latencies"]


def write(path, text):
    path.write_text(text)
    return path
