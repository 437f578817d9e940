#!/usr/bin/env python3
"""OpenAI's own client for Node.js against `belay sim`.

usage: openai.py BELAY FOLDER

The simulator has to look like the real thing to a client that nobody here
wrote. Installs it as aimock.py does its server, and is skipped likewise.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import traceback

import aimock

CALLS = os.path.join(aimock.HERE, "openai_calls.mjs")


@contextlib.contextmanager
def simulator(belay, *options, key=None):
    environment = dict(os.environ, SIM_KEY=key or "")
    keys = ["--api-key-env", "SIM_KEY"] if key else []
    with subprocess.Popen(
            [belay, "sim", "--port", "0", "--quiet", *keys, *options],
            stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def calls(node, folder, url, key="a-key"):
    """What the client says of its calls; it looks for its packages next to
    the script, so that is put there."""
    script = shutil.copy(CALLS, folder)
    done = subprocess.run([node, script, url, key], capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, cwd=folder,
                          timeout=aimock.LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_plain_and_streamed_say_the_same(node, folder, belay):
    with simulator(belay, "--tokens", "30") as url:
        seen = calls(node, folder, url)
    plain, stream = seen["plain"], seen["stream"]
    assert plain["id"].startswith("req_"), plain
    assert len(plain["text"].split()) == 30, plain
    assert stream["text"] == plain["text"], stream
    assert plain["end"] == stream["end"] == "stop"
    assert plain["usage"]["completion_tokens"] == 30, plain
    assert stream["usage"] == plain["usage"], stream
    assert stream["chunks"] == 30 + 3, stream
    assert seen["models"] > 0


def test_errors_have_their_classes(node, folder, belay):
    with simulator(belay) as url:
        bad = calls(node, folder, url)["bad"]
    assert (bad["error"], bad["status"]) == ("BadRequestError", 400), bad
    assert "messages" in bad["message"], bad
    with simulator(belay, key="right") as url:
        wrong = calls(node, folder, url, "wrong")["plain"]
        right = calls(node, folder, url, "right")["plain"]
    assert wrong["error"] == "AuthenticationError", wrong
    assert right["text"], right
    with simulator(belay, "--fail-429", "1", "--retry-after", "7s") as url:
        busy = calls(node, folder, url)["stream"]
    assert (busy["error"], busy["retryAfter"]) == ("RateLimitError", "7"), busy
    with simulator(belay, "--fail-5xx", "1") as url:
        broken = calls(node, folder, url)["plain"]
    assert broken["error"] == "InternalServerError", broken


def test_a_cut_is_an_error_in_one_piece(node, folder, belay):
    with simulator(belay, "--cut", "1") as url:
        cut = calls(node, folder, url)["plain"]
    assert "error" in cut, cut


def main():
    belay, folder = (os.path.abspath(name) for name in sys.argv[1:3])
    node, npm = aimock.find_node()
    aimock.install(npm, folder)
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    failed = 0
    for name, test in tests:
        try:
            test(node, folder, belay)
            word = "ok"
        except Exception:  # whatever it is, the others still run
            traceback.print_exc(file=sys.stdout)
            failed += 1
            word = "FAILED"
        print(f"{word} {name}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
