"""One served Pocket Scout for all client tests: the built binary on a free port, as the recipe starts it."""

import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("OUTRIDER_BINARY", ROOT / "build" / "outrider"))
SECONDS_TO_START = 60


@dataclass
class Server:
    url: str
    model: str

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        assert process.poll() is None, f"outrider serve ended with status {process.returncode}"
        try:
            urllib.request.urlopen(url + "/health", timeout=1).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise AssertionError(f"{url}/health did not answer within {SECONDS_TO_START} s")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    # The recipe's Hopper settings.
    command = [str(BINARY), "serve", "--port", str(port), "--kv-cache-dtype", "fp8", "--async-scheduling",
               "--no-enable-prefix-caching", "--max-num-batched-tokens", "8192", "--max-model-len", "10240"]
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        try:
            wait_until_healthy(url, process)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text(errors='replace')[-4000:]}") from None
        with urllib.request.urlopen(url + "/v1/models", timeout=10) as response:
            model = json.load(response)["data"][0]["id"]
        yield Server(url, model)
        assert process.poll() is None, "outrider serve did not survive its clients"
    finally:
        process.terminate()
        process.wait(timeout=60)
