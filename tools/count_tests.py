#!/usr/bin/env python3
"""Sum up what a test run executed: count_tests.py [--label NAME] LOG...

Meson counts programs and hides what each of them printed, but one Criterion
program holds many tests. The sum is taken from Criterion's closing lines in
Meson's testlog.json; any other program counts as one test.
"""
import argparse
import json
import re
import sys

SYNTHESIS = re.compile(
    r"Synthesis: Tested: (\d+) \| Passing: (\d+)"
    r" \| Failing: (\d+) \| Crashing: (\d+)")
GOOD = ("OK", "EXPECTEDFAIL")


def count_program(record):
    """(passed, failed, skipped) of one line of testlog.json."""
    result = record["result"]
    if result == "SKIP":
        return 0, 0, 1
    output = record.get("stdout", "") + record.get("stderr", "")
    passed = failed = 0
    for line in SYNTHESIS.findall(output):
        passed += int(line[1])
        failed += int(line[2]) + int(line[3])
    if result in GOOD and passed + failed == 0 and "Synthesis:" not in output:
        return 1, 0, 0
    if result not in GOOD and failed == 0:
        failed = 1  # a time-out, a crash outside any test, a sanitizer's exit
    return passed, failed, 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--label", help="print NAME: before the sum")
    parser.add_argument("logs", nargs="+", metavar="LOG")
    args = parser.parse_args()
    total = [0, 0, 0]
    for path in args.logs:
        with open(path, encoding="utf-8") as log:
            for line in log:
                for i, n in enumerate(count_program(json.loads(line))):
                    total[i] += n
    passed, failed, skipped = total
    label = f"{args.label}: " if args.label else ""
    print(f"{label}{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed > 0 or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
