"""HTTP as curl and raw sockets speak it, and what a bad client may do."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import time

import aiohttp
import pytest
from conftest import BINARY, serve
from prometheus_client.parser import text_string_to_metric_families

LONG = {"prompt": "San Francisco is a", "max_tokens": 1500, "ignore_eos": True, "temperature": 1.0}


def raw(server, data, seconds=10):
    """Everything that comes back until the server closes or falls silent."""
    with socket.create_connection((server.host, server.port), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return received


def post_bytes(body, path="/v1/completions", headers=""):
    data = json.dumps(body).encode() if not isinstance(body, bytes) else body
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n{headers}\r\n").encode() + data


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_recipes_curl_command_gets_vllms_keys(server):
    done = subprocess.run(
        ["curl", "-sS", f"{server.url}/v1/completions", "-H", "Content-Type: application/json", "-d",
         '{"model":"scout","prompt":"San Francisco is a","max_tokens":20,"temperature":0}'],
        capture_output=True, text=True, timeout=60, check=True)
    reply = json.loads(done.stdout)
    assert list(reply) == ["id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage",
                           "kv_transfer_params"]
    assert list(reply["choices"][0]) == ["index", "text", "logprobs", "finish_reason", "stop_reason", "token_ids",
                                         "prompt_logprobs", "prompt_token_ids"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_sends_a_large_body_after_100_continue(server):
    body = json.dumps({"prompt": "x", "max_tokens": 1, "user": "y" * 2_000_000})
    done = subprocess.run(
        ["curl", "-sS", "-H", "Expect: 100-continue", "-H", "Content-Type: application/json", "-d", "@-",
         f"{server.url}/v1/completions"], input=body, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["usage"]["completion_tokens"] == 1


def test_small_routes_answer_and_others_are_refused_as_fastapi_does(server):
    assert server.get("/health") == ""
    assert server.get("/ping") == ""
    assert list(json.loads(server.get("/version"))) == ["version"]
    assert json.loads(server.get("/load")) == {"server_load": 0}
    assert server.request("GET", "/nothing")[::2] == (404, '{"detail":"Not Found"}')
    assert server.request("GET", "/v1/completions")[::2] == (405, '{"detail":"Method Not Allowed"}')
    assert server.request("GET", "/v1/models/")[0] == 307


def test_detokenize_gives_back_what_was_tokenized(server):
    text = "Añejo café, 你好 and 👩‍👧‍👦; it's 42%."
    reply = server.post("/tokenize", {"model": "scout", "prompt": text, "add_special_tokens": False})
    assert reply["count"] == len(reply["tokens"])
    assert server.post("/detokenize", {"tokens": reply["tokens"]})["prompt"] == text


def test_metrics_parse_and_agree_with_what_was_done(server):
    before = server.metric("vllm:generation_tokens_total")
    server.post("/v1/completions", {"prompt": "San Francisco is a", "max_tokens": 7, "ignore_eos": True})
    families = {family.name: family for family in text_string_to_metric_families(server.get("/metrics"))}
    assert server.metric("vllm:generation_tokens_total") == before + 7
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:gpu_cache_usage_perc",
                 "vllm:kv_cache_usage_perc", "vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds",
                 "vllm:request_success", "vllm:cache_config_info", "http_requests"):
        assert name in families, name
    assert families["vllm:num_requests_running"].samples[0].labels == {"engine": "0", "model_name": "scout"}
    labels = families["vllm:cache_config_info"].samples[0].labels
    assert int(labels["block_size"]) > 0 and int(labels["num_gpu_blocks"]) > 0


def test_prefix_cache_hits_are_reported(server):
    prompt = "The quick brown fox jumps over the lazy dog. " * 20
    server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1})
    usage = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1})["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_frees_the_engine(server, stream):
    aborted = server.metric("vllm:request_success_total")
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(post_bytes({**LONG, "stream": stream}))
        server.wait_for_metric("vllm:num_requests_running", 1)
    server.wait_for_metric("vllm:num_requests_running", 0)
    server.wait_for_metric("vllm:request_success_total", aborted + 1)


def test_others_are_unharmed_by_a_disconnect(server):
    body = {"prompt": "San Francisco is a", "max_tokens": 40, "temperature": 0, "ignore_eos": True}
    alone = server.post("/v1/completions", body)["choices"][0]["text"]
    with socket.create_connection((server.host, server.port)) as leaving:
        leaving.sendall(post_bytes({**LONG, "stream": True}))
        server.wait_for_metric("vllm:num_requests_running", 1)
        with socket.create_connection((server.host, server.port), timeout=60) as staying:
            staying.sendall(post_bytes(body))
            time.sleep(0.02)
            leaving.close()
            received = b""
            while b"kv_transfer_params" not in received:
                received += staying.recv(65536)
    assert json.dumps(alone, ensure_ascii=False).encode() in received


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"prompt": "\xff"}', b'{"prompt": "\\ud800"}',
    b'{"prompt": ' + b"[" * 10000 + b" " * 10_000_000 + b"]" * 10000 + b"}",
    b'{"prompt": "x", "n": -1}', b'{"prompt": "x", "max_tokens": 1e400}', b'{"prompt": "x", "temperature": NaN}',
    b'{"prompt": [-1]}', b'{"prompt": [18446744073709551616]}', b'{"prompt": "x", "logit_bias": {"-1": 1}}',
], ids=lambda body: body[:30].decode(errors="replace"))
def test_bad_bodies_are_400(server, body):
    reply = raw(server, post_bytes(body, headers="Connection: close\r\n"))
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n"), reply[:300]
    assert json.loads(reply.split(b"\r\n\r\n", 1)[1])["error"]["code"] == 400


def test_a_prompt_of_one_token_too_many_is_refused_and_one_less_is_served(server):
    ids = [5] * 2048
    assert "maximum context length" in server.post("/v1/completions", {"prompt": ids, "max_tokens": 1}, 400)["error"]["message"]
    assert server.post("/v1/completions", {"prompt": ids[:2047], "max_tokens": 1})["usage"]["prompt_tokens"] == 2047


def test_a_body_beyond_the_limit_is_413(server):
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"
    assert raw(server, head).startswith(b"HTTP/1.1 413 ")


def test_noise_is_400(server):
    assert raw(server, b"\x00\x01\x02\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_client_that_reads_a_byte_at_a_time_gets_its_stream(server):
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(post_bytes({"prompt": "San Francisco is a", "max_tokens": 5, "stream": True}))
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            piece = connection.recv(1)
            assert piece, received
            received += piece
    assert b"data: [DONE]\n\n" in received


def test_lm_evals_client_with_128_connections_is_served(server):
    """aiohttp as lm_eval drives it: `Authorization: Bearer ` with nothing after it."""
    async def everything():
        connector = aiohttp.TCPConnector(limit=128)
        headers = {"Authorization": "Bearer ", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
            async def one(index):
                body = {"prompt": f"Question: what is {index} and 1?\nAnswer:", "model": "scout", "max_tokens": 8,
                        "temperature": 0.0, "stop": ["Question:", "</s>", "<|im_end|>"], "seed": 1234}
                async with session.post(server.url + "/v1/completions", json=body, headers=headers) as response:
                    assert response.ok
                    return (await response.json())["choices"][0]["text"]
            return await asyncio.gather(*(one(index) for index in range(256)))
    assert len(asyncio.run(everything())) == 256


def test_keys_guard_v1(tmp_path):
    with serve(tmp_path / "log", "--api-key", "secret", "--enable-request-id-headers") as guarded:
        assert guarded.request("GET", "/v1/models")[::2] == (401, '{"error":"Unauthorized"}')
        status, headers, _ = guarded.request("GET", "/v1/models", headers={"Authorization": "Bearer secret",
                                                                           "X-Request-Id": "r1"})
        assert status == 200 and headers["x-request-id"] == "r1"
        assert guarded.get("/health") == ""
        assert "secret" not in guarded.log.read_text()


def test_a_second_server_on_the_port_fails_at_once(server):
    done = subprocess.run([BINARY, "serve", "--port", str(server.port)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert str(server.port) in done.stderr + done.stdout


def test_sigterm_lets_running_requests_end(tmp_path):
    with serve(tmp_path / "log") as running:
        with socket.create_connection((running.host, running.port), timeout=60) as connection:
            connection.sendall(post_bytes({"prompt": "x", "max_tokens": 100, "ignore_eos": True, "stream": True}))
            assert connection.recv(65536)
            running.process.send_signal(signal.SIGTERM)
            received = b""
            while piece := connection.recv(65536):
                received += piece
        assert b"data: [DONE]" in received
        assert running.process.wait(timeout=30) == 0
    text = (tmp_path / "log").read_text()
    assert "Shutting down" in text
    assert '"POST /v1/completions HTTP/1.1" 200 OK' in text


@pytest.mark.timing
def test_ready_within_half_a_second(tmp_path):
    with serve(tmp_path / "warm"):
        pass
    with serve(tmp_path / "log") as running:
        running.post("/v1/completions", {"prompt": "x", "max_tokens": 1})
        assert running.seconds_to_ready < 0.5


def test_the_server_seed_repeats_requests_without_their_own(tmp_path):
    body = {"prompt": "San Francisco is a", "max_tokens": 24, "temperature": 1.0}
    runs = []
    for run in range(2):
        with serve(tmp_path / f"log{run}", "--seed", "11") as running:
            runs.append([running.post("/v1/completions", body)["choices"][0]["text"] for _ in range(3)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


def test_quiet_paths_leave_no_access_line(tmp_path):
    with serve(tmp_path / "log", "--disable-access-log-for-endpoints", "/health") as running:
        running.get("/health")
        running.get("/version")
    log = (tmp_path / "log").read_text()
    assert '"GET /version HTTP/1.1" 200 OK' in log
    assert "GET /health" not in log
