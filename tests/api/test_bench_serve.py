"""`outrider bench serve` as its users run it: against Outrider, and against a server that does all that servers do."""

import json
import re
import signal
import subprocess
import time

import pytest
from conftest import BINARY, ROOT
from synthetic_server import TEXT, SyntheticServer

TOKENIZER = ROOT / "models/pocket-scout/fp8"
DATA = ROOT / "tests/bench/data"


def command(port, *flags):
    return [str(BINARY), "bench", "serve", "--port", str(port), "--model", "pocket-scout", "--tokenizer", str(TOKENIZER),
            "--random-input-len", "16", "--random-output-len", "5", *map(str, flags)]


def bench(port, *flags, cwd=None, env=None):
    return subprocess.run(command(port, *flags), capture_output=True, text=True, timeout=120, cwd=cwd, env=env)


def figure(done, label):
    found = re.search(rf"^{re.escape(label)}: +([\d.]+) *$", done.stdout, re.MULTILINE)
    assert found, f"no {label} in\n{done.stdout}\n{done.stderr}"
    return float(found.group(1))


def test_the_recipes_flags_give_its_table_and_a_result_file(server, tmp_path):
    done = subprocess.run(
        [str(BINARY), "bench", "serve", "--host", "0.0.0.0", "--port", str(server.port), "--model", "scout", "--tokenizer",
         str(TOKENIZER), "--trust-remote-code", "--dataset-name", "random", "--random-input-len", "64", "--random-output-len",
         "16", "--ignore-eos", "--max-concurrency", "8", "--num-prompts", "20", "--save-result", "--result-filename",
         "results.json"], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split(":")[0] for line in done.stdout[done.stdout.index("====="):].splitlines()]
    assert lines == ["============ Serving Benchmark Result ============", "Successful requests", "Maximum request concurrency",
                     "Benchmark duration (s)", "Total input tokens", "Total generated tokens", "Request throughput (req/s)",
                     "Output token throughput (tok/s)", "Total Token throughput (tok/s)",
                     "---------------Time to First Token----------------", "Mean TTFT (ms)", "Median TTFT (ms)", "P99 TTFT (ms)",
                     "-----Time per Output Token (excl. 1st token)------", "Mean TPOT (ms)", "Median TPOT (ms)", "P99 TPOT (ms)",
                     "---------------Inter-token Latency----------------", "Mean ITL (ms)", "Median ITL (ms)", "P99 ITL (ms)",
                     "----------------End-to-end Latency----------------", "Mean E2EL (ms)", "Median E2EL (ms)",
                     "P99 E2EL (ms)", "=" * 50]
    assert figure(done, "Total generated tokens") == 20 * 16
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["completed"] == 20 and result["request_rate"] == "inf" and result["max_concurrency"] == 8
    assert result["total_input_tokens"] == figure(done, "Total input tokens")
    assert result["total_output_tokens"] / result["duration"] == pytest.approx(result["output_throughput"])


def test_chats_are_measured_too(server):
    done = bench(server.port, "--served-model-name", "scout", "--endpoint-type", "openai-chat", "--num-prompts", 3, "--ignore-eos")
    assert done.returncode == 0, done.stderr
    assert figure(done, "Total generated tokens") == 15


def test_the_bodies_and_headers_are_vllms(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    with SyntheticServer() as fake:
        done = bench(fake.port, "--num-prompts", 2, "--ignore-eos", "--top-p", 0.5, "--header", "X-More=1")
        assert done.returncode == 0, done.stderr
        assert len(fake.records) == 3  # the ready check is a request of its own
        check, first, _ = fake.records
        assert check.body == first.body and "x-request-id" not in check.headers
        text = first.body["prompt"]
        assert first.raw.decode() == (
            '{"model": "pocket-scout", "prompt": ' + json.dumps(text) + ', "temperature": 0.0, "repetition_penalty": 1.0, '
            '"max_tokens": 5, "logprobs": null, "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true, '
            '"top_p": 0.5}')
        assert first.headers["authorization"] == "Bearer sk-1" and first.headers["x-more"] == "1"
        assert {r.headers["x-request-id"] for r in fake.records[1:]} == {"benchmark-serving0", "benchmark-serving1"}


def test_a_chat_body_is_vllms():
    with SyntheticServer() as fake:
        done = bench(fake.port, "--endpoint-type", "openai-chat", "--num-prompts", 1, "--ready-check-timeout-sec", 0,
                     "--temperature", 0.7, "--extra-body", '{"user": "me"}')
        assert done.returncode == 0, done.stderr
        record, = fake.records
        assert record.path == "/v1/chat/completions" and "authorization" not in record.headers
        prompt = record.body["messages"][0]["content"][0]["text"]
        assert record.body == {
            "model": "pocket-scout", "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
            "temperature": 0.7, "max_completion_tokens": 5, "stream": True, "stream_options": {"include_usage": True}, "user": "me"}


def test_the_first_model_of_the_server_is_asked_where_none_is_named():
    with SyntheticServer() as fake:
        done = subprocess.run([str(BINARY), "bench", "serve", "--base-url", f"http://127.0.0.1:{fake.port}", "--num-prompts", "1"],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert fake.bodies[0]["model"] == "pocket-scout"


@pytest.mark.parametrize("chat", [False, True])
def test_reads_may_end_inside_characters(chat, tmp_path):
    with SyntheticServer(lambda index, record: "split") as fake:
        done = bench(fake.port, "--num-prompts", 4, "--save-result", "--save-detailed", "--result-filename", "r.json",
                     "--backend", "openai-chat" if chat else "vllm", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        result = json.loads((tmp_path / "r.json").read_text())
        assert result["generated_texts"] == ["".join(TEXT)] * 4
        assert result["output_lens"] == [5] * 4 and [len(itl) for itl in result["itls"]] == [4] * 4


def test_each_kind_of_failure_is_counted_and_told(tmp_path):
    kinds = {"busy": "HTTP 429 Too Many Requests", "broken": "HTTP 500 Internal Server Error", "garbage": "answer is not HTTP",
             "no_json": "no JSON in the stream", "stream_error": "error in the stream",
             "cut": "connection closed before the answer was complete", "early_end": "stream ended too early"}
    names = ["good", *kinds]
    with SyntheticServer(lambda index, record: names[index % len(names)]) as fake:
        done = bench(fake.port, "--num-prompts", 17, "--max-concurrency", 3, "--save-result", "--save-detailed",
                     "--result-filename", tmp_path / "r.json")
        assert done.returncode == 0, done.stderr
        assert figure(done, "Successful requests") == 2 and figure(done, "Failed requests") == 15
        for name, kind in kinds.items():
            assert re.search(rf"^ +[23]  {kind}$", done.stderr, re.MULTILINE), (name, done.stderr)
        result = json.loads((tmp_path / "r.json").read_text())
        assert result["failed"] == 15 and sum(result["failures"].values()) == 15
        assert "HTTP 429 Too Many Requests: slow down" in result["errors"]


@pytest.mark.parametrize("behaviour", ["busy", "broken", "garbage", "no_json", "stream_error", "cut"])
def test_when_nothing_succeeds_the_exit_code_says_so(behaviour):
    with SyntheticServer(lambda index, record: behaviour) as fake:
        done = bench(fake.port, "--num-prompts", 3, "--ready-check-timeout-sec", 0)
        assert done.returncode == 1, done.stderr
        assert figure(done, "Successful requests") == 0 and figure(done, "Mean TTFT (ms)") == 0
        assert "All requests failed" in done.stderr


def test_a_server_that_dies_in_the_middle_leaves_a_table():
    with SyntheticServer(lambda index, record: "die" if index == 9 else "good", pause=0.002) as fake:
        done = bench(fake.port, "--num-prompts", 30, "--max-concurrency", 2)
        assert done.returncode == 0, done.stderr
        succeeded = figure(done, "Successful requests")
        assert 5 <= succeeded <= 9 and figure(done, "Failed requests") == 30 - succeeded
        assert "connection" in done.stderr


def test_a_wrong_request_is_told_at_once():
    with SyntheticServer(lambda index, record: "wrong") as fake:
        start = time.monotonic()
        done = bench(fake.port)
        assert done.returncode == 1 and time.monotonic() - start < 20
        assert "HTTP 404 Not Found: The model `x` does not exist." in done.stderr


def test_it_waits_for_a_server_that_is_not_ready():
    with SyntheticServer(lambda index, record: "good" if index else "busy") as fake:
        done = bench(fake.port, "--num-prompts", 1)
        assert done.returncode == 0 and "not ready yet: HTTP 429" in done.stderr
    done = bench(fake.port, "--ready-check-timeout-sec", 1)
    assert done.returncode == 1 and "connection refused" in done.stderr
    with SyntheticServer(lambda index, record: "hang") as fake:
        done = bench(fake.port, "--ready-check-timeout-sec", 1)
        assert done.returncode == 1 and "no answer in time" in done.stderr


def test_ctrl_c_prints_what_finished(tmp_path):
    with SyntheticServer(lambda index, record: "hang" if index > 4 else "good") as fake:
        process = subprocess.Popen(command(fake.port, "--num-prompts", 9, "--save-result", "--result-filename", "r.json"),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        deadline = time.monotonic() + 60
        while len(fake.records) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.stdout_text, process.stderr_text = process.communicate(timeout=20)
        assert process.returncode == 130, process.stderr_text
        assert re.search(r"^Successful requests: +4 *$", process.stdout_text, re.MULTILINE)
        assert re.search(r"^Unfinished requests: +5 *$", process.stdout_text, re.MULTILINE)
        assert json.loads((tmp_path / "r.json").read_text())["completed"] == 4


def test_a_result_that_cannot_be_written_is_found_before_the_run(tmp_path):
    with SyntheticServer() as fake:
        for flags in (["--result-filename", tmp_path / "none/r.json"], ["--result-filename", tmp_path],
                      ["--result-dir", "/proc/nowhere"]):
            done = bench(fake.port, "--num-prompts", 1, "--save-result", *flags)
            assert done.returncode == 1 and "argument --result-" in done.stderr, done.stderr
        assert not fake.records


def test_results_are_appended_as_lines_and_named_by_the_run(tmp_path):
    with SyntheticServer() as fake:
        for _ in range(2):
            bench(fake.port, "--num-prompts", 1, "--append-result", "--result-dir", "sub/results", "--label", "mine",
                  "--result-filename", "all.jsonl", cwd=tmp_path)
        lines = (tmp_path / "sub/results/all.jsonl").read_text().split("\n")
        assert [json.loads(line)["label"] for line in lines] == ["mine", "mine"]
        bench(fake.port, "--num-prompts", 2, "--save-result", "--max-concurrency", 2, "--request-rate", 500, cwd=tmp_path)
        name, = [path.name for path in tmp_path.glob("*.json")]
        assert re.fullmatch(r"openai-500\.0qps-concurrency2-pocket-scout-\d{8}-\d{6}\.json", name)


def test_an_old_result_outlives_a_run_that_fails(tmp_path):
    (tmp_path / "r.json").write_text("old")
    with SyntheticServer(lambda index, record: "wrong") as fake:
        bench(fake.port, "--save-result", "--result-filename", "r.json", cwd=tmp_path)
        bench(fake.port, "--save-result", "--result-filename", "new.json", cwd=tmp_path)
    assert (tmp_path / "r.json").read_text() == "old" and not (tmp_path / "new.json").exists()


def test_concurrency_and_rate_are_kept():
    with SyntheticServer(pause=0.005) as fake:
        done = bench(fake.port, "--num-prompts", 20, "--max-concurrency", 3)
        assert done.returncode == 0 and fake.most_running == 3
    with SyntheticServer() as fake:
        done = bench(fake.port, "--num-prompts", 20, "--request-rate", 40)
        assert 0.5 <= figure(done, "Benchmark duration (s)") < 2
        assert figure(done, "Request rate configured (RPS)") == 40


@pytest.mark.timing
def test_times_agree_with_the_servers_own(tmp_path):
    with SyntheticServer(pause=0.02) as fake:
        done = bench(fake.port, "--num-prompts", 4, "--max-concurrency", 2, "--save-result", "--save-detailed",
                     "--result-filename", "r.json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        result = json.loads((tmp_path / "r.json").read_text())
        # The smallest difference, and the middle one: a busy machine delays some of them.
        records = {int(record.headers["x-request-id"].removeprefix("benchmark-serving")): record for record in fake.records[1:]}
        ttft = [abs(result["ttfts"][i] - (record.sent[0] - record.received)) for i, record in records.items()]
        assert min(ttft) < 0.005
        itl = [abs(measured - (b - a)) for i, record in records.items()
               for measured, a, b in zip(result["itls"][i], record.sent, record.sent[1:])]
        assert len(itl) == 4 * 4 and sorted(itl)[len(itl) // 2] < 0.005


def test_wrong_flags_are_refused_with_their_names():
    for flags, text in ((["--percentile-metrics", "ttft,foo"], "--percentile-metrics"), (["--goodput", "x:1"], "--goodput"),
                        (["--metadata", "a"], "--metadata"), (["--dataset-name", "hf"], "--dataset-name"),
                        (["--dataset-name", "sharegpt"], "--dataset-path"), (["--ramp-up-strategy", "linear"], "--ramp-up"),
                        (["--endpoint", "/v1/chat"], "--endpoint"), (["--base-url", "host:1"], "--base-url"),
                        (["--header", "a: b=c"], "--header"), (["--nonsense"], "--nonsense"), (["stray"], "stray")):
        done = subprocess.run([str(BINARY), "bench", "serve", *flags], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and text in done.stderr, (flags, done.stderr)


def test_custom_files_are_read_and_a_ramp_raises_the_rate(tmp_path):
    with SyntheticServer() as fake:
        done = bench(fake.port, "--dataset-name", "custom", "--dataset-path", DATA / "texts.custom.jsonl", "--num-prompts", 15,
                     "--ramp-up-strategy", "linear", "--ramp-up-start-rps", 10, "--ramp-up-end-rps", 200, "--goodput",
                     "ttft:10000", "--custom-output-len", 3, "--save-result", "--result-filename", tmp_path / "r.json")
        assert done.returncode == 0, done.stderr
        assert fake.bodies[1]["prompt"].startswith("<|begin_of_text|><|header_start|>user<|header_end|>")
        assert figure(done, "Request goodput (req/s)") == figure(done, "Request throughput (req/s)")
        events = json.loads((tmp_path / "r.json").read_text())["rps_change_events"]
        assert events[0]["rps"] == 10 and events[-1]["rps"] == 200 and len(events) == 191
