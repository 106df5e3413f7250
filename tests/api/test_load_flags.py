"""--max-num-queued-reqs, --max-num-queued-tokens, --stream-interval, --enable-log-outputs and
--exclude-tools-when-tool-choice-none."""

import concurrent.futures
import json
import subprocess
import time

import pytest
from conftest import BINARY, serve
from openai import InternalServerError, OpenAI


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("limited") / "log", "--max-num-queued-reqs", "2", "--max-num-queued-tokens", "100",
               "--stream-interval", "5", "--enable-log-requests", "--enable-log-outputs", "--max-log-len", "60",
               "--exclude-tools-when-tool-choice-none") as running:
        yield running


def wait_for_room(server):
    """A closed connection gives its room back when the server has noticed, a moment after the request has left the engine."""
    deadline = time.monotonic() + 10
    while server.request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 503:
        assert time.monotonic() < deadline, "no room came back"
        time.sleep(0.02)


def test_more_requests_than_may_wait_are_answered_503_and_room_comes_back(limited):
    client = OpenAI(base_url=limited.url + "/v1", api_key="EMPTY", max_retries=0)
    model = client.models.list().data[0].id
    running = [client.completions.create(model=model, stream=True, extra_body={"ignore_eos": True},
                                         prompt="San Francisco", max_tokens=1500) for _ in range(2)]
    with pytest.raises(InternalServerError) as refused:
        client.completions.create(model=model, prompt="x", max_tokens=1)
    assert refused.value.status_code == 503
    assert "--max-num-queued-reqs" in refused.value.body["message"]
    assert refused.value.response.headers["retry-after"] == "1"
    for stream in running:
        stream.close()
    wait_for_room(limited)


def test_a_burst_never_exceeds_the_limit_and_loses_no_room(limited):
    def one(_):
        return limited.request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 20, "ignore_eos": True})[0]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(one, range(64)))
    assert set(statuses) <= {200, 503} and 200 in statuses
    wait_for_room(limited)
    assert [one(0) for _ in range(3)] == [200] * 3


def test_prompt_tokens_that_wait_are_limited_but_one_large_prompt_gets_in(limited):
    large = {"prompt": [5] * 300, "max_tokens": 600, "ignore_eos": True, "stream": True}
    client = OpenAI(base_url=limited.url + "/v1", api_key="EMPTY", max_retries=0)
    stream = client.completions.create(model=client.models.list().data[0].id, prompt=large["prompt"], stream=True,
                                       max_tokens=1500, extra_body={"ignore_eos": True})
    next(iter(stream))
    assert limited.request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 503
    stream.close()
    wait_for_room(limited)


def test_an_event_holds_the_tokens_of_the_interval(limited):
    body = {"prompt": "San Francisco is a", "max_tokens": 18, "ignore_eos": True, "temperature": 0}
    whole = limited.post("/v1/completions", body)["choices"][0]["text"]
    _, _, text = limited.request("POST", "/v1/completions", {**body, "stream": True, "return_token_ids": True})
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == whole
    assert [len(event["choices"][0]["token_ids"]) for event in events] == [1, 5, 5, 5, 2]


def test_outputs_are_logged_no_longer_than_asked(limited):
    text = limited.post("/v1/completions", {"prompt": "San Francisco is a", "max_tokens": 40, "ignore_eos": True,
                                            "temperature": 0})["choices"][0]["text"]
    lines = [line for line in limited.log.read_text().splitlines() if "Generated response cmpl-" in line]
    assert lines and "finish_reason: length" in lines[-1]
    assert repr(text)[1:20] in lines[-1] and repr(text)[1:120] not in lines[-1]


def test_outputs_in_the_log_need_requests_in_the_log():
    done = subprocess.run([BINARY, "serve", "--enable-log-outputs"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "requires --enable-log-requests" in done.stderr


def test_tools_are_left_out_of_the_prompt_when_none_may_be_called(limited, server):
    chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "tool_choice": "none",
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
    without = limited.post("/v1/chat/completions", chat)["usage"]["prompt_tokens"]
    shown = server.post("/v1/chat/completions", chat)["usage"]["prompt_tokens"]
    assert shown > without + 20
