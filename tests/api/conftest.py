"""The real binary serving Pocket Scout on a free port. OUTRIDER_BINARY names another binary than build/outrider."""

import http.client
import json
import os
import pathlib
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("OUTRIDER_BINARY", ROOT / "build" / "outrider"))
SECONDS_TO_START = 60
READY = "Application startup complete"


def pytest_configure(config):
    config.addinivalue_line("markers", "timing: says something about seconds; for the optimised binary only")
    config.addinivalue_line("markers", "long: thousands of tokens by a way that shorter tests go too; for the optimised binary only")


@dataclass
class Server:
    port: int
    process: subprocess.Popen
    log: pathlib.Path
    seconds_to_ready: float
    host: str = "127.0.0.1"
    headers: dict = field(default_factory=lambda: {"Content-Type": "application/json"})

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def request(self, method, path, body=None, headers=None):
        """Status, headers and text of one exchange on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(method, path, data, headers if headers is not None else self.headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def get(self, path):
        status, _, text = self.request("GET", path)
        assert status == 200, text
        return text

    def post(self, path, body, status=200):
        got, _, text = self.request("POST", path, body)
        assert got == status, text
        return json.loads(text)

    def metric(self, name):
        """Sum of a metric's samples."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics").splitlines()
                  if line.split("{")[0].split(" ")[0] == name]
        assert values, name
        return sum(values)

    def wait_for_metric(self, name, value, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.metric(name) == value:
                return
            time.sleep(0.01)
        raise AssertionError(f"{name} is {self.metric(name)}, not {value}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serve(log, *flags, port=None):
    port = port or free_port()
    start = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen([str(BINARY), "serve", "--port", str(port), *flags], stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = start + SECONDS_TO_START
        while READY not in log.read_text(errors="replace"):
            assert process.poll() is None, f"ended with {process.returncode}:\n{log.read_text(errors='replace')[-4000:]}"
            assert time.monotonic() < deadline, f"not ready:\n{log.read_text(errors='replace')[-4000:]}"
            time.sleep(0.005)
        yield Server(port, process, log, time.monotonic() - start)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError("SIGTERM did not end the server") from None


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    with serve(log, "--served-model-name", "scout", "second", "--max-model-len", "2048", "--enable-auto-tool-choice",
               "--tool-call-parser", "llama4_pythonic", "--enable-prompt-tokens-details") as running:
        yield running
        assert running.process.poll() is None, f"the server died:\n{log.read_text(errors='replace')[-4000:]}"
        status, _, _ = running.request("GET", "/health")
        assert status == 200
