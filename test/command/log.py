#!/usr/bin/env python3
"""`belay log` as a user runs it, on records that the library has written.

usage: log.py BELAY RECORDED CUT_WRITES [NAME...]

Runs the functions below whose names begin with test_, or those named, for
SQLite and for lines of JSON alike. Nothing leaves loopback.
"""
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import log_command
from log_command import (
    LIMIT_S, Log, holds, places, record, simulator, writing)


def test_l74_lists_the_last_attempts():
    with simulator("--tokens", "5") as url, places() as paths:
        for path in paths:
            record(url, path)
            log = Log(path).good()
            assert len(log.lines) == 5, log.out
            assert log.lines[0].split()[:2] == ["TIME", "(UTC)"]
            for n, line in enumerate(log.lines[1:]):
                assert " ok " in line, line
                assert (" m " if n < 3 else " other ") in line, line
            rows = Log(path, "--json").good().json()
            assert [row["model"] for row in rows] == ["m"] * 3 + ["other"]
            assert all(row["status"] == "ok" and row["http_status"] == 200
                       for row in rows)
            assert [row["attempt"] for row in rows] == sorted(
                row["attempt"] for row in rows)
            assert rows[0]["in_total"] == 4 and rows[0]["out_total"] == 5
            # 4 tokens at 2.5e-06 and 5 at 1e-05, in picodollars.
            assert rows[0]["cost_picodollars"] == 60000000, rows[0]
            assert rows[3]["cost_at_least"] is True, rows[3]
            assert rows[0]["provider"] == "chat" and rows[0]["request_id"]
            two = Log(path, "-n", "2", "--json").good().json()
            assert two == rows[2:]
            assert Log(path, "--last", "0", "--json").json() == rows


def test_l71_lists_those_of_a_session():
    with simulator() as url, places() as paths:
        for path in paths:
            record(url, path)
            record(url, path, turns=1)
            rows = Log(path, "--json").good().json()
            assert len(rows) == 6
            session = rows[0]["session"]
            mine = Log(path, "--session", session, "--json").good().json()
            assert len(mine) == 3, mine
            assert {row["session"] for row in mine} == {session}
            assert Log(path, "--session", "no-such", "--json").good().json() \
                == []


def test_l52_cost_of_each_model():
    with simulator("--tokens", "5") as url, places() as paths:
        for path in paths:
            record(url, path)
            m, other = Log(path, "--cost", "--json").good().json()
            assert m["model"] == "m" and m["attempts"] == m["ok"] == 3, m
            rows = Log(path, "--json").json()
            assert m["cost_picodollars"] == sum(
                row["cost_picodollars"] for row in rows[:3])
            assert m["in_total"] == sum(row["in_total"] for row in rows[:3])
            assert "cost_at_least" not in m
            assert other["model"] == "other" and other["cost_at_least"]
            lines = Log(path, "--cost").good().lines
            assert lines[0].split() == ["MODEL", "ATTEMPTS", "OK", "IN", "OUT",
                                        "USD"]
            assert lines[2].split()[-1] == "?", lines


def test_l75_shows_all_that_was_said():
    with simulator("--tokens", "5") as url, places() as paths:
        for form in ("chat", "responses", "messages"):
            for path in paths:
                name = path + "." + form
                record(url, name, form)
                rows = Log(name, "--json").good().json()
                third = rows[2]
                shown, = Log(name, "--show", third["turn"],
                             "--json").good().json()
                assert shown["attempt"] == third["attempt"]
                roles = [m["role"] for m in shown["messages"]]
                assert roles[0] == "system" and roles.count("user") == 3
                assert roles.count("assistant") == 2, roles
                assert "question 2" in json.dumps(shown["messages"][-1])
                assert shown["answer"]["model"] == "m", shown
                text = Log(name, "--show", third["attempt"]).good()
                said = text.out.split("--- ")
                assert said[1] == "system\nbe brief\n", said[1]
                assert said[-2] == "user\nquestion 2\n", said[-2]
                answer = said[-1].removeprefix("answer\n").strip()
                assert len(answer.split()) == 5, said[-1]
                # What was answered before is part of what is sent later.
                first = Log(name, "--show", rows[0]["attempt"]).good()
                words = first.out.split("--- answer\n")[1].strip()
                assert f"assistant\n{words}\n" in text.out, text.out


def test_s8_nothing_said_moves_the_cursor():
    with simulator("--tokens", "5") as url, places() as paths:
        for path in paths:
            record(url, path, turns=0)
            row, = Log(path, "--json").good().json()
            out = Log(path, "--show", row["attempt"]).good().out
            assert "\x1b" not in out, repr(out)
            assert "outside of it [31m\n2nd line\n" in out, out


def test_failures_and_their_words():
    with simulator("--fault", "400") as url, places() as paths:
        for path in paths:
            record(url, path, turns=1)
            rows = Log(path, "--json").good().json()
            assert [row["status"] for row in rows] == ["error", "error"]
            assert rows[0]["http_status"] == 400
            assert Log(path).good().lines[1].endswith("  HTTP 400")
    with simulator("--fault", "cut") as url, places() as paths:
        for path in paths:
            record(url, path, turns=0)
            rows = Log(path, "--json").good().json()
            # Two more tries, each with a line.
            assert [row["number"] for row in rows] == [1, 2, 3], rows
            assert all(row["code"] in ("ETRUNCATED", "ERESET")
                       for row in rows), rows
            lines = Log(path).good().lines
            assert lines[1].endswith(rows[0]["code"]), lines[1]
            out = Log(path, "--show", rows[0]["attempt"]).good().out
            assert "\nerror " in out, out


def test_calls_of_tools_are_shown():
    script = '{"tool_calls": [{"name": "weather", "arguments": {"a": 1}}]}'
    with places() as paths, tempfile.NamedTemporaryFile("w") as file:
        file.write(script)
        file.flush()
        with simulator("--script", file.name) as url:
            for path in paths:
                record(url, path, turns=0)
                row, = Log(path, "--json").good().json()
                out = Log(path, "--show", row["attempt"]).good().out
                assert out.endswith('-> weather\n{"a": 1}\n'), out


def all_written(path):
    """The four attempts, once somebody who still writes has written them."""
    until = time.monotonic() + LIMIT_S
    rows = []
    while time.monotonic() < until:
        rows = Log(path, "--json").good().json()
        if [row["status"] for row in rows] == ["ok"] * 4:
            break
    assert len(rows) == 4, rows
    return rows


def test_a_record_that_is_written_to():
    with simulator() as url, places() as paths:
        for path in paths:
            with writing(url, path) as process:
                rows = all_written(path)
                process.kill()
            assert Log(path, "--json").good().json() == rows


def test_l74_attempts_in_doubt():
    with simulator("--fault", "stall-head") as url, places() as paths:
        for path in paths:
            with subprocess.Popen(
                    [log_command.recorded, url, path, "chat", "1"],
                    stdin=subprocess.PIPE) as process:
                until = time.monotonic() + LIMIT_S
                rows = []
                while not rows and time.monotonic() < until:
                    if os.path.exists(path):
                        rows = Log(path, "--json")
                        rows = rows.json() if rows.code == 0 else []
                process.kill()
            assert rows[0]["status"] == "in_doubt", rows
            line, = Log(path).good().lines[1:]
            assert " in_doubt " in line and " ? " in line, line
            total, = Log(path, "--cost", "--json").good().json()
            assert total["ok"] == 0 and total["cost_at_least"], total


def test_half_a_line_is_not_there_yet():
    with simulator() as url, places() as paths:
        record(url, paths[1], turns=1)
        rows = Log(paths[1], "--json").good().json()
        with open(paths[1], "a", encoding="utf-8") as file:
            file.write('{"row":"start","run":"R","attempt":"A","started_')
        assert Log(paths[1], "--json").good().json() == rows


def bad(path, data, part):
    with open(path, "wb") as file:
        file.write(data)
    log = Log(path)
    assert log.code == 1, (log.code, log.out, log.err)
    assert part in log.err and os.path.basename(path) in log.err, log.err


def test_files_that_are_no_records():
    with simulator() as url, places() as paths:
        for path in paths:
            assert Log(path).code == 1
            assert "no such file" in Log(path).err.lower()
            bad(path, b"nothing of the kind\n", "not a record")
        record(url, paths[1] + "x.db")
        with open(paths[1] + "x.db", "rb") as file:
            data = file.read()
        bad(paths[0], data[:100] + b"\xff" * (len(data) - 100), "malformed")
        bad(paths[0], data[:1000], "")
        bad(paths[0], b"SQLite format 3\0" + bytes(5000), "")
        other = subprocess.run(
            [sys.executable, "-c", "import sqlite3, sys\n"
             "sqlite3.connect(sys.argv[1]).execute('CREATE TABLE t (a)')",
             paths[0] + ".other"], check=False, capture_output=True)
        if other.returncode == 0:
            log = Log(paths[0] + ".other")
            assert log.code == 1 and "not a record" in log.err, log.err
        record(url, paths[1] + ".jsonl", turns=1)
        with open(paths[1] + ".jsonl", "rb") as file:
            lines = file.readlines()
        bad(paths[1], lines[0] + b"{nonsense\n" + b"".join(lines[1:]),
            "1 lines are no records; the first is line 2")
        assert len(Log(paths[1], "--json").json()) == 2
        open(paths[1], "w", encoding="utf-8").close()
        assert Log(paths[1], "--json").good().json() == []


def test_a_later_version_is_not_guessed_at():
    with simulator() as url, places() as paths:
        record(url, paths[0], turns=1)
        with contextlib.closing(sqlite3.connect(paths[0])) as db, db:
            db.execute("PRAGMA user_version = 3")
        for more in ((), ("--forget", "1d")):
            log = Log(paths[0], *more)
            assert log.code == 1 and "schema 3" in log.err, log.err


def test_a_last_line_may_lack_its_end():
    with simulator() as url, places() as paths:
        path = paths[1]
        record(url, path, turns=1)
        wanted = Log(path, "--json").good().out
        os.truncate(path, os.stat(path).st_size - 1)
        assert Log(path, "--json").good().out == wanted
        assert Log(path, "--forget", "30d").good().out.startswith("0 ")
        assert Log(path, "--json").good().out == wanted
        os.truncate(path, os.stat(path).st_size - 3)
        assert Log(path, "--json").good().out != wanted


def test_a_ring_of_messages_ends():
    with simulator() as url, places() as paths:
        record(url, paths[0], turns=1)
        with contextlib.closing(sqlite3.connect(paths[0])) as db, db:
            db.execute("UPDATE message SET parent_hash = hash")
        attempt = Log(paths[0], "--json").good().json()[0]["attempt"]
        assert "question 0" in Log(paths[0], "--show", attempt).good().out


def as_nobody():
    """What makes a child a user for whom files' modes count."""
    return {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}


def test_where_one_may_not_write():
    with simulator() as url, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "50% of what?#.db")
        record(url, path, turns=1)
        wanted = Log(path, "--json").good().out
        for name in os.listdir(folder):
            if name.endswith(("-wal", "-shm")):
                os.unlink(os.path.join(folder, name))
        program = shutil.copy(log_command.belay, folder)
        os.chmod(path, 0o444)
        os.chmod(folder, 0o555)
        try:
            done = subprocess.run(
                [program, "log", path, "--json"], **as_nobody(),
                check=False, capture_output=True, text=True, timeout=LIMIT_S)
        finally:
            os.chmod(folder, 0o700)
        assert done.returncode == 0, done.stderr
        assert done.stdout == wanted


def test_wrong_usage():
    with places() as paths:
        for arguments in ((), (paths[0], paths[1]), (paths[0], "-n", "x"),
                          (paths[0], "--nothing"), (paths[0], "--show", "")):
            log = Log(*arguments)
            assert log.code == 2 and log.err and not log.out, arguments
        assert Log("--help").code == 0
    with simulator() as url, places() as paths:
        for path in paths:
            record(url, path, turns=0)
            log = Log(path, "--show", "nobody")
            assert log.code == 1 and "begins with 'nobody'" in log.err


OLD = "01AAAAAAAA"  # an id that begins so is of 2011


def make_old(path, rows):
    """Gives the attempts ids of long ago."""
    ids = {row["attempt"]: OLD + row["attempt"][len(OLD):] for row in rows}
    if path.endswith(".db"):
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.executemany("UPDATE attempt_row SET id = ?2 WHERE id = ?1",
                           ids.items())
        return
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for new, old in ids.items():
        text = text.replace(new, old)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def test_s9_forgets_attempts():
    with simulator() as url, places() as paths:
        for path in paths:
            record(url, path, turns=2)
            rows = Log(path, "--json").good().json()
            make_old(path, rows)
            record(url, path, turns=1)
            new = Log(path, "--json").good().json()[len(rows):]
            assert len(new) == 2 and holds(path, "question 1")
            log = Log(path, "--forget", "30d").good()
            assert log.out == "3 attempts forgotten\n", log.out
            assert Log(path, "--json").good().json() == new
            # The first question was asked anew, the second was not.
            assert not holds(path, "question 1")
            assert not holds(path, OLD)
            shown = Log(path, "--show", new[0]["attempt"]).good().out
            assert "question 0" in shown, shown
            assert Log(path, "--forget", "30d").out == "0 attempts forgotten\n"
            assert os.stat(path).st_mode & 0o777 == 0o600


def test_s9_forgets_what_was_said():
    with simulator() as url, places() as paths:
        for path in paths:
            record(url, path, turns=2)
            rows = Log(path, "--json").good().json()
            make_old(path, rows)
            log = Log(path, "--forget-texts", "12h").good()
            assert log.out == "3 attempts without their texts\n", log.out
            after = Log(path, "--json").good().json()
            assert [row["cost_picodollars"] for row in after] == [
                row["cost_picodollars"] for row in rows]
            assert not holds(path, "question"), path
            assert not holds(path, "outside of it")
            assert Log(path, "--show", OLD).good().out.count(" ok ") == 3
            # Who says the same again is recorded with all of it.
            record(url, path, turns=1)
            new = Log(path, "--json", "-n", "2").good().json()
            shown = Log(path, "--show", new[0]["attempt"]).good().out
            assert "question 0" in shown, shown


def test_s9_nothing_is_that_old():
    with simulator() as url, places() as paths:
        for path in paths:
            record(url, path)
            before = Log(path, "--json").good().json()
            assert Log(path, "--forget", "1h").good().out.startswith("0 ")
            assert Log(path, "--json").good().json() == before
            assert Log(path, "--forget", "0s").good().out.startswith("4 ")
            assert Log(path).good().lines[1:] == []


def test_s9_beside_a_recorder():
    with simulator() as url, places() as paths:
        for path in paths:
            with writing(url, path) as process:
                rows = all_written(path)
                log = Log(path, "--forget", "1h")
                if path.endswith(".db"):
                    assert log.good().out.startswith("0 "), log.out
                else:
                    assert log.code == 1, log.out
                    assert "recorder is writing" in log.err, log.err
                assert Log(path, "--json").good().json() == rows
                assert process.poll() is None


def test_l76_a_lock_that_is_held_for_long_loses_no_row():
    """As `--forget` holds it on a large file: longer than an open waits."""
    with simulator("--ttft", "1s") as url, places() as paths:
        record(url, paths[0], turns=0)
        with contextlib.closing(sqlite3.connect(
                paths[0], isolation_level=None, timeout=LIMIT_S)) as db:
            with subprocess.Popen(
                    [log_command.recorded, url, paths[0], "chat", "0"],
                    text=True, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE) as process:
                until = time.monotonic() + LIMIT_S
                while db.execute("SELECT count(*) FROM run").fetchone() == (
                        1,) and time.monotonic() < until:
                    pass
                db.execute("BEGIN IMMEDIATE")
                assert process.stdout.readline() == "done\n"
                time.sleep(5.5)
                db.execute("COMMIT")
                process.stdin.close()
                assert process.wait(LIMIT_S) == 0
        rows = Log(paths[0], "--json").good().json()
        assert [row["status"] for row in rows] == ["ok"] * 2, rows


def test_s9_the_run_of_a_recorder_that_is_open():
    """… stays, though nothing of it does; one that is over goes."""
    with simulator() as url, places() as paths:
        record(url, paths[0], turns=0)
        with writing(url, paths[0], turns=0) as process:
            until = time.monotonic() + LIMIT_S
            while len(Log(paths[0]).good().lines) < 3 and (
                    time.monotonic() < until):
                pass
            log = Log(paths[0], "--forget", "0s").good()
            assert log.out == "2 attempts forgotten\n", log.out
            with contextlib.closing(sqlite3.connect(paths[0])) as db:
                runs = db.execute("SELECT pid FROM run").fetchall()
            assert runs == [(process.pid,)], runs


def cut(**numbers):
    """The environment of a process whose writes or lines end."""
    return {"LD_PRELOAD": log_command.cut_writes,
            "ASAN_OPTIONS": "verify_asan_link_order=0",
            **{name: str(value) for name, value in numbers.items()}}


def old_and_new(url, path):
    """A record of old attempts, new ones, old ones again and new ones."""
    for made_old in (True, False, True, False):
        known = Log(path, "--json").lines
        record(url, path, turns=0)
        if made_old:
            make_old(path, [json.loads(line)
                            for line in Log(path, "--json").good().lines
                            if line not in known])
    with open(path, "rb") as file:
        return file.read()


def is_old(line):
    return json.loads(line)["attempt"].startswith(OLD)


def without_body(line):
    row = json.loads(line)
    row.pop("body", None)
    return row


def killed_anywhere(path, data, option):
    """The numbers of writes at which it was killed, and was done again."""
    kept = [line for line in data.splitlines() if not is_old(line)]
    rows = [without_body(line) for line in data.splitlines()
            if option == "--forget-texts" or not is_old(line)]
    log = path + ".log"
    for at in range(1, 1000):
        with open(path, "wb") as file:
            file.write(data)
        code = Log(path, option, "30d", **cut(
            BELAY_CUT_AT=at, BELAY_CUT_LOG=log)).code
        assert code in (-9, 0), code
        if not os.path.exists(log):
            return None  # a sanitizer has these functions itself
        # What is there can be read, and none that stays is missing.
        there = {row["attempt"]
                 for row in Log(path, "--json").good().json()}
        assert {row["attempt"] for row in rows} <= there, at
        Log(path, "--show", rows[-1]["attempt"], "--json").good().json()
        Log(path, option, "30d").good()
        with open(path, "rb") as file:
            lines = file.read().splitlines()
        new = [line for line in lines if not is_old(line)]
        old = [json.loads(line) for line in lines if is_old(line)]
        assert set(new) == set(kept), at
        assert all("body" not in row for row in old), at
        left = old + [without_body(line) for line in new]
        assert all(row in left for row in rows), at
        assert all(row in rows for row in left), at
        if code == 0:
            assert len(lines) == len(rows)
            return at
    assert False, "it has no end"


def test_s9_killed_at_any_write():
    with simulator() as url, places() as paths:
        data = old_and_new(url, paths[1])
        for option in ("--forget", "--forget-texts"):
            at = killed_anywhere(paths[1], data, option)
            assert at is None or at > 10, at


def line_of(attempt, size):
    line = json.dumps({"row": "start", "run": "R", "attempt": attempt,
                       "model": "m", "started_us": 1, "body": {"pad": ""}})
    return line.replace('""', f'"{"x" * (size - len(line) - 1)}"') + "\n"


def test_s9_killed_where_lines_just_fit():
    ids = [OLD + f"{n:016}" for n in range(2)] + [
        "7ZZZZZZZZZ" + f"{n:016}" for n in range(2)]
    with places() as paths:
        for size in range(197, 204):
            data = (line_of(ids[0], size) + line_of(ids[2], 200)
                    + line_of(ids[1], 150) + line_of(ids[3], 210))
            killed_anywhere(paths[1], data.encode(), "--forget")


def test_s9_no_memory_for_a_line():
    with simulator() as url, places() as paths:
        path = paths[1]
        data = old_and_new(url, path)
        for count in range(2 * len(data.splitlines())):
            log = Log(path, "--forget", "30d", **cut(
                BELAY_CUT_LINES=count, BELAY_CUT_LOG=path + ".log"))
            if not os.path.exists(path + ".log"):
                return  # a sanitizer has this function itself
            assert log.code == 1 and "memory" in log.err.lower(), log.err
            assert Log(path, "--json", **cut(BELAY_CUT_LINES=1)).code == 1
            Log(path, "--forget", "30d").good()
            with open(path, "rb") as file:
                assert set(file.read().splitlines()) == {
                    line for line in data.splitlines() if not is_old(line)}
            with open(path, "wb") as file:
                file.write(data)


def test_wrong_ages():
    with places() as paths:
        for path in paths:
            for age in ("", "x", "-1d", "1.5d", "99999999999999999d", "d"):
                log = Log(path, "--forget", age)
                assert log.code == 2 and "not a time" in log.err, (age, log.err)
            assert Log(path, "--forget", "1d", "--cost").code == 2
            assert Log(path, "--forget", "1d", "--forget-texts", "1d").code == 2
            assert Log(path, "--forget", "1d").code == 1  # no file


def test_s2_keys_are_in_no_record():
    with simulator() as url, places() as paths:
        for path in paths:
            record(url, path)
            with open(path, "rb") as file:
                assert b"a-key-of-the-test" not in file.read()
            for line in Log(path, "--json").good().lines:
                assert "a-key-of-the-test" not in line


if __name__ == "__main__":
    sys.exit(log_command.main(globals()))
