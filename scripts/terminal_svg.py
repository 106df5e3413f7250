#!/usr/bin/env python3
"""Draws the text of a terminal session as an SVG: scripts/terminal_svg.py < session.txt > picture.svg

Lines that begin with "$ " (and go on after a backslash) are what was typed and stand out; long lines are wrapped as a
terminal would.
"""

import argparse
import sys
import unicodedata
from xml.sax.saxutils import escape

FONT_SIZE = 13
CHARACTER_WIDTH = 7.8  # of the usual monospaced fonts at this size; textLength holds lines to it in any other
LINE_HEIGHT = 18
MARGIN = 16
TITLE_HEIGHT = 28


def wrap(line: str, columns: int) -> list[str]:
    line = line.expandtabs(8)
    return [line[start:start + columns] for start in range(0, len(line), columns)] or [""]


def printable(text: str) -> str:
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


def draw(text: str, columns: int, title: str) -> str:
    rows = []
    continued = False
    for line in printable(text).rstrip("\n").split("\n"):
        typed = continued or line.startswith("$ ")
        continued = typed and line.endswith("\\")
        rows += [(row, typed) for row in wrap(line, columns)]
    width = round(columns * CHARACTER_WIDTH + 2 * MARGIN)
    height = len(rows) * LINE_HEIGHT + TITLE_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#16181d"/>',
        f'<text x="{width / 2:g}" y="19" fill="#8b93a1" font-family="sans-serif" font-size="12" '
        f'text-anchor="middle">{escape(title)}</text>',
        f'<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="{FONT_SIZE}">',
    ]
    for index, (row, typed) in enumerate(rows):
        if not row.strip():
            continue
        baseline = TITLE_HEIGHT + MARGIN + index * LINE_HEIGHT + FONT_SIZE
        colour = "#9ece6a" if typed else "#d5d9e0"
        lines.append(f'<text x="{MARGIN}" y="{baseline}" fill="{colour}" xml:space="preserve" '
                     f'textLength="{len(row) * CHARACTER_WIDTH:.1f}">{escape(row)}</text>')
    return "\n".join([*lines, "</g>", "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=110)
    parser.add_argument("--title", default="outrider")
    arguments = parser.parse_args()
    sys.stdout.write(draw(sys.stdin.read(), arguments.columns, arguments.title))


if __name__ == "__main__":
    main()
