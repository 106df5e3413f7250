#!/usr/bin/env python3
"""Checks that src/ points only the way the module table allows.

The table is the one in docs/architecture.md whose columns are module, owns, may include. Fails on an #include that it
does not allow, on a cycle, on a folder that it does not name, and on an outrider_module() of CMakeLists.txt whose USES
say something else. A row marked "not built yet" describes a module that must have no folder.
"""

import argparse
import pathlib
import re
import sys

NOT_BUILT = "not built yet"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def read_table(text: str) -> tuple[dict[str, set[str]], set[str]]:
    """Returns module -> modules it may include, and the modules that are not built yet."""
    allowed: dict[str, set[str]] = {}
    planned: set[str] = set()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        match = re.fullmatch(r"`src/([a-z_]+)`", cells[0]) if line.startswith("|") else None
        if not match:
            continue
        if len(cells) != 3:
            raise ValueError(f"a row of the module table has {len(cells)} cells, not 3: {line}")
        module = match.group(1)
        if module in allowed:
            raise ValueError(f"the module table names {module} twice")
        allowed[module] = set(re.findall(r"`([a-z_]+)`", cells[2]))
        if NOT_BUILT in cells[1]:
            planned.add(module)
    if not allowed:
        raise ValueError("there is no module table")
    return allowed, planned


def find_cycle(allowed: dict[str, set[str]]) -> list[str]:
    """Returns the modules along one cycle, first and last the same; [] when there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module):] + [module]
        if module in done:
            return []
        for target in sorted(allowed.get(module, ())):
            cycle = visit(target, path + [module])
            if cycle:
                return cycle
        done.add(module)
        return []

    for module in sorted(allowed):
        cycle = visit(module, [])
        if cycle:
            return cycle
    return []


def read_uses(cmake: str) -> dict[str, set[str]]:
    """Returns module -> USES, from the outrider_module() calls of CMakeLists.txt."""
    uses: dict[str, set[str]] = {}
    for call in re.findall(r"^\s*outrider_module\(([^)]*)\)", cmake, re.MULTILINE):
        words = call.split()
        listed: set[str] = set()
        if "USES" in words:
            for word in words[words.index("USES") + 1:]:
                if word == "LINKS":
                    break
                listed.add(word)
        uses[words[0]] = listed
    return uses


def check_sources(root: pathlib.Path, allowed: dict[str, set[str]], planned: set[str]) -> list[str]:
    problems = []
    source = root / "src"
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        module = folder.name
        if module not in allowed:
            problems.append(f"src/{module}: not in the module table")
            continue
        if module in planned:
            problems.append(f"src/{module}: exists, but the module table says it is {NOT_BUILT}")
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".cc", ".h", ".cu", ".cuh"):
                continue
            for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
                name = path.relative_to(root)
                target = included.split("/")[0]
                if "/" not in included or included.startswith("."):
                    problems.append(f'{name}: #include "{included}" is not written from src/')
                elif (source / target).is_dir() and target != module and target not in allowed[module]:
                    problems.append(f'{name}: #include "{included}", but {module} may not include {target}')
    return problems


def check_tables(allowed: dict[str, set[str]], planned: set[str], uses: dict[str, set[str]]) -> list[str]:
    problems = []
    for module, targets in sorted(allowed.items()):
        for target in sorted(targets - allowed.keys()):
            problems.append(f"module table: {module} may include {target}, which is no module")
        if module in planned:
            continue
        if module not in uses:
            problems.append(f"CMakeLists.txt: no outrider_module({module})")
        elif uses[module] != targets - planned:
            problems.append(f"CMakeLists.txt: {module} USES {' '.join(sorted(uses[module]))}; "
                            f"the module table allows {' '.join(sorted(targets - planned))}")
    problems += [f"CMakeLists.txt: {module} is not in the module table" for module in sorted(uses.keys() - allowed.keys())]
    cycle = find_cycle(allowed)
    if cycle:
        problems.append(f"module table: a cycle, {' -> '.join(cycle)}")
    return problems


def check(root: pathlib.Path) -> list[str]:
    allowed, planned = read_table((root / "docs" / "architecture.md").read_text(encoding="utf-8"))
    uses = read_uses((root / "CMakeLists.txt").read_text(encoding="utf-8"))
    return check_sources(root, allowed, planned) + check_tables(allowed, planned, uses)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    problems = check(parser.parse_args().root)
    print("\n".join(problems) if problems else "includes point the way the module table allows")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
