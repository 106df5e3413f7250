"""Sums what `ncu --csv --page raw --metrics gpu__time_duration.sum` says of a program's kernels.

  ncu --clock-control none --metrics gpu__time_duration.sum --csv --page raw --log-file kernels.csv \\
    -k 'regex:^(?!generate|bind|transpose)' bench_step FOLDER prompt:1024
  python3 benchmarks/gpu/kernels.py kernels.csv

One line a kernel, in the order of first launch: launches, microseconds in all, median, share. ncu runs kernels one by one, at
the clock that a cold chip has: their sum leaves out what programmatic launches overlap, and the host.
"""

import csv
import re
import statistics
import sys


def short(name):
    """The kernel's name and the template arguments that tell instances apart."""
    name = re.sub(r"\(.*", "", name.replace("(anonymous namespace)::", "").replace("<unnamed>::", ""))
    return re.sub(r"(void |outrider::cuda::)", "", name)


def rows(path):
    with open(path, newline="") as file:
        lines = [line for line in file if line.startswith('"')]
    return list(csv.DictReader(lines))


def main():
    scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3}
    table, units = rows(sys.argv[1])[1:], rows(sys.argv[1])[0]
    metric = "gpu__time_duration.sum"
    times = {}
    for row in table:
        kernel = f"{short(row['Kernel Name'])} {row['Grid Size']}"
        times.setdefault(kernel, []).append(float(row[metric].replace(",", "")) * scale[units[metric]])
    total = sum(sum(values) for values in times.values())
    for kernel, values in times.items():
        print(f"{len(values):5d} x {statistics.median(values):9.1f} us {sum(values):11.1f} us "
              f"{100 * sum(values) / total:5.1f} %  {kernel}")
    print(f"{total:.1f} us in all")


main()
