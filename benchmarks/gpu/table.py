"""table.py GPU LOG...: the lines of the kernel benchmarks as a Markdown table, time against floor.

A line is `NAME  N rows  X us  floor Y ...`; what else the logs hold is passed over.
"""
import datetime
import pathlib
import re
import subprocess
import sys

LINE = re.compile(r"^(?P<name>\S.*?)\s+(?P<rows>\d+) rows\s+(?P<us>[\d.]+) us\s+floor\s+(?P<floor>[\d.]+)")
COLUMNS = (1, 64, 256, 8192)


def commit():
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return git.stdout.strip() or "unknown"


def cell(point):
    return f"{point[0]:.1f} / {point[1]:.1f} ({point[0] / point[1]:.2f})" if point else ""


def main():
    points = {}
    for log in sys.argv[2:]:
        for line in pathlib.Path(log).read_text().splitlines():
            if match := LINE.match(line):
                row = points.setdefault(match["name"], {})
                row[int(match["rows"])] = float(match["us"]), max(float(match["floor"]), 0.05)
    if not points:
        sys.exit("table.py: the logs hold no measurements")
    print(f"# Kernels on {sys.argv[1]}, {datetime.date.today()}\n\nCommit {commit()}, `make gpu-bench`: us / floor us "
          "(ratio), medians of graph replays.\n")
    print("| kernel | " + " | ".join(f"{rows} rows" for rows in COLUMNS) + " | others |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, row in points.items():
        others = ", ".join(f"{rows}: {cell(point)}" for rows, point in row.items() if rows not in COLUMNS)
        print(f"| {name} | " + " | ".join(cell(row.get(rows)) for rows in COLUMNS) + f" | {others} |")


if __name__ == "__main__":
    main()
