"""Pocket Scout served with the recipe's Hopper settings and under Scout's name, so that the recipe's commands fit."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from api.conftest import serve  # noqa: E402

MODEL = "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8"
RECIPE = ["--served-model-name", MODEL, "--kv-cache-dtype", "fp8", "--async-scheduling", "--no-enable-prefix-caching",
          "--max-num-batched-tokens", "8192", "--max-model-len", "10240", "--max-num-seqs", "512"]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server") / "log", *RECIPE) as running:
        yield running
        assert running.process.poll() is None, "outrider serve did not survive its clients"


@pytest.fixture(scope="session")
def model():
    return MODEL
