"""The recipe's own commands (tests/api/recipe: its scripts without their comments), run as they are. They all mean port 8000:
where the system lets us, they get a network of their own, so that nothing else can have that port."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from api.conftest import BINARY, READY, ROOT, SECONDS_TO_START

COMMANDS = pathlib.Path(__file__).resolve().parent / "recipe"
POCKET = ROOT / "models" / "pocket-scout"
# The recipe calls the model by three names: its launch command leaves out a part of it, and its client commands ask for the FP4
# form whatever was launched.
NAMES = ["nvidia/Llama-4-Scout-Instruct-FP8", "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8",
         "nvidia/Llama-4-Scout-17B-16E-Instruct-FP4"]
LOOPBACK_UP = """
import fcntl, socket, struct, sys
request = struct.pack("16sh14x", b"lo", 1 | 64)  # IFF_UP, IFF_RUNNING
fcntl.ioctl(socket.socket(), 0x8914, request)    # SIOCSIFFLAGS
print("up", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def own_network():
    """Yields what to put before a command so that it runs there."""
    holder = subprocess.Popen(["unshare", "--net", "--map-root-user", sys.executable, "-c", LOOPBACK_UP], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if holder.stdout.readline() == "up\n":
            yield ["nsenter", "--target", str(holder.pid), "--user", "--net", "--preserve-credentials", "--"]
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", 8000))
            except OSError:
                pytest.skip("port 8000 is taken, and the system allows no network of our own")
        yield []
    finally:
        holder.stdin.close()
        holder.wait()


def cached_snapshot(cache: pathlib.Path, name: str, checkpoint: pathlib.Path) -> None:
    """The model in Hugging Face's cache layout."""
    repository = cache / "hub" / ("models--" + name.replace("/", "--"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(checkpoint)


@dataclass
class Session:
    """A folder with the YAML files, `vllm` on the path as a link to outrider, the cache, a GPU that nvidia-smi tells of."""

    folder: pathlib.Path
    prefix: list

    def __post_init__(self):
        self.log = self.folder / "server.log"
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        (self.bin / "vllm").symlink_to(BINARY)
        self.be_gpu("9.0")
        for name in NAMES:
            cached_snapshot(self.folder / "hf", name, POCKET / "fp8")
        cached_snapshot(self.folder / "hf", "nvidia/Llama-4-Scout-Instruct-FP4", POCKET / "nvfp4")
        for yaml in (ROOT / "recipes" / "llama4-scout").glob("*.yaml"):
            (self.folder / yaml.name).write_text(yaml.read_text())
        self.env = {**os.environ, "PATH": f"{self.bin}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
                    "HF_HOME": str(self.folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                    "CUDA_VISIBLE_DEVICES": "", "no_proxy": "*"}
        for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            self.env.pop(proxy, None)

    def be_gpu(self, capability):
        smi = self.bin / "nvidia-smi"
        smi.write_text(f"#!/bin/sh\necho {capability}\n")
        smi.chmod(0o755)

    def answer_to_all_names(self):
        with open(self.folder / "Llama4_Hopper.yaml", "a") as yaml:
            yaml.write(f"served-model-name: {NAMES}\n")

    def start(self, script, *appended):
        """Runs one of the recipe's scripts; `appended` goes to its last command."""
        text = (COMMANDS / f"{script}.sh").read_text().rstrip("\n") + "".join(f" {word}" for word in appended) + "\n"
        return subprocess.Popen([*self.prefix, "bash", "-ec", text], cwd=self.folder, env=self.env, text=True,
                                start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, script, *appended, seconds=300):
        process = self.start(script, *appended)
        out, err = process.communicate(timeout=seconds)
        assert process.returncode == 0, out[-4000:] + err[-4000:]
        return out

    @contextlib.contextmanager
    def launched(self):
        """The recipe's launch script: it ends at once, the server goes on behind it."""
        with open(self.log, "wb") as output:
            launcher = subprocess.Popen([*self.prefix, "bash", "-e", str(COMMANDS / "launch_server.sh")], cwd=self.folder,
                                        env=self.env, start_new_session=True, stdin=subprocess.DEVNULL, stdout=output,
                                        stderr=subprocess.STDOUT)
        try:
            assert launcher.wait(timeout=SECONDS_TO_START) == 0
            deadline = time.monotonic() + SECONDS_TO_START
            while READY not in self.log.read_text(errors="replace"):
                assert "error:" not in self.log.read_text(), self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.01)
            yield self.log.read_text()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGTERM)
            deadline = time.monotonic() + 40
            while time.monotonic() < deadline:
                try:
                    os.killpg(launcher.pid, 0)
                except ProcessLookupError:
                    break
                time.sleep(0.02)
