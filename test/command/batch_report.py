#!/usr/bin/env python3
"""What `belay batch` leaves: the command that goes on, the page, the counts.

usage: batch_report.py BELAY [NAME...]
"""
import contextlib
import os
import shlex
import sys

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import (OK, Server, batch, expect, expect_code, expect_in,
                           run)

REFUSED = (401, "{}")


def way_on(done):
    """The command that is printed, in the words that a shell makes of it."""
    return shlex.split(done.err.rsplit("to go on:  belay ", 1)[1])


def test_b27_the_command_that_goes_on_never_begins_anew(where):
    for word in ("--overwrite", "--overwrit", "--over", "--ov"):
        where.give(10)
        with Server(lambda b: OK if b["n"] < 3 else REFUSED) as server:
            done = batch(where, server.url, "-c", "1", word, "--ov")
        expect_code(done, 4)
        command = way_on(done)
        expect([w for w in command if w.startswith("--ov")], [], word)
        with Server() as server:
            command[command.index("--base-url") + 1] = server.url
            expect_code(run(*command), 1)  # the line that was refused
            expect(len(server.bodies), 6, "those not tried")
        where.check()


def test_b27_the_command_that_goes_on_keeps_what_looks_like_it(where):
    """A value is no option, nor is a name behind "--"."""
    where.give(3)
    os.rename(where / "in", where / "--overwrite")
    with Server(lambda body: REFUSED) as server, contextlib.chdir(where.path):
        words = ["-o", "out.jsonl", "-c", "1", "--model", "--retry-failed",
                 "--base-url", server.url, "--", "--overwrite"]
        done = run("batch", "--retry", *words)
    expect_code(done, 4)
    expect(way_on(done), ["batch", *words])


def test_b18_to_begin_anew_and_to_retry_exclude_each_other(where):
    where.give(3)
    with open(where / "out.jsonl", "w", encoding="utf-8") as file:
        file.write("mine\n")
    with Server() as server:
        done = batch(where, server.url, "--over", "--retry-failed")
        expect(server.bodies, [])
    expect_code(done, 2)
    expect_in("--overwrite and --retry-failed", done.err)
    expect(where.read("out.jsonl"), "mine\n")


PRICES = """{"m": {"litellm_provider": "openai", "mode": "chat",
"input_cost_per_token": 0.01, "output_cost_per_token": 0.1}}
"""
OTHERS = ("in", "out.jsonl", "out.errors.jsonl", "out.jsonl.state",
          "out.jsonl.stats.json", "prices")


def whole(where):
    """The files, and what is in them."""
    return {name: where.read(name) for name in where.names()}


def refused(where, *more, said=""):
    """Such a run says why, sends nothing, and leaves all as it was."""
    before = whole(where)
    with Server() as server:
        done = batch(where, server.url, "--prices", where / "prices",
                           *more)
        expect(server.bodies, [], "nothing is sent")
    expect_code(done, 2)
    expect_in(said, done.err)
    expect(whole(where), before)


def give_with_prices(where):
    where.give(3)
    with open(where / "prices", "w", encoding="utf-8") as file:
        file.write(PRICES)


def test_b27_a_page_is_not_one_of_the_other_files(where):
    give_with_prices(where)
    for name in OTHERS:  # most of them are not there yet
        refused(where, "--report", where / name, said="'" + where / name)
        refused(where, "--report", where / "../" + os.path.basename(where.path)
                + "/./" + name)
    with Server(lambda b: OK if b["n"] < 2 else (400, "{}")) as server:
        expect_code(batch(where, server.url), 1)
    os.link(where / "out.jsonl", where / "second")
    os.symlink(where / "out.jsonl", where / "link")
    os.symlink(where / "later", where / "nowhere")
    for name in (*OTHERS, "second", "link", "nowhere"):
        refused(where, "--overwrite", "--report", where / name)


def test_b27_the_counts_are_not_the_input(where):
    give_with_prices(where)
    os.link(where / "in", where / "out.jsonl.stats.json")
    refused(where, said="'" + where / "out.jsonl.stats.json")
    os.remove(where / "out.jsonl.stats.json")
    refused(where, "--errors", where / "out.jsonl.stats.json")


def test_b27_a_page_that_cannot_be_written_is_told_before(where):
    give_with_prices(where)
    os.mkdir(where / "folder")
    before = where.names()
    for path, said in ((where / "nowhere/page", "cannot write"),
                       (where / "folder", "cannot write"),
                       (where / "in/page", "cannot write"), ("-", "--report"),
                       ("", "--report")):
        with Server() as server:
            done = batch(where, server.url, "--report", path)
            expect(server.bodies, [])
        expect_code(done, 2)
        expect_in(said, done.err)
        expect(where.names(), before)


def test_b27_a_page_takes_the_place_of_the_old_one_whole(where):
    where.give(3)
    with open(where / "page", "w", encoding="utf-8") as file:
        file.write("old\n")
    with Server() as server:
        done = batch(where, server.url, "--report", where / "page",
                           limit_file=4000)
        expect_code(done, 0)
        expect_in("cannot write", done.err)
        expect(where.read("page"), "old\n")
        expect([n for n in where.names() if n.startswith("page")], ["page"])
        done = batch(where, server.url, "--report", where / "page",
                           "--overwrite")
        expect_code(done, 0)
    expect_in("</html>", where.read("page"))
    expect([n for n in where.names() if n.startswith("page")], ["page"])


def test_b27_a_page_may_go_to_a_device(where):
    where.give(3)
    os.symlink("/dev/null", where / "page")
    with Server() as server:
        done = batch(where, server.url, "--report", where / "page")
    expect_code(done, 0)
    expect("cannot" in done.err, False, done.err)
    expect(os.readlink(where / "page"), "/dev/null")


if __name__ == "__main__":
    sys.exit(batch_command.main(globals()))
