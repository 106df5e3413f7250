"""lm_eval, the accuracy check of the recipe, against the served Pocket Scout.

The first test runs our recipe's script, the second the original recipe's command. The others drive the same client classes
directly: log-likelihood requests (echo, logprobs, token ids), which multiple-choice tasks are made of, and chat.
"""

import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from api.recipe_session import Session, own_network

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVAL = ROOT / "models" / "pocket-scout" / "eval"
CHECKPOINT = ROOT / "models" / "pocket-scout" / "fp8"
# One log-probability is a float32 printed in decimal; sums of a few dozen differ by their rounding only.
TOLERANCE = 1e-3

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


def table(text: str) -> list[list[str]]:
    """The rows of lm_eval's table: task, version, filter, n-shot, metric, direction, value, sign, error."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr"]
    return rows[2:]


def test_the_recipes_accuracy_script_meets_the_models_floor(server, model, tmp_path):
    done = subprocess.run(
        [str(ROOT / "recipes" / "llama4-scout" / "run_accuracy.sh"), "--output_path", str(tmp_path)],
        env={**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}", "MODEL": "pocket",
             "PORT": str(server.port)}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stdout)
    assert f"model={model},tokenized_requests=False,tokenizer_backend=None,num_concurrent=128" in done.stdout
    flexible, strict = table(done.stdout)
    assert flexible[:6] == ["pocket_gsm", "1", "flexible-extract", "5", "exact_match", "↑"] and strict[2] == "strict-match"
    floors = json.loads((EVAL / "floors.json").read_text())
    (report,) = tmp_path.rglob("results_*.json")
    (result,) = json.loads(report.read_text())["results"].values()
    assert result["exact_match,strict-match"] >= floors["strict-match"]
    assert result["exact_match,flexible-extract"] >= floors["flexible-extract"]


def test_the_recipes_own_accuracy_command_runs_unchanged(tmp_path):
    """It says `--tasks gsm8k`. A folder of that name takes the place of the hub's data set: in it lm_eval's own task file, with
    its prompts, filters and few-shot examples, and Pocket Scout's problems."""
    import lm_eval.tasks

    data = tmp_path / "gsm8k"
    data.mkdir()
    shutil.copy(pathlib.Path(lm_eval.tasks.__file__).with_name("gsm8k") / "gsm8k.yaml", data)
    (data / "README.md").write_text("""---
configs:
- config_name: main
  data_files:
  - {split: train, path: train.jsonl}
  - {split: test, path: test.jsonl}
---
""")
    (data / "train.jsonl").write_text((EVAL / "pocket_gsm_fewshot.jsonl").read_text())
    with open(EVAL / "pocket_gsm_test.jsonl") as problems:
        (data / "test.jsonl").write_text("".join(itertools.islice(problems, 24)))
    with own_network() as prefix:
        session = Session(tmp_path, prefix)
        session.env["HF_DATASETS_CACHE"] = str(tmp_path / "datasets")
        session.answer_to_all_names()
        with session.launched():
            out = session.run("run_accuracy")
    flexible, strict = table(out)
    assert flexible[:6] == ["gsm8k", "3", "flexible-extract", "5", "exact_match", "↑"] and strict[2] == "strict-match"
    assert float(strict[6]) >= 0.9


def test_the_chat_client_gets_an_answer_to_each_problem(server, model, monkeypatch):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(ROOT)
    done = simple_evaluate(
        model="local-chat-completions", tasks=["pocket_gsm"], task_manager=TaskManager(include_path=str(EVAL)),
        apply_chat_template=True, num_fewshot=0, limit=8, batch_size=1, model_args={
            "base_url": f"{server.url}/v1/chat/completions", "model": model, "num_concurrent": 8, "max_retries": 1})
    assert 0.0 <= done["results"]["pocket_gsm"]["exact_match,flexible-extract"] <= 1.0


@pytest.fixture(scope="module")
def client(server, model):
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(
        base_url=f"{server.url}/v1/completions", model=model, tokenizer=str(CHECKPOINT), max_retries=1,
        num_concurrent=4)


def loglikelihoods(client, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    from lm_eval.api.instance import Instance

    return client.loglikelihood(
        [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)], disable_tqdm=True)


PROMPT = "San Francisco is a"


def test_the_likelihood_of_what_was_generated_is_the_sum_of_its_logprobs(server, model, client):
    context = client.tok_encode(PROMPT)
    generated = server.post("/v1/completions", {
        "model": model, "prompt": context, "max_tokens": 12, "temperature": 0, "logprobs": 1,
        "return_token_ids": True})["choices"][0]
    ids, logprobs = generated["token_ids"], generated["logprobs"]["token_logprobs"]
    assert len(ids) == len(logprobs) > 0
    # By ids, because the text of a continuation need not split into the tokens that were generated.
    ((likelihood, is_greedy),) = client._loglikelihood_tokens([(("", ""), context, ids)], disable_tqdm=True)
    assert is_greedy
    assert likelihood == pytest.approx(sum(logprobs), abs=TOLERANCE)


def test_the_likelihood_of_an_unlikely_choice_is_that_of_its_tokens_one_by_one(server, model, client):
    choice = " small purple number of seven"
    context, whole = client.tok_encode(PROMPT), client.tok_encode(PROMPT + choice)
    assert whole[:len(context)] == context
    expected = 0.0
    for end in range(len(context), len(whole)):
        # As the last token of a prompt: to generate it would take a bias, and that changes what is measured.
        reply = server.post("/v1/completions", {
            "model": model, "prompt": whole[:end + 1], "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0})
        expected += reply["choices"][0]["prompt_logprobs"][end][str(whole[end])]["logprob"]
    ((likelihood, is_greedy),) = loglikelihoods(client, [(PROMPT, choice)])
    assert not is_greedy
    assert likelihood == pytest.approx(expected, abs=TOLERANCE)


def test_a_sensible_choice_is_likelier_than_a_senseless_one(client):
    choices = [" city in California", " seven tool because #### 42"]
    sensible, senseless = loglikelihoods(client, [(PROMPT, choice) for choice in choices])
    assert sensible[0] > senseless[0]


def test_likelihoods_do_not_depend_on_what_runs_beside_them(client):
    pairs = [(PROMPT, f" city number {index}") for index in range(24)]
    alone = [loglikelihoods(client, [pair])[0] for pair in pairs[:4]]
    assert loglikelihoods(client, pairs)[:4] == alone
