#!/usr/bin/env python3
"""Prints how many tests of a JUnit file passed and failed; skipped ones are neither."""

import sys
import xml.etree.ElementTree as ElementTree


def outcome(case: ElementTree.Element) -> str:
    tags = {child.tag for child in case}
    if tags & {"failure", "error"} or case.get("status") == "fail":
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    # CTest says <skipped> also of a test whose program is not there; only what the test asked for itself is a skip.
    asked = case.get("status") != "notrun" or skipped.get("message", "").startswith("SKIP_")
    return "skipped" if asked else "failed"


def main() -> None:
    outcomes = [outcome(case) for case in ElementTree.parse(sys.argv[1]).iter("testcase")]
    print(outcomes.count("passed"), outcomes.count("failed"))


if __name__ == "__main__":
    main()
