"""Both servers as processes with one interface."""
import http.client
import json
import os
import pathlib
import socket
import subprocess
import time

SLOTS = 16  # requests at once


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, command, environment, log):
        self.port = free_port()
        self.log = open(log, "a")
        self.begin = time.monotonic()
        self.process = subprocess.Popen(command + ["--port", str(self.port)], env={**os.environ, **environment},
                                        stdout=self.log, stderr=subprocess.STDOUT)

    def complete(self, prompt, max_tokens, timeout=600):
        """The answer of one request, read whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, **self.extra}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != 200:
            raise ConnectionError(f"{response.status}: {answer[:300]!r}")
        return json.loads(answer)

    def wait_first_token(self, prompt, limit=300):
        """Seconds from the start of the process to the answer of its first request."""
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {self.log.name}")
            try:
                self.complete(prompt, 1)
                return time.monotonic() - self.begin
            except (ConnectionError, http.client.HTTPException, OSError):
                if time.monotonic() - self.begin > limit:
                    raise
                time.sleep(0.005)

    now = staticmethod(time.monotonic)

    def cpu_seconds(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                pass
        return total * 1e-9

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Outrider(Server):
    name = "outrider"
    extra = {}

    def __init__(self, work, isa, model, threads, log):
        environment = {"LD_PRELOAD": str(work / "outrider" / "libavx2_only.so")} if isa == "avx2" else {}
        super().__init__([str(work / "outrider" / "outrider"), "serve", str(model), "--max-model-len", "2048",
                          "--max-num-seqs", str(SLOTS), "--threads", str(threads)], environment, log)


class LlamaCpp(Server):
    name = "llama.cpp"
    extra = {"cache_prompt": False}

    def __init__(self, work, isa, model, threads, log):
        folder = work / "peer" / isa
        super().__init__([str(folder / "llama-server"), "-m", f"{model}.gguf", "-c", str(2048 * SLOTS), "-np", str(SLOTS),
                          "-t", str(threads), "-tb", str(threads), "--no-webui"],
                         {"LD_LIBRARY_PATH": str(folder)}, log)
