#!/usr/bin/env python3
"""What `belay batch` says to people: how a run has ended, and what to do next.

usage: batch_words.py BELAY [NAME...]
"""
import contextlib
import json
import os
import re
import shlex
import signal
import sys

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import batch_command
from batch_command import (OK, Gate, Run, Server, batch, expect, expect_code,
                           expect_in, request, run, wait_until)

REFUSED = (401, "{}")
MAN = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                   "../../docs/man/belay-batch.1")


def expect_not_in(part, text):
    assert part not in text, f"{part!r} is in {text!r}"


def many(count):
    return "".join(request(str(n), {"n": n}) for n in range(count))


# ---- going on ----


def test_b27_a_job_from_standard_input_cannot_go_on(where):
    with Server(lambda body: REFUSED) as server:
        done = run("batch", "-o", where / "out.jsonl", "-c", "1", "--report",
                   where / "page", "--base-url", server.url, "-",
                   stdin=many(30).encode())
    expect_code(done, 4)
    expect_not_in("to go on:", done.err)
    expect_in("a job from standard input cannot go on", done.err)
    expect_not_in("To go on", where.read("page"))
    expect_in("standard input", run("batch", "--help").out)
    with open(MAN, encoding="utf-8") as file:
        expect_in("A job from standard input cannot go on", file.read())


def test_b27_a_job_into_a_pipe_cannot_go_on(where):
    where.give(30)
    with Server(lambda body: REFUSED) as server:
        done = run("batch", where / "in", "-o", "-", "-c", "1", "--base-url",
                   server.url)
    expect_code(done, 4)
    expect_not_in("to go on:", done.err)
    expect_in("cannot go on", done.err)


def test_b27_what_was_not_read_is_told(where):
    where.give(400)
    for more in (), ("--emit-skipped", "--overwrite"):
        with Server(lambda body: OK if body["n"] < 5 else REFUSED) as server:
            done = batch(where, server.url, "-c", "2", *more)
        expect_code(done, 4)
        stats = json.loads(where.read("out.jsonl.stats.json"))
        expect(stats["lines"] + stats["not_read"], 400)
        if more:
            expect(stats["lines"], 400)
            expect_not_in("not read", done.err)
        else:
            assert re.search(rf"\n  not read +{stats['not_read']}\n", done.err)
            assert stats["not_read"] > 300, stats
            left = 400 - stats["ok"] - stats["failed"]
            expect(stats["not_tried"] + stats["not_read"], left)


def test_b27_blank_lines_are_not_lines_that_were_not_read(where):
    where.give(text="\n".join(many(200).splitlines(keepends=True)) + "\n\n ")
    with Server(lambda body: REFUSED) as server:
        expect_code(batch(where, server.url, "-c", "1"), 4)
    stats = json.loads(where.read("out.jsonl.stats.json"))
    expect(stats["lines"] + stats["not_read"], 200)


def test_b27_of_a_pipe_nobody_knows_what_was_not_read(where):
    with Server(lambda body: REFUSED) as server:
        done = run("batch", "-", "-o", where / "out.jsonl", "-c", "1",
                   "--base-url", server.url, stdin=many(3000).encode())
    expect_code(done, 4)
    expect_in("may not have been read to its end", done.err)


def test_b27_a_finished_job_keeps_its_counts_and_its_page(where):
    where.give(20)
    page = where / "page"
    with Server() as server:
        expect_code(batch(where, server.url, "--report", page), 0)
        before = where.read("out.jsonl.stats.json"), where.read("page")
        done = batch(where, server.url, "--report", page)
        expect_code(done, 0)
        expect(len(server.bodies), 20)
        expect((where.read("out.jsonl.stats.json"), where.read("page")),
               before)
        expect_in("nothing was left to send", done.err)
        for path in where / "out.jsonl.stats.json", page:
            expect_in(f"'{path}' is left as it was", done.err)
        expect_not_in("--overwrite", done.err)
        os.remove(page)  # what is not there is made
        done = batch(where, server.url, "--report", page)
        expect_code(done, 0)
        expect_in("</html>", where.read("page"))
        expect(where.read("out.jsonl.stats.json"), before[0])


def test_b27_counts_that_are_out_of_date_are_not_kept(where):
    where.give(20)
    with Server() as server:
        expect_code(batch(where, server.url), 0)
        path = where / "out.jsonl.stats.json"
        stats = json.loads(where.read("out.jsonl.stats.json"))
        for text in json.dumps(stats | {"ok": 7}), "no json", "":
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            done = batch(where, server.url)
            expect_code(done, 0)
            expect_not_in("left as it was", done.err)
            now = json.loads(where.read("out.jsonl.stats.json"))
            expect(now["done_before"], 20)


def test_x2_the_command_that_goes_on_has_no_secrets(where):
    where.give(30)
    with Server(lambda body: REFUSED) as server:
        url = server.url.replace("//", "//user:secret@")
        for words in ("--base-url", url), ("--base-url=" + url,):
            done = run("batch", where / "in", "-o", where / "out.jsonl", "-c",
                       "1", "--report", where / "page", "--overwrite", *words)
            expect_code(done, 4)
            command = done.err.rsplit("to go on:  ", 1)[1]
            expect_in("--base-url URL" if len(words) > 1
                      else "--base-url=URL", command)
            expect_not_in("secret", done.err + where.read("page"))


def test_x2_s2_a_url_that_another_has_overridden_is_not_in_the_command(where):
    """Whatever it had in it, nobody needs it to go on."""
    where.give(3)
    with Server(lambda body: REFUSED) as server:
        secret = "http://user:canary@127.0.0.1:1/v1?key=canary"
        for early in (["--base-url", secret], ["--base-url=" + secret],
                      ["--base", secret], ["--base=" + secret],
                      ["--base-url", secret, "--base-u=" + secret]):
            for late in ["--base-url", server.url], ["--base=" + server.url]:
                words = ["-o", where / "out.jsonl", "-c", "1", "--overwrite",
                         "--report", where / "page"]
                done = run("batch", *early, where / "in", *words, *late)
                expect_code(done, 4)
                expect_not_in("canary", done.err + where.read("page"))
                command = shlex.split(
                    done.err.rsplit("to go on:  belay ", 1)[1])
                words.remove("--overwrite")
                expect(sorted(command), sorted(
                    ["batch", where / "in", *map(str, words), *late]))


# ---- budgets ----

PRICES = {"m": {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001,
                "max_output_tokens": 100}}


def give_priced(where, count=10, **more):
    where.give(text="".join(request(str(n), {"model": "m", "n": n, **more})
                            for n in range(count)))
    with open(where / "prices", "w", encoding="utf-8") as file:
        json.dump(PRICES, file)


def test_b27_the_budget_to_go_on_with_is_for_the_reader_to_say(where):
    give_priced(where)
    for words, said in (("--budget", "0.01"), "--budget MORE"), \
            (("--budget=0.01",), "--budget=MORE"), \
            (("--budg", "0.01"), "--budg MORE"):
        with Server() as server:
            done = batch(where, server.url, "--model", "m",
                               "--prices", where / "prices", *words)
            expect(server.bodies, [])
        expect_code(done, 3)
        command = done.err.rsplit("to go on, with a higher budget:  ", 1)[1]
        expect_in(said, command)
        expect_not_in("0.01", command)
        expect_in("--dry-run tells what a line may cost", done.err)


def test_b28_a_dry_run_tells_of_a_budget_below_one_line(where):
    give_priced(where)
    done = run("batch", where / "in", "--dry-run", "--prices",
               where / "prices", "--budget", "0.01")
    expect_code(done, 0)
    assert re.search(r"\n  one line may cost up to \$0\.\d+\n", done.out), \
        done.out
    expect_in("the budget of $0.0100 is below that: the run will stop there",
              done.out)


def test_b28_a_dry_run_counts_the_lines_that_would_not_be_sent(where):
    give_priced(where, 3, max_tokens=5)
    with open(where / "in", "a", encoding="utf-8") as file:
        file.write(request("x", {"model": "free", "max_tokens": 5})
                   + request("y", {"model": "gratis", "max_tokens": 5})
                   + request("z", {"model": "free"}))
    words = ("--dry-run", "--prices", where / "prices", "--budget", "5.00")
    done = run("batch", where / "in", *words)
    expect_code(done, 0)
    assert re.search(r"\n  not sent under a budget +3\n", done.out), done.out
    assert re.search(r"\n    no_price +2\n", done.out), done.out
    assert re.search(r"\n    no_output_cap +1\n", done.out), done.out
    expect_in("  without a price: free, gratis\n", done.out)
    expect_in("the budget of $5.00 is enough for the 3 lines that would be "
              "sent\n", done.out)
    where.give(text=request("x", {"model": "free", "max_tokens": 5}))
    done = run("batch", where / "in", *words)
    expect_code(done, 0)
    expect_in("no line would be sent", done.out)
    expect_not_in("enough", done.out)


def test_b28_l54_a_dry_run_says_what_a_run_with_that_budget_does(where):
    """Of what a server adds to a request, and of the tier that it may choose."""
    price = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001,
             "max_output_tokens": 100}
    prices = {"known": price | {"max_input_tokens": 100000},
              "unknown": price,
              "tiers": price | {"input_cost_per_token_priority": 0.1,
                                "output_cost_per_token_priority": 0.1}}
    with open(where / "prices", "w", encoding="utf-8") as file:
        json.dump(prices, file)
    kept = {"input": "hi", "previous_response_id": "r"}
    dear = "the budget of $50.00 is below that: the run will stop there"
    for body, said in (
            (kept | {"model": "known"}, ("up to $100.10", dear)),
            (kept | {"model": "unknown"}, (
                "what the server adds to 1 lines: these will not be sent",
                "no_output_cap                             1",
                "no line would be sent")),
            ({"model": "tiers", "input": "a" * 500}, (dear,)),
            ({"model": "tiers", "input": "a" * 500, "service_tier": "auto"},
             (dear,))):
        # JSON may write it so.
        where.give(text=request("a", body, "/v1/responses").replace(
            "auto", "aut\\u006f"))
        words = ("--prices", where / "prices", "--budget", "50.00")
        done = run("batch", where / "in", "--dry-run", *words)
        expect_code(done, 0)
        for part in said:
            expect_in(part, done.out)
        with Server() as server:
            done = batch(where, server.url, "--overwrite", *words)
            expect(server.bodies, [])
        assert done.code in (1, 3), done.err
        # Expected, it is not held for.
        done = run("batch", where / "in", "--dry-run", "--reserve", "expected",
                   *words)
        expect_code(done, 0)
        expect_not_in("will not be sent", done.out)
        expect_not_in("is below that", done.out)


def test_b28_l54_a_dry_run_measures_the_body_that_would_be_sent(where):
    """With --model, that is not the body of the line."""
    name = "long" * 50
    with open(where / "prices", "w", encoding="utf-8") as file:
        json.dump({name: {"input_cost_per_token": 0.01,
                          "output_cost_per_token": 0.01}}, file)
    words = ("--dry-run", "--prices", where / "prices", "--budget", "50.00")
    body = {"model": name, "max_tokens": 1}
    where.give(text=request("a", body))
    wanted = run("batch", where / "in", *words)
    expect_code(wanted, 0)
    for model in "m", name * 2:
        where.give(text=request("a", body | {"model": model}))
        done = run("batch", where / "in", "--model", name, *words)
        expect_code(done, 0)
        expect(done.out, wanted.out)


# ---- lines that have failed ----


def test_b18_how_to_try_failed_lines_again_is_told(where):
    where.give(10)
    with Server(lambda b: OK if b["n"] % 2 else (400, "{}")) as server:
        done = batch(where, server.url)
        expect_code(done, 1)
        again = "to try these again:  belay batch --retry-failed "
        expect_in(again, done.err)
        done = batch(where, server.url)
        expect_code(done, 1)
        expect(len(server.bodies), 10)
        expect_in("nothing was left to send, but 5 lines have failed",
                  done.err)
        expect_in(again, done.err)
        expect_not_in("--overwrite", done.err)
    with Server() as server:
        words = done.err.rsplit(again, 1)[1].splitlines()[0].split()
        words[words.index("--base-url") + 1] = server.url
        done = run("batch", "--retry-failed", *words)
        expect_code(done, 0)
        expect(len(server.bodies), 5)
        expect_not_in("try these again", done.err)


def test_b18_from_standard_input_nothing_is_tried_again(where):
    with Server(lambda body: (400, "{}")) as server:
        done = run("batch", "-", "-o", where / "out.jsonl", "--base-url",
                   server.url, stdin=many(3).encode())
    expect_code(done, 1)
    expect_not_in("try these again", done.err)


def test_b2_the_first_bad_line_is_told_and_how_to_mend_it(where):
    good = many(5)
    where.give(text=good + "nonsense\n" + "more\n")
    with Server() as server:
        done = batch(where, server.url, "--order", "input")
        expect_code(done, 1)
        assert re.search(r"\n  first invalid_json_line +line 6: not valid JSON", done.err), \
            done.err
        expect_in("with --force, if the input has been mended", done.err)
        where.give(text=good + request("a", {}) + request("b", {}))
        done = batch(where, server.url, "--force")
        expect_code(done, 1)
        command = done.err.rsplit("to try these again:  belay ", 1)[1]
        command = command.splitlines()[0].split()
        expect_in("--force", command)
        done = run(*command)
        expect_code(done, 0)
        expect(len(server.bodies), 7)


def test_b5_b31_4_a_server_that_is_not_there_costs_no_line(where):
    where.give(3)
    with Server() as server:
        url = server.url
    done = batch(where, url, "--max-retries", "1")
    expect_code(done, 4)
    expect_in("no connection to the server was ever made", done.err)
    expect_in("--base-url", done.err)
    expect(where.lines("out.errors.jsonl"), [])
    with Server() as server:
        done = batch(where, server.url)
        expect_code(done, 0)
        expect(len(server.bodies), 3)


def test_b5_why_a_line_has_no_answer_is_told(where):
    where.give(3)
    with Server(lambda body: OK if body["n"] == 0 else None) as server:
        done = batch(where, server.url, "--max-retries", "0", "-c", "1")
    expect_code(done, 1)
    assert re.search(r"\n  first connection_error +line 2: .*connection",
                     done.err), done.err


def test_the_status_tells_how_the_last_run_has_ended(where):
    where.give(5)
    with Server(lambda body: OK if body["n"] < 2 else REFUSED) as server:
        expect_code(batch(where, server.url, "-c", "1"), 4)
    done = run("batch", "--status", where / "out.jsonl")
    expect_code(done, 0)
    expect_in("the last run: stopped: the key or the account was refused",
              done.out)
    assert re.search(r"\n  not tried +2\n", done.out), done.out
    expect_in("the command that began it goes on", done.out)
    with Server() as server:
        expect_code(batch(where, server.url, "--retry-failed"), 0)
    done = run("batch", "--status", where / "out.jsonl")
    expect_in("the last run: done\n", done.out)
    expect("goes on" in done.out, False, done.out)


def test_b12_simulated_results_and_others_are_not_mixed(where):
    where.give(text=request("a", {"model": "m", "messages": [
        {"role": "user", "content": "hello"}]}))
    expect_code(run("batch", where / "in", "-o", where / "out.jsonl", "--sim"),
                0)
    before = where.read("out.jsonl")
    with Server() as server:
        done = batch(where, server.url)
        expect_code(done, 2)
        expect_in("--sim", done.err)
        expect(server.bodies, [])
        expect(where.read("out.jsonl"), before)


# ---- options ----


def test_b31_an_option_without_its_file_takes_no_other_for_it(where):
    where.give(1)
    for option in ("-o", "--output", "--errors", "--prices", "--report",
                   "--ca-file", "--api-key-file"):
        with contextlib.chdir(where.path):
            done = run("batch", "in", option, "--sim")
        expect_code(done, 2)
        expect_in("needs a file, not '--sim'", done.err)
        expect_in("-o" if option == "--output" else option, done.err)
    expect(where.names(), ["in"])
    with Server() as server, contextlib.chdir(where.path):
        done = run("batch", "in", "-o", "./--sim", "--base-url", server.url)
        expect_code(done, 0)
    expect_in("--sim", where.names())


def test_b31_a_url_that_cannot_be_is_told_before_files_are_made(where):
    where.give(1)
    for url, said in (("127.0.0.1:9/v1", "http://"), ("nonsense", "http://"),
                      ("ftp://a/v1", "neither http nor https"),
                      ("http://192.0.2.1/v1", "--allow-http"),
                      ("", "http://")):
        done = batch(where, url)
        expect_code(done, 2)
        expect_in(f"--base-url '{url}': ", done.err)
        expect_in(said, done.err)
        expect(where.names(), ["in"])
    for url in "http://u:secret@192.0.2.1/v1", "http://192.0.2.1/v1?k=secret":
        done = batch(where, url)
        expect_code(done, 2)
        expect_in("--base-url: ", done.err)
        expect_not_in("secret", done.err)


def test_b31_a_key_that_is_missing_is_told(where):
    """Nothing leaves this machine: the proxy is not there."""
    where.give(1)
    none = {"https_proxy": "http://127.0.0.1:1"}
    words = ("batch", where / "in", "-o", where / "out.jsonl", "--overwrite",
             "--max-retries", "0")
    warning = "warning: OPENAI_API_KEY is not set"
    expect_in(warning, run(*words, env=none).err)
    expect_not_in("warning", run(*words, "-q", env=none).err)
    expect_not_in("warning", run(*words, env=none
                                 | {"OPENAI_API_KEY": "k"}).err)
    expect_not_in("warning", run(*words, "--sim").err)
    expect_not_in("warning", run(*words, "--base-url",
                                 "http://127.0.0.1:1/v1").err)


def test_b31_an_option_that_there_is_not_points_to_the_help(where):
    done = run("batch", where / "in", "--simm")
    expect_code(done, 2)
    expect(done.err, "belay batch: unrecognized option '--simm'\n"
           "belay batch: see belay batch --help\n")


def test_b31_help_is_a_word_too(where):
    del where
    done = run("help")
    expect_code(done, 0)
    expect(done.out, run("--help").out)


def test_b12_a_renamed_output_is_thought_of(where):
    where.give(5)
    with Server(lambda b: OK if b["n"] else (400, "{}")) as server:
        expect_code(batch(where, server.url), 1)
        for name in "out.jsonl", "out.jsonl.state":
            os.rename(where / name, where / ("new" + name[3:]))
        words = ("batch", where / "in", "-o", where / "new.jsonl",
                 "--base-url", server.url)
        done = run(*words)
        expect_code(done, 2)
        expect_in(f"the error file is '{where / 'new.errors.jsonl'}', since "
                  f"the output is '{where / 'new.jsonl'}'", done.err)
        expect_code(run(*words, "--errors", where / "out.errors.jsonl"), 1)
        os.rename(where / "out.errors.jsonl", where / "new.errors.jsonl")
        expect_code(run(*words, "--force"), 1)
        expect(len(server.bodies), 5)
        with open(where / "in", "a", encoding="utf-8") as file:
            file.write(request("x", {}))
        done = run(*words)
        expect_code(done, 2)
        expect_not_in("renamed", done.err)


if __name__ == "__main__":
    sys.exit(batch_command.main(globals()))
