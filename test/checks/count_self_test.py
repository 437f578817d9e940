#!/usr/bin/env python3
"""tools/count_tests.py on logs whose sums are known."""
import json
import os
import subprocess
import sys
import tempfile

import csource

TOOL = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../../tools/count_tests.py")


def program(result, counts=None):
    line = ""
    if counts:
        line = ("[====] Synthesis: Tested: %d | Passing: %d"
                " | Failing: %d | Crashing: %d\n" % counts)
    return {"name": "x", "result": result, "stdout": "out\n", "stderr": line}


CASES = [
    ("criterion", [program("OK", (3, 3, 0, 0))],
     "3 passed, 0 failed, 0 skipped", 0),
    ("plain", [program("OK")], "1 passed, 0 failed, 0 skipped", 0),
    ("failing and crashing", [program("FAIL", (4, 1, 2, 1))],
     "1 passed, 3 failed, 0 skipped", 1),
    ("all pass, then a bad exit", [program("FAIL", (3, 3, 0, 0))],
     "3 passed, 1 failed, 0 skipped", 1),
    ("time-out", [program("TIMEOUT"), program("OK")],
     "1 passed, 1 failed, 0 skipped", 1),
    ("skipped", [program("SKIP"), program("OK")],
     "1 passed, 0 failed, 1 skipped", 0),
    ("only skipped", [program("SKIP")], "0 passed, 0 failed, 1 skipped", 1),
    ("a program without tests", [program("OK", (0, 0, 0, 0))],
     "0 passed, 0 failed, 0 skipped", 1),
    ("nothing", [], "0 passed, 0 failed, 0 skipped", 1),
]


def main():
    wrong = []
    for what, records, line, status in CASES:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
            log.writelines(json.dumps(record) + "\n" for record in records)
            log.flush()
            run = subprocess.run([sys.executable, TOOL, log.name],
                capture_output=True, text=True, check=False)
        if (run.stdout.strip(), run.returncode) != (line, status):
            wrong.append(f"{what}: {run.stdout!r}, exit {run.returncode}")
    csource.report(f"count self-test, {len(CASES)} cases", wrong)


if __name__ == "__main__":
    main()
