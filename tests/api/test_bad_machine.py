"""What a machine can lack when the server starts: one line with the remedy on standard error, exit code 1."""

import json
import os
import pathlib
import shutil
import socket
import subprocess

import pytest
from conftest import BINARY, ROOT

POCKET = ROOT / "models" / "pocket-scout" / "fp8"


def refusal(*arguments, **environment):
    done = subprocess.run([str(BINARY), *map(str, arguments)], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("outrider: error: "), done
    return lines[0]


def copy_of_pocket(folder: pathlib.Path) -> pathlib.Path:
    """With links to the large files."""
    folder.mkdir(parents=True)
    for file in POCKET.iterdir():
        if file.stat().st_size > 1 << 20:
            (folder / file.name).symlink_to(file)
        else:
            shutil.copy(file, folder)
    return folder


def change(file: pathlib.Path, **keys):
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def test_another_architecture_is_named_with_those_that_are_served(tmp_path):
    model = copy_of_pocket(tmp_path / "model")
    change(model / "config.json", architectures=["LlamaForCausalLM"])
    line = refusal("serve", model, "--port", 0)
    assert str(model / "config.json") in line and "LlamaForCausalLM" in line and "Llama4ForConditionalGeneration" in line


def test_a_snapshot_that_was_written_by_half_is_named_file_by_file(tmp_path):
    snapshot = copy_of_pocket(tmp_path / "hub" / "models--a--b" / "snapshots" / "c0ffee")
    weights = snapshot / "model.safetensors"
    weights.unlink()
    weights.write_bytes((POCKET / "model.safetensors").read_bytes()[:1 << 20])
    line = refusal("serve", "a/b", "--port", 0, HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert "model.safetensors" in line, line
    weights.unlink()
    weights.symlink_to("../../blobs/not-there")  # as a download leaves it that was cut before its first byte
    line = refusal("serve", "a/b", "--port", 0, HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert str(snapshot) in line and "safetensors" in line, line


def test_a_cache_that_may_only_be_read_serves_what_it_has(tmp_path):
    # The other way round would be a fault: the model is there, and nothing needs to be written.
    (tmp_path / "hub" / "models--a--b" / "snapshots").mkdir(parents=True)
    (tmp_path / "hub" / "models--a--b" / "snapshots" / "c0ffee").symlink_to(POCKET)
    for folder in (tmp_path / "hub" / "models--a--b" / "snapshots", tmp_path / "hub" / "models--a--b", tmp_path / "hub"):
        folder.chmod(0o555)
    done = subprocess.run([str(BINARY), "inspect", "a/b"], env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")},
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_port_in_use_is_told_with_its_address():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refusal("serve", "--port", port)
        assert f"127.0.0.1:{port}" in line and "--port" in line


def test_a_result_folder_that_cannot_be_written_is_told_before_the_load(server, tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("/proc/results", tmp_path / "file"):
        line = refusal("bench", "serve", "--port", server.port, "--model", "scout", "--tokenizer", POCKET, "--num-prompts", 1,
                       "--save-result", "--result-dir", place)
        assert "--result-dir" in line and str(place) in line


HAS_CUDA = b"libcuda.so.1" in BINARY.read_bytes() if BINARY.exists() else False
with_cuda = pytest.mark.skipif(not HAS_CUDA, reason="this program is without the CUDA runner")


@pytest.mark.skipif(HAS_CUDA, reason="this program has the CUDA runner")
def test_without_the_cuda_runner_a_gpu_is_refused():
    assert "built without the CUDA runner" in refusal("serve", "--device", "cuda")


# Of a driver, what the CUDA runtime asks for before anything else.
DRIVER = """
#include <cstring>
extern "C" {
int cuInit(unsigned) { return INIT; }
int cuDriverGetVersion(int* version) { *version = VERSION; return 0; }
int cuGetProcAddress_v2(const char* name, void** function, int, unsigned long, void*) {
  *function = nullptr;
  if (!std::strcmp(name, "cuInit")) *function = (void*)cuInit;
  if (!std::strcmp(name, "cuDriverGetVersion")) *function = (void*)cuDriverGetVersion;
  if (!std::strncmp(name, "cuGetProcAddress", 16)) *function = (void*)cuGetProcAddress_v2;
  return *function ? 0 : 500;
}
}
"""


def driver(folder, version, init=0):
    folder.mkdir()
    (folder / "driver.cc").write_text(DRIVER.replace("VERSION", str(version)).replace("INIT", str(init)))
    subprocess.run(["g++", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", folder / "driver.cc"], check=True)
    return {"LD_LIBRARY_PATH": str(folder)}


@with_cuda
def test_a_driver_that_is_too_old_is_told_with_the_one_that_is_needed(tmp_path):
    line = refusal("serve", "--device", "cuda", **driver(tmp_path / "old", 12040))
    assert "CUDA 12.4" in line and "driver 580 or newer" in line and "--device cpu" in line


@with_cuda
def test_a_gpu_that_is_asked_for_and_is_not_there_is_told(tmp_path):
    line = refusal("serve", "--device", "cuda", CUDA_VISIBLE_DEVICES="", **driver(tmp_path / "none", 13000, init=100))
    assert "no NVIDIA GPU" in line and "nvidia-smi" in line and "--device cpu" in line
    if not os.path.exists("/proc/driver/nvidia/version"):
        assert "there is no NVIDIA driver" in refusal("serve", "--device", "cuda")
