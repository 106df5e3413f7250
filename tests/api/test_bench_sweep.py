"""`outrider bench sweep`: real servers of Pocket Scout, and what goes wrong with them."""

import csv
import json
import os
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest
from conftest import BINARY, free_port

SERVE = ["--", "--device", "cpu", "--kv-cache-memory-bytes", "64M", "--max-model-len", "1024"]


def command(folder, *flags, serve=SERVE):
    return [str(BINARY), "bench", "sweep", "--output-dir", str(folder), "--random-input-len", "12", "--random-output-len", "8",
            "--ignore-eos", "--disable-tqdm", *map(str, flags), *map(str, serve)]


def sweep(folder, *flags, serve=SERVE):
    return subprocess.run(command(folder, *flags, serve=serve), capture_output=True, text=True, timeout=120)


def rows(folder):
    with open(folder / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def servers(folder):
    """Process ids of the servers that the logs tell of."""
    return [int(pid) for log in folder.glob("server-*.log")
            for pid in re.findall(r"Started server process \[(\d+)\]", log.read_text(errors="replace"))]


def wait_for(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def assert_gone(pids):
    def gone(pid):
        return not os.path.exists(f"/proc/{pid}")
    wait_for(lambda: all(gone(pid) for pid in pids), f"still there: {pids}", 20)


def test_a_grid_is_measured_with_a_server_for_each_setting(tmp_path):
    folder = tmp_path / "new/sweep"
    done = sweep(folder, "--max-num-seqs", 2, 4, "--concurrency", 1, 4, "--num-prompts", 6)
    assert done.returncode == 0, done.stderr
    table = rows(folder)
    assert [(row["max_num_seqs"], row["max_concurrency"]) for row in table] == [("2", "1"), ("2", "4"), ("4", "1"), ("4", "4")]
    assert all(row["completed"] == "6" and row["total_output_tokens"] == "48" and row["error"] == "" for row in table)
    assert len(servers(folder)) == 2  # one a --max-num-seqs, not one a point
    assert_gone(servers(folder))

    result = json.loads((folder / "sweep.json").read_text())
    assert result["model_id"] == "pocket-scout" and result["device"] == "CPU" and result["failed_points"] == 0
    for point, row in zip(result["points"], table, strict=True):
        assert point["output_throughput"] == pytest.approx(point["total_output_tokens"] / point["duration"])
        assert all(float(row[key]) == pytest.approx(value) for key, value in point.items() if key != "error")

    def beaten(a):
        return any(b["output_throughput_per_gpu"] >= a["output_throughput_per_gpu"] and b["median_tpot_ms"] <= a["median_tpot_ms"]
                   and b != a for b in result["points"])
    front = [i for i, point in enumerate(result["points"]) if not beaten(point)]
    assert sorted(result["pareto_front"]) == front == [i for i, row in enumerate(table) if row["on_front"] == "1"]
    best = result["scenarios"]
    assert best["max_throughput"]["output_throughput_per_gpu"] == max(p["output_throughput_per_gpu"] for p in result["points"])
    assert best["min_latency"]["median_tpot_ms"] == min(p["median_tpot_ms"] for p in result["points"])
    for name, scenario in (("Max throughput", "max_throughput"), ("Min latency", "min_latency"), ("Balanced", "balanced")):
        at = best[scenario]
        assert re.search(rf"^{name}: +--tensor-parallel-size 1 --max-num-seqs {at['max_num_seqs']}, {at['max_concurrency']} requests",
                         done.stdout, re.MULTILINE), done.stdout

    svg = xml.etree.ElementTree.parse(folder / "sweep.svg")
    marks = [element for element in svg.iter("{http://www.w3.org/2000/svg}circle") if "data-point" in element.attrib]
    assert sorted(int(mark.get("data-point")) for mark in marks) == list(range(len(table)))


def test_a_sweep_is_resumed_with_the_same_options_only(tmp_path):
    assert sweep(tmp_path, "--max-num-seqs", 2).returncode == 0
    before = rows(tmp_path)
    assert before[0]["max_concurrency"] == "2" and before[0]["num_prompts"] == "10"  # the recipe's five times
    again = sweep(tmp_path, "--max-num-seqs", 2)
    assert again.returncode == 1 and "--resume" in again.stderr
    other = sweep(tmp_path, "--max-num-seqs", 2, "--resume", serve=["--", "--device", "cpu"])
    assert other.returncode == 1 and "other options" in other.stderr
    more = sweep(tmp_path, "--max-num-seqs", 4, 2, "--resume")
    assert more.returncode == 0 and "1 of 2 points are there already" in more.stdout, more.stderr
    after = rows(tmp_path)
    assert [row["max_num_seqs"] for row in after] == ["4", "2"]
    assert {**after[1], "on_front": ""} == {**before[0], "on_front": ""}


def test_servers_that_do_not_come_up_are_counted_and_the_sweep_goes_on(tmp_path):
    # Today one GPU: a server for two refuses at once.
    done = sweep(tmp_path, "--max-num-seqs", 2, "--tensor-parallel-size", 64, 1, "--concurrency", 1, 2, "--num-prompts", 3)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 points failed" in done.stdout
    table = rows(tmp_path)
    assert [bool(row["error"]) for row in table] == [True, True, False, False]
    assert table[0]["error"].startswith("the server ended with exit code ") and "--tensor-parallel-size" in table[0]["error"]
    svg = xml.etree.ElementTree.parse(tmp_path / "sweep.svg")
    assert sum("data-point" in element.attrib for element in svg.iter()) == 2


def test_when_no_point_succeeds_the_exit_code_says_so(tmp_path):
    done = sweep(tmp_path, "--max-num-seqs", 2, serve=["--", "--nonsense"])
    assert done.returncode == 1 and "unrecognized arguments: --nonsense" in rows(tmp_path)[0]["error"]
    assert not (tmp_path / "sweep.svg").exists()
    assert json.loads((tmp_path / "sweep.json").read_text())["scenarios"] is None


def sweep_whose_first_server_gets(number, tmp_path, *options):
    """Two points; the signal comes in the middle of the first one's load. Returns their rows, after checking the second."""
    process = subprocess.Popen(command(tmp_path, "--max-num-seqs", 4, "--concurrency", 2, 3, "--num-prompts", 4,
                                       "--random-output-len", 700, *options),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: servers(tmp_path), "no server")
    time.sleep(0.3)
    os.kill(servers(tmp_path)[0], number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, out + err
    table = rows(tmp_path)
    assert table[1]["error"] == "" and table[1]["completed"] == "4" and "1 of 2 points failed" in out
    return table


def test_a_server_that_dies_is_told_and_the_next_point_gets_a_new_one(tmp_path):
    table = sweep_whose_first_server_gets(signal.SIGKILL, tmp_path)
    assert table[0]["error"].startswith("the server ended by signal 9")


def test_a_server_that_hangs_is_told_and_the_next_point_gets_a_new_one(tmp_path):
    table = sweep_whose_first_server_gets(signal.SIGSTOP, tmp_path, "--stall-timeout-sec", 3)
    assert table[0]["error"] == "no byte came from the server for 3 seconds"
    assert_gone(servers(tmp_path))


def test_ctrl_c_keeps_the_points_that_finished(tmp_path):
    process = subprocess.Popen(command(tmp_path, "--max-num-seqs", 2, "--concurrency", 1, 2, "--num-prompts", 30,
                                       "--random-output-len", 100), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "sweep.json").exists(), "no point finished")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert len(rows(tmp_path)) == 1 and "Balanced: " in out
    assert xml.etree.ElementTree.parse(tmp_path / "sweep.svg")
    assert_gone(servers(tmp_path))


def test_a_killed_sweep_leaves_no_server_behind(tmp_path):
    process = subprocess.Popen(command(tmp_path, "--max-num-seqs", 2, "--num-prompts", 4000, "--random-output-len", 500),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: servers(tmp_path), "no server")
    process.kill()
    process.wait()
    assert_gone(servers(tmp_path))


def test_what_is_typed_wrong_is_told_before_a_server_starts(tmp_path, server):
    for flags, code, text in (([], 2, "--max-num-seqs"), (["--max-num-seqs", 0], 2, "--max-num-seqs"),
                              (["--max-num-seqs", 2, "--max-concurrency", 2], 2, "--max-concurrency"),
                              (["--max-num-seqs", 2, "--dataset-name", "sonnet"], 2, "--dataset-path"),
                              (["--max-num-seqs", 2, "--port", server.port], 1, "--port"), (["stray"], 2, "stray"),
                              (["--max-num-seqs", 2, "--output-dir", "/proc/x"], 1, "--output-dir")):
        done = sweep(tmp_path, *flags)
        assert done.returncode == code and text in done.stderr, (flags, done.stderr)
        assert len(done.stderr.splitlines()) == 1, done.stderr
    (tmp_path / "sweep.json").write_text("{")
    done = sweep(tmp_path, "--max-num-seqs", 2, "--resume", "--port", free_port())
    assert done.returncode == 1 and "is no result of a sweep" in done.stderr
    assert not list(tmp_path.glob("*.log"))
