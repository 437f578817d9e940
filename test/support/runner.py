"""How the tests in Python are run, and the simulator that many of them ask."""
import contextlib
import os
import subprocess
import sys
import time
import traceback


def run(tests, wanted, call):
    """Runs those of `tests`, by name, that begin with test_, or only the ones
    `wanted`, by call(name, test); gives the exit code of the program.

    A test that fails is told, and the others still run.
    """
    tests = {n: f for n, f in tests.items() if n.startswith("test_")}
    for name in wanted:
        if name not in tests:
            sys.exit(f"there is no {name}")
    failed = 0
    names = wanted or list(tests)
    for name in names:
        started = time.monotonic()
        try:
            call(name, tests[name])
            word = "ok"
        except Exception:  # whatever it is, the others still run
            traceback.print_exc(file=sys.stdout)
            failed += 1
            word = "FAILED"
        print(f"{word} {name} ({time.monotonic() - started:.1f} s)",
              flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


@contextlib.contextmanager
def simulator(belay, *options, env=None):
    """`belay sim`, started on a free port; gives its URL."""
    with subprocess.Popen(
            [belay, "sim", "--port", "0", "--quiet", *options],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, **(env or {})}) as process:
        try:
            words = process.stdout.readline().split()
            assert words[:2] == ["listening", "on"], "it does not start"
            yield words[2]
        finally:
            process.terminate()
