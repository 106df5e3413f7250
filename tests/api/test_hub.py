"""Models by their name on the Hugging Face hub: `outrider download` and `outrider serve OWNER/NAME` against a server with the
hub's routes, and huggingface_hub against the same server and the same cache."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import BINARY, ROOT, serve
from fake_hub import FakeHub, Repo

POCKET = ROOT / "models" / "pocket-scout" / "fp8"
# 3 pieces of 16 MiB; nothing in it repeats, so that bytes in the wrong place are found.
LARGE = random.Random(1).randbytes((40 << 20) + 12345)
SMALL = {"config.json": b'{"a": 1}', "tokenizer.json": b'{"b": 2}', "README.md": b"# x", "modeling.py": b"import os",
         "pytorch_model.bin": b"pickle", "original/params.json": b"{}", "original/consolidated.00.pth": b"pickle"}
WANTED = {"config.json", "tokenizer.json", "model.safetensors"}


@pytest.fixture(scope="module")
def running():
    hub = FakeHub()
    hub.repos["acme/large"] = Repo({**SMALL, "model.safetensors": LARGE})
    hub.repos["acme/small"] = Repo({**SMALL, "model.safetensors": LARGE[:3 << 20]})
    hub.repos["acme/gated"] = Repo({**SMALL, "model.safetensors": b"x"}, gated=True, token="hf_good")
    hub.repos["acme/private"] = Repo({**SMALL, "model.safetensors": b"x"}, token="hf_good")
    hub.repos["acme/pocket"] = Repo({path.name: path.read_bytes() for path in POCKET.iterdir()})
    hub.renamed["acme/old-name"] = "acme/small"
    yield hub
    hub.close()


@pytest.fixture
def hub(running):
    running.reset()
    return running


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def environment(hub, home, **extra):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    return {**kept, "HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DOWNLOAD_TIMEOUT": "2", **extra}


def download(hub, home, model="acme/small", *flags, extra=None, status=0):
    done = subprocess.run([BINARY, "download", model, *flags], env=environment(hub, home, **(extra or {})), text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == status, done.stderr
    if status:
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert lines[-1].startswith("outrider: error: ") and sum("error:" in line for line in lines) == 1
    return done


def folder(home, model="acme/small"):
    return home / "hub" / ("models--" + model.replace("/", "--"))


def check_snapshot(hub, home, model="acme/small"):
    """What huggingface_hub's documentation says of the cache, and the bytes."""
    repo, here = hub.repos[model], folder(home, model)
    snapshot = here / "snapshots" / repo.commit
    assert (here / "refs" / "main").read_text() == repo.commit
    assert {path.name for path in snapshot.iterdir()} == WANTED
    for path in snapshot.iterdir():
        file = repo.files[path.name]
        assert path.is_symlink() and os.readlink(path) == f"../../blobs/{file.etag}"
        assert path.read_bytes() == file.content
    assert not list(here.glob("blobs/*.incomplete"))
    return snapshot


def python_hub(hub, home, code, **extra):
    """Runs huggingface_hub, another process, and returns what it prints."""
    done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], text=True, capture_output=True,
                          env=environment(hub, home, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1",
                                          HF_HUB_DISABLE_PROGRESS_BARS="1", **extra), timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_serving_needs_is_fetched_in_parallel_ranges_and_nothing_else(hub, home):
    done = download(hub, home, "acme/large")
    snapshot = check_snapshot(hub, home, "acme/large")
    assert done.stdout.strip() == str(snapshot)
    ranges = {asked.headers["Range"] for asked in hub.bodies() if asked.host == "cdn"}
    assert ranges == {f"bytes={begin}-{min(begin + (16 << 20), len(LARGE)) - 1}" for begin in (0, 16 << 20, 32 << 20)}
    assert not [asked for asked in hub.asked if "params" in asked.path or ".bin" in asked.path or ".py" in asked.path]


def test_huggingface_hub_finds_offline_what_outrider_fetched(hub, home):
    snapshot = download(hub, home).stdout.strip()
    asked = len(hub.asked)
    code = "print(snapshot_download('acme/small', local_files_only=True), hf_hub_download('acme/small', 'model.safetensors'))"
    assert python_hub(hub, home, code, HF_HUB_OFFLINE="1") == f"{snapshot} {snapshot}/model.safetensors"
    assert len(hub.asked) == asked


def test_huggingface_hub_takes_over_outriders_contents_and_fetches_the_rest_only(hub, home):
    download(hub, home)
    sent = len(hub.bodies())
    path = python_hub(hub, home, "print(snapshot_download('acme/small'))")
    assert path == str(folder(home) / "snapshots" / hub.repos["acme/small"].commit)
    names = {asked.path.split("/", 5)[-1] for asked in hub.bodies()[sent:]}
    assert names and not names & WANTED


def test_outrider_finds_what_huggingface_hub_fetched(hub, home):
    path = python_hub(hub, home, "print(snapshot_download('acme/small'))")
    hub.reset()
    assert download(hub, home).stdout.strip() == path
    assert [asked.path.split("?")[0] for asked in hub.asked] == ["/api/models/acme/small/revision/main"]
    assert download(hub, home, extra={"HF_HUB_OFFLINE": "1"}).stdout.strip() == path
    assert len(hub.asked) == 1


def test_the_cache_is_found_by_each_of_its_names(hub, home, tmp_path):
    cache = tmp_path / "cache"
    found = python_hub(hub, home, "print(snapshot_download('acme/small'))", HF_HUB_CACHE=str(cache))
    offline = {"HF_HUB_OFFLINE": "1"}
    assert download(hub, home, extra={**offline, "HF_HUB_CACHE": str(cache)}).stdout.strip() == found
    assert download(hub, home, "acme/small", "--download-dir", str(cache), extra=offline).stdout.strip() == found
    assert "is not in the Hugging Face cache" in download(hub, home, extra=offline, status=1).stderr


def test_a_killed_download_goes_on_where_it_was(hub, home):
    hub.faults.bytes_a_second = 15e6  # a connection
    process = subprocess.Popen([BINARY, "download", "acme/large"], env=environment(hub, home), stderr=subprocess.DEVNULL)
    while hub.sent < 15 << 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder(home, "acme/large") / "refs" / "main").exists()
    hub.reset()
    done = download(hub, home, "acme/large")
    check_snapshot(hub, home, "acme/large")
    assert "MB of 42.0 MB are there already" in done.stderr
    assert 0 < hub.sent < len(LARGE) - (9 << 20)


def test_the_beginning_that_an_older_huggingface_hub_left_is_used(hub, home):
    file = hub.repos["acme/large"].files["model.safetensors"]
    blobs = folder(home, "acme/large") / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{file.etag}.incomplete").write_bytes(LARGE[:20 << 20])
    download(hub, home, "acme/large")
    check_snapshot(hub, home, "acme/large")
    assert hub.sent < len(LARGE) - (19 << 20)


@pytest.mark.parametrize("fault", ["cut", "stall", "expired", "500", "busy", "wrong bytes", "bare listing"])
def test_a_fault_on_the_way_is_survived(hub, home, fault):
    faults = hub.faults
    if fault == "cut":
        faults.cut_after = [0, 100, 5 << 20]
    elif fault == "stall":
        faults.stall_after = [3 << 20]
    elif fault == "expired":
        faults.expired = 2
    elif fault == "500":
        faults.statuses = [("/api/", 500, {}, 1), ("/storage/", 502, {}, 2)]
    elif fault == "busy":
        faults.statuses = [("/api/", 429, {"Retry-After": "1"}, 1), ("/resolve/", 429, {"RateLimit": '"resolvers";r=0;t=1'}, 1)]
    elif fault == "wrong bytes":
        faults.wrong_bytes = 1
    elif fault == "bare listing":
        faults.bare_listing = True
    start = time.monotonic()
    # Time enough for the machine to be busy, unless the test is about time.
    done = download(hub, home, "acme/large", extra={"HF_HUB_DOWNLOAD_TIMEOUT": "1"} if fault == "stall" else {})
    check_snapshot(hub, home, "acme/large")
    if fault == "busy":
        assert time.monotonic() - start > 1 and "waiting 1 s as it asks" in done.stderr
    if fault == "wrong bytes":
        assert "has other bytes than the hub names" in done.stderr


def test_bytes_that_stay_wrong_are_refused_and_not_kept(hub, home):
    hub.faults.wrong_bytes = 1000
    assert "twice; something on the way alters it" in download(hub, home, status=1).stderr
    blobs = folder(home) / "blobs"
    assert not [path for path in blobs.iterdir() if path.stat().st_size > 0 and path.suffix != ".incomplete"]
    hub.reset()
    download(hub, home)
    check_snapshot(hub, home)


def test_a_server_without_ranges_serves_files_of_one_piece_only(hub, home):
    hub.faults.ignore_range = True
    hub.faults.cut_after = [1 << 20]
    download(hub, home)
    check_snapshot(hub, home)
    assert "ignores Range headers" in download(hub, home, "acme/large", status=1).stderr


def test_a_server_that_stays_silent_ends_the_download(hub, home):
    hub.faults.statuses = [("/storage/", 503, {}, 1000)]
    line = download(hub, home, extra={"HF_HUB_DOWNLOAD_TIMEOUT": "0.5"}, status=1).stderr
    assert "model.safetensors failed 5 times: localhost:" in line and "the same command goes on" in line
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HUB_DOWNLOAD_TIMEOUT": "0.5"}
    assert "connecting to 127.0.0.1:1: Connection refused" in download(hub, home, extra=nobody, status=1).stderr


def test_a_redirect_never_carries_the_token_to_another_host(hub, home):
    download(hub, home, "acme/private", extra={"HF_TOKEN": "hf_good"})
    download(hub, home, "acme/large", "--hf-token", "hf_good")
    for asked in hub.asked:
        assert ("hf_good" in str(asked.headers)) == (asked.host == "hub"), asked


def test_the_token_comes_from_the_file_of_hf_home_too(hub, home):
    home.mkdir()
    (home / "token").write_text("hf_good\n")
    download(hub, home, "acme/gated")
    (home / "token").write_text("hf_good\r\nX-Injected: 1\n")
    line = download(hub, home, "acme/gated", status=2).stderr
    assert "holds no access token" in line and "Injected" not in line


REFUSALS = {
    "gated, no token": ("acme/gated", {}, "is gated: accept its licence at http://127.0.0.1:{port}/acme/gated, then set HF_TOKEN"),
    "gated, another's token": ("acme/gated", {"HF_TOKEN": "hf_other"}, "is gated: accept its licence at"),
    "bad token": ("acme/small", {"HF_TOKEN": "hf_bad"}, "does not accept the access token; check HF_TOKEN"),
    "unknown": ("acme/none", {}, "is not at 127.0.0.1:{port}, or is private: check its name"),
    "unknown, with token": ("acme/none", {"HF_TOKEN": "hf_good"}, "check its name and what the access token may read"),
    "offline": ("acme/small", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set; unset it"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_line_with_the_remedy(hub, home, case):
    hub.tokens = {"hf_good", "hf_other"}
    model, extra, words = REFUSALS[case]
    port = hub.url.rsplit(":", 1)[1]
    done = download(hub, home, model, extra=extra, status=1)
    assert words.format(port=port) in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith("INFO")]) == 1


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, home):
    commit = hub.repos["acme/small"].commit
    hub.repos["acme/small"].revisions["refs/pr/1"] = commit
    assert "has no revision v9" in download(hub, home, "acme/small", "--revision", "v9", status=1).stderr
    assert "expected a branch" in download(hub, home, "acme/small", "--revision", "../x", status=2).stderr
    for revision in (commit, "refs/pr/1"):
        assert download(hub, home, "acme/small", "--revision", revision).stdout.strip().endswith(commit)
    assert [path.name for path in (folder(home) / "refs").rglob("*") if path.is_file()] == ["1"]
    code = "print(snapshot_download('acme/small', revision='refs/pr/1', local_files_only=True))"
    assert python_hub(hub, home, code).endswith(commit)


def test_a_renamed_model_is_found(hub, home):
    assert download(hub, home, "acme/old-name").stdout.strip().endswith(hub.repos["acme/small"].commit)


@pytest.mark.parametrize("listing", ["", "[]", "{}", '{"sha": "../../../etc", "siblings": []}', "[" * 100000,
                                     '{"sha": "%s", "siblings": 7}' % ("a" * 40)])
def test_a_listing_that_is_none_is_refused(hub, home, listing):
    hub.faults.listing = listing
    assert "is no list of a model's files" in download(hub, home, status=1).stderr


def test_paths_of_a_listing_cannot_leave_the_snapshot(hub, home):
    file = {"size": 8, "blobId": "a" * 40}
    names = ["../evil.json", "/tmp/evil.json", "..", "a/../../evil.json", ".evil.json", "a\\b\n.json\x00"]
    hub.faults.listing = json.dumps({"sha": "b" * 40, "siblings": [{"rfilename": name, **file} for name in names]})
    assert "has no config.json" in download(hub, home, status=1).stderr
    assert not hub.bodies() and not [path for path in home.rglob("*evil*")]


def test_what_does_not_fit_is_refused_before_anything_is_fetched(hub, home):
    entry = {"rfilename": "model.safetensors", "size": 10 << 40, "lfs": {"sha256": "c" * 64, "size": 10 << 40}}
    hub.faults.listing = json.dumps({"sha": "b" * 40, "siblings": [entry]})
    line = download(hub, home, status=1).stderr
    assert "acme/small needs 10995.1 GB more and " in line and "--download-dir" in line
    assert not hub.bodies()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="makes file systems")
def test_a_disk_that_becomes_full_and_one_that_is_read_only_are_named(hub, home):
    home.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=44m", "none", home], capture_output=True)
    if made.returncode != 0:
        pytest.skip("may not make file systems")
    try:
        hub.faults.bytes_a_second = 15e6
        process = subprocess.Popen([BINARY, "download", "acme/large"], env=environment(hub, home), text=True,
                                   stderr=subprocess.PIPE)
        while hub.sent < 1 << 20:
            time.sleep(0.01)
        (home / "other").write_bytes(bytes(20 << 20))
        lines = process.communicate(timeout=30)[1].splitlines()
        assert process.returncode == 1 and "No space left on device; make room" in lines[-1]
        (home / "other").unlink()
        hub.reset()
        assert "0 B of" not in download(hub, home, "acme/large").stderr
        snapshot = check_snapshot(hub, home, "acme/large")
        subprocess.run(["mount", "-o", "remount,ro", home], check=True)
        assert download(hub, home, "acme/large").stdout.strip() == str(snapshot)
        line = download(hub, home, "acme/small", status=1).stderr
        assert "Read-only file system; the cache cannot be written: name another folder" in line
    finally:
        subprocess.run(["umount", home], check=True)


def test_half_a_snapshot_is_completed(hub, home):
    python_hub(hub, home, "hf_hub_download('acme/small', 'config.json')")
    offline = download(hub, home, extra={"HF_HUB_OFFLINE": "1"}, status=1)
    assert "is in the cache in part only" in offline.stderr and "lacks tokenizer.json" in offline.stderr
    download(hub, home)
    check_snapshot(hub, home)
    blob = folder(home) / "blobs" / hub.repos["acme/small"].files["model.safetensors"].etag
    blob.write_bytes(b"cut short by a crash")
    assert "it is fetched anew" in download(hub, home).stderr
    check_snapshot(hub, home)


def test_two_downloads_of_one_model_fetch_it_once(hub, home):
    hub.faults.bytes_a_second = 40e6
    both = [subprocess.Popen([BINARY, "download", "acme/large"], env=environment(hub, home), stderr=subprocess.PIPE, text=True)
            for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert any("Waiting for another process" in text for text in errors)
    assert hub.sent < len(LARGE) + 100000
    check_snapshot(hub, home, "acme/large")


def test_a_proxy_is_asked_and_left_out_where_no_proxy_says(hub, home):
    proxied = {"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": hub.url.replace("http://", "http://me:pass@"), "NO_PROXY": ".example,localhost"}
    download(hub, home, extra=proxied)
    check_snapshot(hub, home)
    assert hub.asked[0].path.startswith("http://hub.invalid/api/models/")
    assert hub.asked[0].headers["Proxy-Authorization"] == "Basic bWU6cGFzcw=="
    assert all(asked.path.startswith("/") == (asked.host == "cdn") for asked in hub.asked)
    assert "expected http://HOST:PORT" in download(hub, home, extra={"HTTP_PROXY": "socks5://x:1"}, status=2).stderr


def test_pocket_scout_is_served_by_its_name_on_the_hub(hub, home, tmp_path, monkeypatch):
    for name, value in environment(hub, home).items():
        monkeypatch.setenv(name, value)
    body = {"model": "acme/pocket", "prompt": "San Francisco is a", "max_tokens": 5, "temperature": 0}
    texts = []
    for offline in ("0", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        with serve(tmp_path / "log", "acme/pocket", "--hf-token", "hf_good") as server:
            texts.append(server.post("/v1/completions", body)["choices"][0]["text"])
            log = server.log.read_text()
        assert ("Downloading acme/pocket" in log) == (offline == "0") and "hf_good" not in log
    with serve(tmp_path / "log", str(POCKET), "--served-model-name", "acme/pocket") as server:
        assert texts == [server.post("/v1/completions", body)["choices"][0]["text"]] * 2
