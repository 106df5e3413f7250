"""plot_steps.py LOG > FILE.svg: step time against batch and against context, beside the floor's curve.

LOG holds what bench_step prints: `step at CONTEXT  N rows  X us  floor Y ...`.
"""
import math
import pathlib
import re
import sys

LINE = re.compile(r"^step at (\d+)\s+(\d+) rows\s+([\d.]+) us\s+floor\s+([\d.]+)")
WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 940, 400, 60, 46, 360, 290
COLOURS = ("#1f6f8b", "#c4552d", "#5b8c3a", "#7a4fa3")


class Panel:
    """Both axes logarithmic."""

    def __init__(self, x, title, label, curves):
        self.x, self.title, self.label, self.curves = x, title, label, curves
        points = [point for _, points in curves for point in points]
        self.low_x, self.high_x = (f(p[0] for p in points) for f in (min, max))
        self.low_y = 0.8 * min(p[2] for p in points)
        self.high_y = 1.25 * max(p[1] for p in points)

    def at(self, x, y):
        along = math.log(x / self.low_x) / math.log(self.high_x / self.low_x)
        up = math.log(y / self.low_y) / math.log(self.high_y / self.low_y)
        return self.x + along * PLOT_WIDTH, TOP + (1 - up) * PLOT_HEIGHT

    def draw(self):
        out = [f'<text x="{self.x}" y="{TOP - 18}" class="title">{self.title}</text>',
               f'<text x="{self.x + PLOT_WIDTH / 2}" y="{TOP + PLOT_HEIGHT + 40}" text-anchor="middle">{self.label}</text>']
        for y in (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100):
            if self.low_y <= y <= self.high_y:
                _, at = self.at(self.low_x, y)
                out.append(f'<line x1="{self.x}" x2="{self.x + PLOT_WIDTH}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
                           f'<text x="{self.x - 6}" y="{at + 4:.1f}" text-anchor="end">{y}</text>')
        for x in sorted({point[0] for _, points in self.curves for point in points}):
            at, _ = self.at(x, self.low_y)
            text = f"{x // 1024}k" if x >= 1024 else str(x)
            out.append(f'<text x="{at:.1f}" y="{TOP + PLOT_HEIGHT + 18}" text-anchor="middle">{text}</text>')
        for i, (name, points) in enumerate(self.curves):
            colour = COLOURS[i % len(COLOURS)]
            for column, style in ((1, ""), (2, ' stroke-dasharray="5 4"')):
                path = " ".join("{:.1f},{:.1f}".format(*self.at(p[0], p[column])) for p in points)
                out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{style}/>')
            out += ['<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>'.format(*self.at(p[0], p[1]), colour)
                    for p in points]
            out.append(f'<text x="{self.x + 12}" y="{TOP + 16 + 18 * i}" fill="{colour}">{name}</text>')
        return out


def main():
    points = {}
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        if match := LINE.match(line):
            context, rows, us, floor = match.groups()
            points[int(rows), int(context)] = float(us) / 1e3, float(floor) / 1e3
    if not points:
        sys.exit("plot_steps.py: the log holds no steps")
    contexts = sorted({context for _, context in points})
    batches = sorted({rows for rows, _ in points})
    by_batch = [(f"context {c}", [(r, *points[r, c]) for r in batches if (r, c) in points]) for c in contexts]
    by_context = [(f"batch {r}", [(c, *points[r, c]) for c in contexts if (r, c) in points]) for r in batches]
    by_batch = [curve for curve in by_batch if len(curve[1]) > 4]
    by_context = [curve for curve in by_context if len(curve[1]) > 2]
    panels = [Panel(LEFT, "step, ms, against batch", "sequences", by_batch),
              Panel(LEFT + PLOT_WIDTH + 100, "step, ms, against context", "positions", by_context)]
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
          'font-family="sans-serif" font-size="12">')
    print('<style>.title{font-size:14px;font-weight:bold}.grid{stroke:#ddd}</style>'
          f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>')
    print("\n".join(line for panel in panels for line in panel.draw()))
    print(f'<text x="{LEFT}" y="{HEIGHT - 6}" fill="#666">solid: measured; dashed: floor (bytes / 4.55 TB/s, '
          'operations / 1500 TFLOP/s)</text>\n</svg>')


if __name__ == "__main__":
    main()
