#!/usr/bin/env python3
"""Runs every libFuzzer program of a build folder for a while, as many at a time as there are cores.

Starts from fuzz/corpus/NAME; what it finds goes to BUILD/corpus/NAME and, when it breaks something, to
BUILD/artifacts. Replay a finding: BUILD/fuzz_NAME BUILD/artifacts/FILE.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time
from xml.sax.saxutils import quoteattr

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS_AN_INPUT = 10  # slower than this is a denial of service
MEGABYTES = 2048


def run(program: pathlib.Path, build: pathlib.Path, seconds: int) -> tuple[str, float, int, str]:
    name = program.name.removeprefix("fuzz_")
    found = build / "corpus" / name
    artifacts = build / "artifacts"
    found.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(exist_ok=True)
    corpora = [str(found)]
    seeds = ROOT / "fuzz" / "corpus" / name
    if seeds.is_dir():
        corpora.append(str(seeds))
    start = time.monotonic()
    done = subprocess.run(
        [str(program), *corpora, f"-max_total_time={seconds}", f"-timeout={SECONDS_AN_INPUT}",
         f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={artifacts}/{program.name}-", "-print_final_stats=1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return program.name, time.monotonic() - start, done.returncode, done.stdout


def junit(results: list[tuple[str, float, int, str]]) -> str:
    lines = ['<testsuite name="fuzz">']
    for name, seconds, status, _ in results:
        failure = "" if status == 0 else f"<failure message={quoteattr(f'exit status {status}')}/>"
        lines.append(f'<testcase name={quoteattr(name)} time="{seconds:.1f}">{failure}</testcase>')
    return "\n".join([*lines, "</testsuite>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--junit", type=pathlib.Path)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    programs = sorted(path for path in build.glob("fuzz_*") if path.is_file() and os.access(path, os.X_OK))
    if not programs:
        print(f"no fuzz_* programs in {build}")
        return 1
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda program: run(program, build, arguments.seconds), programs))
    for name, seconds, status, output in results:
        runs = next((line.split()[-1] for line in output.splitlines() if "number_of_executed_units" in line), "?")
        print(f"{name}: {runs} inputs in {seconds:.0f} s, exit status {status}")
        if status != 0:
            print("\n".join(output.splitlines()[-60:]))
    if arguments.junit:
        arguments.junit.write_text(junit(results))
    return 1 if any(status != 0 for _, _, status, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
