#!/usr/bin/env python3
"""Compiles every tracked Python file; writes nothing."""

import subprocess
import sys


def main() -> int:
    names = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True).stdout.split()
    broken = 0
    for name in names:
        try:
            with open(name, "rb") as source:
                compile(source.read(), name, "exec")
        except SyntaxError as error:
            print(f"{name}:{error.lineno}: {error.msg}")
            broken += 1
    print(f"{len(names)} files, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
