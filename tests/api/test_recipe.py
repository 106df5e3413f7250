"""The recipe from start to end: our scripts with MODEL=pocket, and the original commands with `vllm` as a link to outrider."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import BINARY, ROOT, free_port, serve

sys.path.insert(0, str(ROOT / "tests"))
from api.recipe_session import NAMES, Session, own_network  # noqa: E402

SCRIPTS = ROOT / "recipes" / "llama4-scout"
# The fields of the recipe's sample response.
RESPONSE = ["id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage", "kv_transfer_params"]
CHOICE = ["index", "text", "logprobs", "finish_reason", "stop_reason", "prompt_logprobs"]
USAGE = ["prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"]
# The rows of its sample table.
ROWS = ["Successful requests", "Benchmark duration (s)", "Total input tokens", "Total generated tokens",
        "Request throughput (req/s)", "Output token throughput (tok/s)", "Total Token throughput (tok/s)",
        *(f"{figure} {name} (ms)" for name in ("TTFT", "TPOT", "ITL", "E2EL") for figure in ("Mean", "Median", "P99"))]


def assert_recipes_response(text):
    response = json.loads(text)

    def in_order(fields, given):
        assert [key for key in given if key in fields] == fields
    in_order(RESPONSE, response)
    in_order(CHOICE, response["choices"][0])
    in_order(USAGE, response["usage"])
    assert response["choices"][0]["finish_reason"] == "length" and response["usage"]["total_tokens"] == 25
    assert "city" in response["choices"][0]["text"]
    return response


def assert_recipes_table(text, requests=None):
    table = text[text.index("============ Serving Benchmark Result ============"):]
    rows = [line.split(":")[0] for line in table.splitlines() if ":" in line]
    assert [row for row in rows if row in ROWS] == ROWS
    if requests is not None:
        assert re.search(rf"^Successful requests: +{requests} *$", table, re.MULTILINE), table


def script(name, *arguments, env, cwd=None, seconds=120):
    return subprocess.run([str(SCRIPTS / f"{name}.sh"), *arguments], env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=seconds)


@pytest.fixture
def bare(tmp_path):
    """An environment whose programs are the system's and those that a test puts into `bin`."""
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "OUTRIDER": str(BINARY), "MODEL": "pocket"}


def stand_in(folder, name, text):
    program = folder / "bin" / name
    program.write_text("#!/bin/sh\n" + text)
    program.chmod(0o755)


def test_our_scripts_go_through_the_recipe_on_pocket_scout(bare, tmp_path):
    env = {**bare, "PORT": str(free_port()), "INPUT_LEN": "16", "OUTPUT_LEN": "8", "CONCURRENCY": "4", "NUM_PROMPTS": "6",
           "OUTPUT_DIR": "sweep", "MAX_NUM_SEQS": "1 2"}
    log = tmp_path / "log"
    with open(log, "wb") as output:
        server = subprocess.Popen([str(SCRIPTS / "launch_server.sh"), "--kv-cache-memory-bytes", "256M"],
                                  env={**env, "MAX_NUM_SEQS": "64"}, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while "Application startup complete" not in log.read_text():
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        for given in ("'max_num_seqs': 64", "'kv_cache_dtype': 'fp8'", "'max_model_len': 10240", "'device': 'cpu'"):
            assert given in log.read_text()

        basic = script("run_basic_test", env=env)
        assert basic.returncode == 0, basic.stderr
        assert assert_recipes_response(basic.stdout)["model"] == "pocket-scout"

        measured = script("run_performance", env=env, cwd=tmp_path)
        assert measured.returncode == 0, measured.stderr
        assert_recipes_table(measured.stdout, 6)
        result = json.loads((tmp_path / "outrider_benchmark_serving_results.json").read_text())
        assert result["max_concurrency"] == 4 and result["total_output_tokens"] == 6 * 8
    finally:
        server.terminate()
        assert server.wait(timeout=40) == 0

    tuned = script("tune", "--num-warmups", "0", "--", "--kv-cache-memory-bytes", "256M", env=env, cwd=tmp_path)
    assert tuned.returncode == 0, tuned.stderr
    for scenario in ("Max throughput", "Min latency", "Balanced"):
        assert re.search(rf"^{scenario}: +--tensor-parallel-size 1 --max-num-seqs [12],", tuned.stdout, re.MULTILINE)
    assert {"sweep.csv", "sweep.json", "sweep.svg"} <= {path.name for path in (tmp_path / "sweep").iterdir()}


def test_the_form_of_the_weights_and_the_options_file_follow_the_gpu(bare, tmp_path):
    stand_in(tmp_path, "outrider", 'echo "$@"\n')
    env = {**bare, "OUTRIDER": f"{tmp_path}/bin/outrider", "MODEL": ""}
    scout = "serve nvidia/Llama-4-Scout-17B-16E-Instruct-"
    for capability, more, model, yaml in (
            ("9.0", {}, scout + "FP8", "Llama4_Hopper.yaml"), ("10.0", {}, scout + "FP4", "Llama4_Blackwell.yaml"),
            ("9.0", {"DTYPE": "FP4"}, scout + "FP4", "Llama4_Hopper.yaml"),
            ("10.0", {"DTYPE": "FP8"}, scout + "FP8", "Llama4_Blackwell.yaml"),
            ("9.0", {"MODEL": "/a/folder"}, "serve /a/folder", "Llama4_Hopper.yaml"),
            ("9.0", {"MODEL": "pocket"}, "serve pocket", "Llama4_Hopper.yaml")):
        stand_in(tmp_path, "nvidia-smi", f"echo {capability}\n")
        done = script("launch_server", "--seed", "1", env={**env, **more})
        assert done.stdout.startswith(f"{model} --config {SCRIPTS}/{yaml} --tensor-parallel-size 1 --max-num-seqs 512 "), done
        assert done.stdout.endswith(" --seed 1\n") and ("--device cpu" in done.stdout) == (model == "serve pocket")
        sweep = script("tune", env={**env, **more})
        assert f"--model {model.split()[1]} " in sweep.stdout and f" -- --config {SCRIPTS}/{yaml}" in sweep.stdout, sweep
    for smi, more, told in (("exit 9", {}, "MODEL=pocket"), ("echo 8.9", {}, "neither Hopper nor Blackwell"),
                            ("echo 9.0", {"DTYPE": "INT4"}, "FP8 or FP4")):
        stand_in(tmp_path, "nvidia-smi", smi)
        done = script("launch_server", env={**env, **more})
        assert done.returncode == 1 and told in done.stderr and len(done.stderr.splitlines()) == 1, done


def test_the_container_scripts_ask_the_engine_for_what_the_recipe_asks(bare, tmp_path):
    env = {**bare, "ENGINE": "docker", "MODEL": ""}
    done = script("run_container", env={**env, "ENGINE": "no-such-engine"})
    assert done.returncode == 1 and "make build" in done.stderr and len(done.stderr.splitlines()) == 1
    stand_in(tmp_path, "docker", 'echo "docker $*"\n')
    built = script("pull_image", env={**env, "PLATFORM": "linux/arm64"}).stdout
    assert built.startswith("docker build --platform linux/arm64 --build-arg CUDA=ON --tag outrider:deploy ")
    assert (ROOT / "deploy" / "docker" / "Dockerfile").is_file() and "deploy/docker/Dockerfile" in built
    assert "CUDA=OFF" in script("pull_image", env={**env, "MODEL": "pocket"}).stdout
    pulled = script("pull_image", env={**env, "IMAGE": "registry/outrider:1", "PLATFORM": "linux/amd64"}).stdout
    assert pulled == "docker pull --platform linux/amd64 registry/outrider:1\ndocker tag registry/outrider:1 outrider:deploy\n"

    cache = str(tmp_path / "hf")
    run = script("run_container", "-v", "/a:/b", env={**env, "HF_TOKEN": "t", "HF_HOME": cache}).stdout
    for words in ("docker run ", "-e HF_TOKEN=t", f"-e HF_HOME={cache} ", f"-v {cache}:{cache} ", "--gpus all", "--ipc=host",
                  "--entrypoint /bin/bash", "--rm", "-v /a:/b outrider:deploy\n"):
        assert words in run, run
    assert "--gpus" not in script("run_container", env={**env, "MODEL": "pocket"}).stdout


def test_without_a_server_or_a_program_one_line_says_what_to_do(bare):
    for name in ("run_basic_test", "run_accuracy", "run_performance"):
        done = script(name, env={**bare, "PORT": str(free_port())})
        assert done.returncode == 1 and "launch_server.sh" in done.stderr and len(done.stderr.splitlines()) == 1, done
    done = script("launch_server", env={**bare, "OUTRIDER": "/no/such/program"})
    assert done.returncode == 1 and "make build" in done.stderr and len(done.stderr.splitlines()) == 1, done


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with own_network() as prefix:
        yield Session(tmp_path_factory.mktemp("recipe"), prefix)


def test_the_recipes_launch_script_finds_the_model_in_the_cache_and_sets_blackwells_switches(session):
    session.be_gpu("10.0")
    with session.launched() as log:
        assert "'model': 'nvidia/Llama-4-Scout-Instruct-FP4'" in log and "'max_num_seqs': 512" in log
        # Each of its switches is told of in one line, and none of them is a warning.
        for switch in ("VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB", "VLLM_USE_FLASHINFER_MOE_FP8",
                       "VLLM_USE_FLASHINFER_MOE_FP4", "--compilation-config"):
            lines = [line for line in log.splitlines() if switch in line and "non-default args" not in line]
            assert len(lines) == 1 and "INFO" in lines[0], (switch, lines)


@pytest.mark.long
def test_the_recipes_client_commands_run_unchanged_against_its_launch_script(session):
    session.be_gpu("9.0")
    session.answer_to_all_names()
    with session.launched():
        response = assert_recipes_response(session.run("run_basic_test"))
        assert response["model"] == NAMES[0]

        small = ("--num-prompts", "6", "--random-input-len", "16", "--random-output-len", "8")
        assert_recipes_table(session.run("run_performance", *small), 6)
        result = session.folder / "vllm_benchmark_serving_results.json"
        assert json.loads(result.read_text())["completed"] == 6
        result.unlink()

        # The whole of it takes a CPU an hour: once requests are on their way, Ctrl-C, and the table of what there was.
        whole = session.start("run_performance")
        for line in whole.stdout:
            if line.startswith("Maximum request concurrency: 512"):
                break
        time.sleep(1)
        os.killpg(whole.pid, signal.SIGINT)
        out, err = whole.communicate(timeout=60)
        assert whole.returncode == 130, out + err
        assert_recipes_table(out)
        assert json.loads(result.read_text())["max_concurrency"] == 512
