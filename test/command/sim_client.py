#!/usr/bin/env python3
"""Our client, the program ask of test/peers, against each fault of `belay
sim`.

usage: sim_client.py BELAY ASK [NAME...]
"""
import json
import os
import subprocess
import sys

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import sim_command
from sim_command import FORMATS, LIMIT_S, get, scripted, simulator


class Answer:
    def __init__(self, port, name, mode, text="what is it", patience=0,
                 retries=0):
        done = subprocess.run(
            [sim_command.ask, f"http://127.0.0.1:{port}/v1", name, mode, text,
             str(patience), str(retries)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=LIMIT_S, check=False)
        self.err = done.stderr
        self.values = {}
        for line in done.stdout.split("\n"):
            key, _, value = line.partition(" ")
            self.values.setdefault(key, []).append(value)

    def __getattr__(self, name):
        return self.values.get(name, [None])[0]


MODES = ("plain", "stream")
HARMLESS = ("bom", "crlf", "cr", "no-blank", "lines", "comments", "pings",
            "no-newline", "split", "no-usage", "long-event",
            "wrong-type", "not-stream", "bom,crlf,split,comments,pings")


def test_our_client_reads_what_it_must():
    with simulator("--tool-calls", "0") as port:
        good = {name: Answer(port, name, "plain").text for name in FORMATS}
    assert all(good.values())
    for faults in HARMLESS:
        with simulator("--tool-calls", "0", "--fault", faults) as port:
            for name in FORMATS:
                for mode in MODES:
                    answer = Answer(port, name, mode)
                    assert answer.code == "OK", (faults, name, mode,
                                                 answer.err)
                    assert answer.text == good[name], (faults, name, mode)
                    assert answer.end == "1", answer.values


def test_l18_our_client_and_a_stream_without_its_last_event():
    with simulator("--tool-calls", "0", "--fault", "no-done") as port:
        assert Answer(port, "chat", "stream").code == "OK"
        for name in ("responses", "messages"):
            answer = Answer(port, name, "stream")
            assert answer.code == "ETRUNCATED", (name, answer.values)
            assert answer.text, name


def expect(faults, mode, codes, names=FORMATS, text=None, **more):
    with simulator("--tool-calls", "0", "--tokens", "30", "--fault",
                   faults) as port:
        for name in names:
            answer = Answer(port, name, mode, **more)
            assert answer.code in codes, (faults, name, mode, answer.values,
                                          answer.err)
            if text is not None:
                assert bool(answer.text) is text, (faults, name)


def test_our_client_and_what_breaks_off():
    for mode in MODES:
        expect("cut", mode, ("ETRUNCATED", "ERESET"), retries=-1)
        expect("reset", mode, ("ETRUNCATED", "ERESET"), retries=-1)
        expect("stall", mode, ("ETIMEDOUT",), patience=100, retries=-1)
        expect("stall-head", mode, ("ETIMEDOUT",), patience=100, retries=-1)
        expect("html", mode, ("EREPLY",), retries=-1)
        expect("empty", mode, ("EREPLY", "ETRUNCATED"), retries=-1)
        expect("redirect", mode, ("EHTTP",), retries=-1)
        expect("quota", mode, ("EQUOTA",))
        expect("401", mode, ("EAUTH",))
        expect("403", mode, ("EAUTH",))
        expect("400", mode, ("EHTTP",))
    expect("bad-json", "plain", ("EREPLY",), retries=-1)
    expect("drip", "plain", ("EREPLY", "ETIMEDOUT", "ETOOLARGE"), patience=5,
           retries=-1)
    # It has not asked for that, and does not guess.
    expect("gzip", "plain", ("EREPLY",), retries=-1)
    expect("gzip", "stream", ("ETRUNCATED", "EPROTO"), text=False,
           retries=-1)
    expect("bad-json", "stream", ("EPROTO",), retries=-1)
    expect("cut-event", "stream", ("ETRUNCATED", "ERESET"), retries=-1)
    expect("no-end", "stream", ("ETRUNCATED",), text=True, retries=-1)
    expect("error-event", "stream", ("EHTTP",), retries=-1)


def test_s5_our_client_follows_no_redirect():
    with simulator("--fault", "redirect") as port:
        for name in FORMATS:
            Answer(port, name, "plain")
        stats = get(port, "/__sim/stats").json()
        assert stats["redirected"] == 0, stats


def test_l30_our_client_tries_again_and_no_more_than_it_should():
    def hits(faults, *options, retries=2):
        with simulator("--tool-calls", "0", "--fault", faults,
                       *options) as port:
            Answer(port, "chat", "plain", retries=retries)
            return get(port, "/__sim/stats").json()["hits"]
    for status in (408, 409, 425, 429, 500, 502, 503, 504, 529):
        assert hits(str(status)) == 3, status
    for status in (400, 401, 403, 404, 413, 422, 501):
        assert hits(str(status)) == 1, status
    assert hits("quota") == 1
    assert hits("503,should-not-retry") == 1
    assert hits("400,should-retry") == 3
    assert hits("429", "--retry-after", "1h") == 1
    for form in ("past", "zero", "negative", "garbage"):
        assert hits("429", "--retry-after-form", form) == 3, form


def test_l7_our_client_and_calls_of_tools():
    script = ('{"tool_calls": [{"name": "weather", "id": "c1", "arguments": '
              '{"city": "Z\\u00fcrich \\ud83c\\udf0d"}}, {"name": "b"}]}')
    with scripted(script) as port:
        for name in FORMATS:
            for mode in MODES:
                answer = Answer(port, name, mode)
                assert answer.code == "OK" and answer.end == "3", answer.err
                assert answer.values["tool"] == ["weather", "b"], name
                assert [json.loads(a) for a in answer.values["arguments"]] \
                    == [{"city": "Z\u00fcrich \U0001f30d"}, {}], name


def test_l27_our_client_joins_halves_of_characters():
    with scripted('{"text": ["a \\ud83c", "\\udf0d b"]}') as port:
        for name in FORMATS:
            for mode in MODES:
                answer = Answer(port, name, mode)
                assert answer.text == "a \U0001f30d b", (name, mode)


def test_l4_our_client_and_vectors():
    with simulator() as port:
        answer = Answer(port, "embeddings", "plain")
        assert answer.code == "OK" and answer.values["vector"] == ["64", "64"]


if __name__ == "__main__":
    sys.exit(sim_command.run(globals()))
