"""Where the last steps of bench_step went, from what kernel_records.cc wrote.

  python3 benchmarks/gpu/step_kernels.py records.txt

A line for each kernel by its place in a layer (a layer begins with add_norm): how often in a step; microseconds from the
end of the kernel before to its own end, and from its own begin; their sum in a step. The first line's time less its own is
the gap between steps.
"""

import collections
import re
import subprocess
import sys

STEPS = 3


def read(path):
    with open(path) as file:
        lines = [line.rstrip("\n").split(" ", 3) for line in file]
    return [(int(begin), int(end), int(blocks), name) for begin, end, blocks, name in lines]


def short_names(mangled):
    plain = subprocess.run(["c++filt"], input="\n".join(mangled), text=True, capture_output=True, check=True).stdout
    names = (re.sub(r"\(anonymous namespace\)::|outrider::cuda::|void |narrow::|\(int\)", "", name)
             for name in plain.split("\n"))
    return dict(zip(mangled, (re.sub(r"\(.*", "", name) for name in names)))


def main():
    records = read(sys.argv[1])
    starts = [i for i, record in enumerate(records) if "embed_kernel" in record[3]]
    if len(starts) <= STEPS:
        sys.exit(f"{sys.argv[1]}: {len(starts)} steps, {STEPS + 1} are needed")
    first, last = starts[-STEPS - 1], starts[-1]
    names = short_names(sorted({record[3] for record in records}))
    times = collections.OrderedDict()
    place = 0
    for before, (begin, end, blocks, name) in zip(records[first - 1:last - 1], records[first:last]):
        place = 0 if re.match("embed|add_norm_kernel", names[name]) else place + 1
        entry = times.setdefault((place, names[name], blocks), [0, 0.0, 0.0])
        entry[0] += 1
        entry[1] += (end - before[1]) / 1e3
        entry[2] += (end - begin) / 1e3
    for (place, name, blocks), (count, taken, alone) in times.items():
        print(f"{place:2d} {count / STEPS:6.1f} x {taken / count:9.2f} us (begun {alone / count:9.2f} us before) "
              f"{taken / STEPS:10.1f} us a step  {name}, {blocks} blocks")
    print(f"a step: {sum(entry[1] for entry in times.values()) / STEPS:.1f} us")


main()
