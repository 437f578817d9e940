#!/usr/bin/env python3
"""What the benchmarks measure: contract P1-P5.

usage: benchmarks.py BELAY OURS RAW [NAME...]

Runs the functions below whose names begin with test_, or those named. OURS and
RAW are folders with the programs of bench/ and bench/raw/. Times are not
judged here, they are the benchmarks' to show: a rule in microseconds is counted
in instructions, of which a processor of ours does three in a nanosecond, and
memory in bytes.
"""
import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "../support"))
import runner

LIMIT_S = 120
PER_US = 3000  # instructions in a microsecond
TOKENS = 40
EVENTS = TOKENS + 3  # the role, the end, the usage

belay = ours = raw = None  # the command; the folders


def load_bench():
    path = os.path.join(HERE, "../../bench/run")
    loader = importlib.machinery.SourceFileLoader("bench_run", path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("bench_run", loader))
    loader.exec_module(module)
    return module


bench = load_bench()


def result_of(program, *arguments):
    # Memory that is written to when it is freed would count as used.
    env = {k: v for k, v in os.environ.items() if k != "MALLOC_PERTURB_"}
    done = subprocess.run(
        [os.path.join(ours, program), *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=True,
        env=env)
    return json.loads(done.stdout.splitlines()[-1])


def instructions(program, sizes, concurrency, url):
    """For one call more."""
    few, many = (bench.instructions(os.path.join(ours, program), size,
                                    concurrency, [url]) for size in sizes)
    return (many - few) / (sizes[1] - sizes[0])


def completions(base):
    return base + "/chat/completions"


def test_p1_a_plain_call_takes_less_than_100_us():
    with runner.simulator(belay) as base:
        count = instructions("w5", (40, 240), 20, completions(base))
    assert 0 < count < 100 * PER_US, count


def test_p1_an_event_of_a_stream_takes_less_than_4_us():
    with runner.simulator(belay, "--tokens", str(TOKENS)) as base:
        count = instructions("w7", (10, 50), 10, completions(base)) / EVENTS
    assert 0 < count < 4 * PER_US, count


def test_p2_an_idle_stream_takes_less_than_32_kib():
    result = result_of("streams", 400, 5)
    assert 0 < result["own_bytes_per_stream"] < 32 << 10, result
    assert 0 < result["bytes_per_stream"] < 32 << 10, result


def test_p3_no_event_of_many_paced_streams_is_lost():
    result = result_of("streams", 200, 25)
    assert result["check"] == result["ops"] == 200 * 25, result
    assert result["delay_p50_ms"] <= result["delay_p99_ms"] \
        <= result["delay_most_ms"], result


def test_p4_a_recorder_of_lines_takes_less_than_a_quarter():
    sizes, concurrency = (100, 500), 20
    with runner.simulator(belay) as base, \
            tempfile.TemporaryDirectory() as folder:
        url = completions(base)
        without = instructions("w5", sizes, concurrency, url)
        os.environ["BENCH_RECORD"] = os.path.join(folder, "record.jsonl")
        try:
            recorded = instructions("w5", sizes, concurrency, url)
        finally:
            del os.environ["BENCH_RECORD"]
        assert os.path.getsize(os.path.join(folder, "record.jsonl")) > 0
    assert without < recorded < 1.25 * without, (without, recorded)


def test_p5_both_sides_ask_one_server_and_the_spread_is_shown():
    workload = {
        "program": "w5", "size": 60, "concurrency": 8, "check": None,
        "slope": None, "figures": [("client us", bench.cpu_us, True)],
    }
    with runner.simulator(belay) as base:
        rows = bench.measure(workload, [("ours", ours), ("raw", raw)], 3,
                             [completions(base)])
    (title, *cells, ratio), = rows
    assert title == "client us" and len(cells) == 2, rows
    for cell in cells:
        median, spread = cell.split()
        least, most = map(float, spread.strip("()").split("-"))
        assert 0 < least <= float(median) <= most, cell
    assert float(ratio.split()[0]) > 0, ratio


def test_p5_wrk_asks_the_same_server():
    with runner.simulator(belay) as base:
        cells = bench.wrk_row(completions(base), sides=2, seconds=1)
    assert float(cells[1]) > 0 and len(cells) == 4, cells


def main():
    global belay, ours, raw
    belay, ours, raw = map(os.path.abspath, sys.argv[1:4])
    missing = [name for name in ("valgrind", "wrk") if not shutil.which(name)]
    if missing:
        print("skipped: there is no " + " and no ".join(missing))
        sys.exit(77)
    sys.exit(runner.run(globals(), sys.argv[4:], lambda _, test: test()))


if __name__ == "__main__":
    main()
