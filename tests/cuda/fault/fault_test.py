"""fault_test.py BUILD: a GPU fault under a running server, as clients see it.

Serves Pocket Scout, starts streams and a plain request, provokes an illegal address on the device
(inject_fault.cc), and expects: /health 503, an error event at the end of each stream, HTTP 500 with one line for the
plain request and for a newcomer, one line in the log, exit code 1, and all of it within seconds.
"""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

STREAMS = 4
SECONDS = 20  # for all of it


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    def __init__(self, port, body=None, path="/v1/completions"):
        self.port, self.path, self.body = port, path, body
        self.started, self.status, self.text = threading.Event(), None, ""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.body is None:
                connection.request("GET", self.path)
            else:
                connection.request("POST", self.path, json.dumps(self.body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            self.status = response.status
            for line in response:
                self.text += line.decode()
                self.started.set()

    def wait(self):
        self.thread.join(SECONDS)
        return self


def request(**more):
    return {"model": "m", "prompt": "The", "max_tokens": 100_000, "ignore_eos": True, **more}


def check(holds, what):
    print(("ok    " if holds else "FAILED  ") + what, flush=True)
    return holds


def run(build, log_path):
    port = free_port()
    command = [str(build / "outrider"), "serve", "--device", "cuda", "--host", "127.0.0.1", "--port", str(port),
               "--served-model-name", "m", "--gpu-memory-utilization", "0.3", "--max-model-len", "200000",
               "--allow-long-max-model-len"]
    with open(log_path, "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log,
                                  env={**os.environ, "LD_PRELOAD": str(build / "libinject_fault.so")})
    try:
        deadline = time.monotonic() + 60
        while Client(port, path="/health").wait().status != 200:
            if server.poll() is not None or time.monotonic() > deadline:
                return check(False, "the server starts")
            time.sleep(0.05)
        streams = [Client(port, request(stream=True)) for _ in range(STREAMS)]
        started = all(client.started.wait(SECONDS) for client in streams)
        plain = Client(port, request())
        time.sleep(0.3)
        begin = time.monotonic()
        server.send_signal(signal.SIGUSR1)
        for client in streams:
            client.wait()
        health, late = Client(port, path="/health").wait(), Client(port, request()).wait()
        plain.wait()
        code = server.wait(SECONDS)
        seconds = time.monotonic() - begin
    finally:
        server.kill()
    error = '"message": "the device failed: CUDA: '
    errors = [line for line in log_path.read_text().splitlines() if "the device failed" in line]
    results = [check(started, "streams run"),
               check(all(error in client.text and client.text.endswith("data: [DONE]\n\n") for client in streams),
                     "each stream ends with an error event"),
               check(health.status == 503, f"/health says 503: {health.status}"),
               check(late.status == 500 and "the device failed" in late.text, f"a newcomer is refused: {late.text}"),
               check(plain.status == 500 and "the device failed" in plain.text, f"a plain request: {plain.text}"),
               check(len(errors) == 1, "one line in the log: " + " | ".join(errors)),
               check(code == 1, f"exit code 1: {code}"),
               check(seconds < SECONDS, f"all over after {seconds:.1f} s")]
    return all(results)


def main():
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "server.log"
        ok = run(pathlib.Path(sys.argv[1]).resolve(), log)
        if not ok:
            print(log.read_text())
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
