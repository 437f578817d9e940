#!/usr/bin/env python3
"""The tables of a record in SQLite: those of an older version, and how the
views of this one are served.

usage: log_tables.py BELAY RECORDED CUT_WRITES [NAME...]

Runs the functions below whose names begin with test_, or those named. Nothing
leaves loopback.
"""
import contextlib
import os
import sqlite3
import sys

sys.path.append(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../support"))
import log_command
from log_command import Log, holds, places, record, simulator


BEFORE = """
CREATE TABLE run (id TEXT PRIMARY KEY, started_us INTEGER NOT NULL,
 pid INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE session (id TEXT PRIMARY KEY, run TEXT NOT NULL,
 started_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE turn (id TEXT PRIMARY KEY, session TEXT, parent_turn TEXT,
 run TEXT NOT NULL, started_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE message (hash BLOB PRIMARY KEY, parent_hash BLOB, role TEXT,
 body TEXT);
CREATE TABLE blob (hash BLOB PRIMARY KEY, bytes BLOB);
CREATE TABLE attempt (id TEXT PRIMARY KEY, run TEXT NOT NULL, turn TEXT,
 session TEXT, n INTEGER NOT NULL, endpoint TEXT, provider TEXT, model TEXT,
 model_answered TEXT, params TEXT, request_hash BLOB, request_tip BLOB,
 reply_hash BLOB, status TEXT NOT NULL, http_status INTEGER, code TEXT,
 message TEXT, request_id TEXT, billed INTEGER, started_us INTEGER NOT NULL,
 first_byte_us INTEGER, ended_us INTEGER, end_reason TEXT, in_total INTEGER,
 in_cache_read INTEGER, in_cache_write_5m INTEGER, in_cache_write_1h INTEGER,
 in_audio INTEGER, out_total INTEGER, out_reasoning INTEGER,
 out_audio INTEGER, cost_picodollars INTEGER, cost_at_least INTEGER)
 WITHOUT ROWID;
CREATE TABLE tool_call (turn TEXT NOT NULL, call_id TEXT NOT NULL, name TEXT,
 args TEXT, result TEXT, is_error INTEGER, ms INTEGER,
 PRIMARY KEY (turn, call_id)) WITHOUT ROWID;
CREATE INDEX attempt_run ON attempt (run);
CREATE INDEX attempt_started ON attempt (started_us);
CREATE INDEX attempt_model ON attempt (model);
CREATE INDEX attempt_session ON attempt (session) WHERE session IS NOT NULL;
CREATE INDEX turn_session ON turn (session);
PRAGMA user_version = 1;
"""


def as_before(path, to):
    """The same record in tables of version 1."""
    with contextlib.closing(sqlite3.connect(to)) as db:
        db.executescript(BEFORE)
        db.execute("ATTACH ? AS new", (path,))
        columns = ", ".join(
            row[1] for row in db.execute("PRAGMA main.table_info(attempt)"))
        with db:
            for table in ("run", "session", "turn", "message", "tool_call"):
                db.execute(
                    f"INSERT INTO main.{table} SELECT * FROM new.{table}")
            db.execute("INSERT OR IGNORE INTO main.blob"
                       " SELECT * FROM new.blob")
            db.execute(f"INSERT INTO main.attempt ({columns})"
                       f" SELECT {columns} FROM new.attempt")
            # Nothing keeps two from starting at the same time there.
            db.execute("UPDATE main.attempt SET started_us ="
                       " (SELECT min(started_us) FROM main.attempt)")
        db.execute("DETACH new")


def version_of(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return db.execute("PRAGMA user_version").fetchone()[0]


def without_times(rows):
    return [{name: value for name, value in row.items()
             if name != "started_us"} for row in rows]


def test_l73_a_record_of_an_older_version():
    with simulator() as url, places() as paths:
        old = paths[0] + ".old.db"
        record(url, paths[0])
        as_before(paths[0], old)
        rows = Log(paths[0], "--json").good().json()
        before = Log(old, "--json").good().json()
        assert without_times(before) == without_times(rows), before
        for row in rows:
            wanted = Log(paths[0], "--show", row["attempt"]).good().out
            shown = Log(old, "--show", row["attempt"]).good().out
            assert shown.splitlines()[2:] == wanted.splitlines()[2:], shown
        assert version_of(old) == 1  # to read changes nothing
        # Who writes to it brings it up to date, and the rows are the same.
        record(url, old, turns=1)
        assert version_of(old) == 2
        after = Log(old, "--json").good().json()
        assert without_times(after[:4]) == without_times(rows), after
        assert [row["started_us"] for row in after[:4]] == [
            before[0]["started_us"] + n for n in range(4)], after
        assert len(after) == 6
        shown = Log(old, "--show", rows[2]["attempt"]).good().out
        assert shown.splitlines()[2:] == Log(
            paths[0], "--show", rows[2]["attempt"]).out.splitlines()[2:]


def test_s9_forgets_in_a_record_of_an_older_version():
    with simulator() as url, places() as paths:
        for option, said in (("--forget", "4 attempts forgotten\n"),
                             ("--forget-texts",
                              "4 attempts without their texts\n")):
            new, old = paths[0] + option, paths[0] + option + ".old.db"
            record(url, new)
            as_before(new, old)
            assert holds(old, "question 1")
            assert Log(old, option, "0s").good().out == said
            assert not holds(old, "question 1")
            assert version_of(old) == 2


def test_l75_what_is_asked_for_often_is_found_by_an_index():
    queries = {
        "run = 'x'": "attempt_target", "model = 'x'": "attempt_target",
        "session = 'x'": "attempt_session", "id = 'x'": "attempt_row",
        "started_us > 5": "INTEGER PRIMARY KEY"}
    with simulator() as url, places() as paths:
        record(url, paths[0])
        with contextlib.closing(sqlite3.connect(paths[0])) as db:
            for where, index in queries.items():
                plan = [row[3] for row in db.execute(
                    "EXPLAIN QUERY PLAN SELECT * FROM attempt WHERE " + where)]
                assert any(line.startswith("SEARCH a ") and index in line
                           for line in plan), (where, plan)
                assert not any(line.startswith("SCAN") for line in plan), plan
            plan = [row[3] for row in db.execute(
                "EXPLAIN QUERY PLAN SELECT * FROM attempt"
                " ORDER BY started_us DESC LIMIT 9")]
            assert plan[0] == "SCAN a", plan
            assert not any("TEMP B-TREE" in line for line in plan), plan


if __name__ == "__main__":
    sys.exit(log_command.main(globals()))
