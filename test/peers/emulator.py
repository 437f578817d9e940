#!/usr/bin/env python3
"""The LLM client and `belay batch` against llm-emulator, a mock of model
servers by other people.

usage: emulator.py BELAY ASK FOLDER [NAME...]

It answers with one JSON where a stream is asked for, has no status in its
Responses and no usage in its Embeddings. Installed and skipped as aimock.py
has it.
"""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

import aimock
import runner
from aimock import ANSWER, Answer, Batch, chat, content

SERVER = os.path.join(aimock.HERE, "emulator_server.mjs")
MODES = ("plain", "stream")


@contextlib.contextmanager
def emulator(node, folder):
    """The server, started; gives its URL."""
    script = shutil.copy(SERVER, folder)
    with subprocess.Popen([node, script], cwd=folder, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        try:
            url = process.stdout.readline().strip()
            assert url, "llm-emulator does not start"
            yield url
        finally:
            process.terminate()


def test_l1_l25_one_json_where_a_stream_was_wanted(_, ask, url, __):
    for mode in MODES:
        Answer(ask, url, "chat", mode, "say it").check(
            code="OK", text=ANSWER, end="1")


def test_l1_l25_responses(_, ask, url, __):
    # It does not find what the user has said in a list of messages.
    for mode in MODES:
        Answer(ask, url, "responses", mode, "say it").check(
            code="OK", text="nothing", end="1")


def test_l4_vectors_though_base64_was_asked_for(_, ask, url, __):
    answer = Answer(ask, url, "embeddings", "plain", "say it")
    answer.check(code="OK")
    vectors = answer.values["vector"]
    assert len(vectors) == 2 and int(vectors[0]) > 0, vectors


def test_l41_patience(_, ask, url, __):
    for mode in MODES:
        Answer(ask, url, "chat", mode, "be slow").check(
            code="OK", text=ANSWER)
        Answer(ask, url, "chat", mode, "no answer", "200", "-1").check(
            code="ETIMEDOUT")


def test_l9_l30_l33_errors(_, ask, url, __):
    codes = {"bad request": "EHTTP", "wrong key": "EAUTH",
             "broken server": "EHTTP", "half an answer": "EREPLY",
             "slow down": "EHTTP"}
    for text, code in codes.items():
        for mode in MODES:
            answer = Answer(ask, url, "chat", mode, text)
            answer.check(code=code)
            if text == "broken server":
                assert "mock error 503" in answer.err, answer.err


def test_b1_b8_a_batch(belay, _, url, place):
    requests = [chat(f"r-{n}", "say it") for n in range(100)]
    requests.append(chat("bad", "bad request"))
    requests.append({"custom_id": "vectors", "method": "POST",
                     "url": "/v1/embeddings",
                     "body": {"model": "m", "input": ["a", "b"]}})
    requests.append({"custom_id": "response", "method": "POST",
                     "url": "/v1/responses",
                     "body": {"model": "m", "input": "say it"}})
    batch = Batch(belay, place, url, requests, "-c", "16")
    batch.check(1)
    assert list(batch.bad) == ["bad"], batch.bad
    for n in range(100):
        assert content(batch.good[f"r-{n}"]) == ANSWER
    assert len(batch.good["vectors"]["response"]["body"]["data"]) == 2
    assert batch.good["response"]["response"]["body"]["output"][0][
        "content"][0]["text"] == ANSWER


def main():
    belay, ask, folder = (os.path.abspath(name) for name in sys.argv[1:4])
    node, npm = aimock.find_node()
    aimock.install(npm, folder)

    def call(_, test):
        with tempfile.TemporaryDirectory(prefix="belay-") as place, \
                emulator(node, folder) as url:
            test(belay, ask, url, place)

    return runner.run(globals(), sys.argv[4:], call)


if __name__ == "__main__":
    sys.exit(main())
