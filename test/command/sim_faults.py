#!/usr/bin/env python3
"""Each fault of `belay sim`, byte by byte.

usage: sim_faults.py BELAY ASK [NAME...]
"""
import email.utils
import gzip
import json
import os
import re
import subprocess
import sys
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import sim_command
from sim_command import (FORMATS, LAST, PATHS, body_of, fault, get, post,
                         simulator, text_of)

HERE = os.path.dirname(os.path.abspath(__file__))


def test_statuses_have_the_words_of_their_family():
    types = {400: "invalid_request_error", 401: "authentication_error",
             403: "permission_error", 404: "not_found_error",
             413: "request_too_large", 429: "rate_limit_error",
             500: "api_error", 503: "api_error", 504: "timeout_error",
             529: "overloaded_error"}
    with simulator() as port:
        for status in (400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 500,
                       501, 503, 504, 529):
            for name in PATHS:
                reply = fault(port, name, str(status), stream=False)
                assert reply.status == status and reply.whole, (name, status)
                error = reply.json()["error"]
                assert error["message"], error
                if name == "messages":
                    assert reply.json()["type"] == "error"
                    assert reply.json()["request_id"] == \
                        reply.headers["request-id"]
                    assert error["type"] == types.get(status, error["type"])
        assert fault(port, "chat", "502").headers["content-type"] == \
            "text/plain"
        error = fault(port, "chat", "quota")
        assert (error.status, error.json()["error"]["code"]) == (
            429, "insufficient_quota")
        error = fault(port, "messages", "quota")
        assert (error.status, error.json()["error"]["type"]) == (
            402, "billing_error")
        for word, value in (("should-retry", "true"),
                            ("should-not-retry", "false")):
            reply = fault(port, "chat", "400," + word)
            assert reply.headers["x-should-retry"] == value


def test_l33_every_form_of_retry_after():
    def header(form, name="retry-after"):
        with simulator("--fault", "429", "--retry-after", "90s",
                       "--retry-after-form", form) as port:
            return post(port, "chat", body_of("chat")).headers[name]
    assert header("seconds") == "90"
    assert header("ms", "retry-after-ms") == "90000"
    assert header("zero") == "0"
    assert header("negative") == "-5"
    assert header("garbage") == "soon"
    for form, pattern in (
            ("date", r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"),
            ("rfc850", r"\w{6,9}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT"),
            ("asctime", r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}")):
        text = header(form)
        assert re.fullmatch(pattern, text), text
    for form, least, most in (("date", 60, 120), ("past", -3700, -3500)):
        ahead = email.utils.parsedate_to_datetime(
            header(form)).timestamp() - time.time()
        assert least < ahead < most, (form, ahead)
    with simulator("--fault", "429", "--retry-after", "1",
                   "--retry-after-form", "mixed") as port:
        seen = set()
        for n in range(60):
            head = post(port, "chat", body_of("chat", f"q{n}")).headers
            seen.add(head.get("retry-after-ms") or head["retry-after"])
        assert {"1000", "0", "-5", "soon", "1"} <= seen, seen
    for status in (503, 529):
        with simulator("--fault", str(status), "--retry-after", "2") as port:
            assert post(port, "chat", body_of("chat")).headers[
                "retry-after"] == "2"


def test_l21_l22_errors_within_a_stream():
    with simulator("--tokens", "40") as port:
        for name in FORMATS:
            reply = fault(port, name, "error-event")
            assert reply.status == 200 and reply.whole, name
            event, data = reply.events()[-1]
            data = json.loads(data)
            if name == "messages":
                assert event == "error" and data["type"] == "error"
                assert data["error"]["type"] == "overloaded_error", data
            elif name == "responses":
                assert event == "error" and data["type"] == "error"
                assert data["code"] == "server_error", data
                assert data["sequence_number"] == len(reply.events()) - 1
            else:
                assert event is None
                assert data["error"]["type"] == "server_error", data
            assert fault(port, name, "error-event",
                         stream=False).status == 500


def test_ways_to_break_off():
    with simulator("--tokens", "40") as port:
        for name in FORMATS:
            for stream in (False, True):
                cut = fault(port, name, "cut", stream)
                assert not cut.whole and cut.end == "closed", name
                assert fault(port, name, "reset", stream).end == "reset"
                assert fault(port, name, "stall", stream).end == "silent"
                head = fault(port, name, "stall-head", stream)
                assert head.end == "silent" and head.raw == b"", head.raw
                drip = fault(port, name, "drip", stream)
                assert drip.body.endswith(b"x"), drip.body[-20:]
                assert not drip.whole
            inside = fault(port, name, "cut-event")
            assert not inside.whole and not inside.body.endswith(b"\n\n")
            bad = fault(port, name, "bad-json")
            assert bad.whole and bad.body.endswith(b'data: {"half": \n\n')
            bad = fault(port, name, "bad-json", stream=False)
            assert bad.whole and bad.status == 200
            try:
                bad.json()
                raise AssertionError("it is JSON")
            except ValueError:
                pass


def test_streams_that_lack_their_end():
    with simulator() as port:
        for name in FORMATS:
            reply = fault(port, name, "no-end")
            assert reply.whole
            for last in (b'"finish_reason":"stop"', b"message_delta",
                         b"response.completed", b"[DONE]"):
                assert last not in reply.body, (name, last)
            reply = fault(port, name, "no-done")
            assert reply.whole and not reply.body.endswith(LAST[name])
            assert b"response.completed" not in reply.body
            for stream in (False, True):
                reply = fault(port, name, "no-usage", stream)
                assert reply.whole
                assert b"_tokens" not in reply.body, reply.body
        reply = fault(port, "embeddings", "no-usage", stream=False)
        assert "usage" not in reply.json()


def test_l25_other_things_than_an_answer():
    with simulator() as port:
        for name in FORMATS:
            html = fault(port, name, "html")
            assert html.status == 200 and html.body.startswith(b"<!DOCTYPE")
            assert html.headers["content-type"].startswith("text/html")
            empty = fault(port, name, "empty")
            assert (empty.status, empty.body, empty.whole) == (200, b"", True)
            plain = fault(port, name, "not-stream")
            assert plain.headers["content-type"] == "application/json"
            assert text_of(name, plain.json())
            wrong = fault(port, name, "wrong-type")
            assert wrong.headers["content-type"] == "text/plain"
            assert wrong.body.endswith(b"\n\n")


def test_redirects_lead_to_a_page_that_counts():
    with simulator() as port:
        reply = fault(port, "chat", "redirect")
        assert reply.status == 307
        assert reply.headers["location"] == "/__sim/redirected"
        assert get(port, "/__sim/stats").json()["redirected"] == 0
        get(port, "/__sim/redirected")
        assert get(port, "/__sim/stats").json()["redirected"] == 1


def undressed(body):
    """A stream without what faults may add to it."""
    text = body.decode().lstrip("\ufeff").replace("\r\n", "\n").replace(
        "\r", "\n")
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n")
                 if line and not line.startswith(":")]
        data = "\n".join(line[5:].removeprefix(" ") for line in lines
                         if line.startswith("data:"))
        if data and "belay.unknown" not in data and "belay.long" not in data:
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def test_l10_l17_dresses_of_a_stream():
    marks = {"bom": b"\xef\xbb\xbf", "crlf": b"}\r\n\r\n", "cr": b"}\r\r",
             "no-blank": b"data:{", "lines": b"data: {\ndata: ",
             "comments": b"\n: a comment", "pings": b"\ndata:\n\n",
             "long-event": b"x" * 5000000}
    with simulator() as port:
        for name in FORMATS:
            plain = undressed(post(port, name, body_of(
                name, stream=True)).body)
            for word, mark in marks.items():
                reply = fault(port, name, word)
                assert reply.whole and mark in reply.body, (name, word)
                again = undressed(reply.body)
                strip_ids(again)
                strip_ids(plain)
                assert again == plain, (name, word)
            reply = fault(port, name, "no-newline")
            assert not reply.body.endswith(b"\n")
            assert len(undressed(reply.body)) == len(plain)
            reply = fault(port, name, ",".join(w for w in marks if w != "cr"))
            assert all(len(undressed(r.body)) == len(plain)
                       for r in (reply, reply))


def strip_ids(values):
    """Equal bodies that come again get other ids."""
    def walk(value):
        if isinstance(value, dict):
            for key in ("id", "item_id", "call_id"):
                value.pop(key, None)
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                walk(each)
    walk(values)


def test_gzip_and_bytes_one_by_one():
    with simulator() as port:
        for name in PATHS:
            for stream in (False, True):
                reply = fault(port, name, "gzip", stream)
                assert reply.headers["content-encoding"] == "gzip"
                body = gzip.decompress(reply.body)
                if not stream or name == "embeddings":
                    assert json.loads(body)["model"] == "m"
                else:
                    assert undressed(body)
        reply = fault(port, "chat", "split")
        assert reply.whole and undressed(reply.body)
        assert set(map(len, reply.chunks)) == {1}
        reply = fault(port, "chat", "split,gzip,crlf,bom")
        assert set(map(len, reply.chunks)) == {1}
        assert gzip.decompress(reply.body).startswith(b"\xef\xbb\xbfdata: {")
        assert fault(port, "chat", "split", stream=False).json()["model"] == \
            "m"


def test_faults_have_chances_and_fall_the_same_way_again():
    def statuses(*options):
        with simulator("--fault", "503=0.3,404=0.2", *options) as port:
            return [post(port, "chat", body_of("chat", f"q{n}")).status
                    for n in range(60)]
    first = statuses()
    assert first == statuses() != statuses("--seed", "1")
    assert first.count(503) > 5 and first.count(404) > 3 and \
        first.count(200) > 20, first


def test_every_fault_is_tried_here():
    listed = subprocess.run(
        [sim_command.belay, "sim", "--help"], capture_output=True, text=True,
        check=True).stdout.split("faults:\n")[1]
    names = re.findall(r"^  ([a-z-]+) ", listed, re.M)
    assert len(names) > 25, names
    source = ""
    for own in ("sim_faults.py", "sim_client.py"):
        with open(os.path.join(HERE, own), encoding="utf-8") as file:
            source += file.read()
    for name in names:
        assert re.search(rf'["\',]{name}["\',]', source), name


if __name__ == "__main__":
    sys.exit(sim_command.run(globals()))
