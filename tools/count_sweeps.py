#!/usr/bin/env python3
"""Sum up the sweeps of a test run: count_sweeps.py LOG

test/support/sweeps.c writes a line for each sweep: test, program, kind of
fault, places, runs, milliseconds; and one for each program that has none,
because its test says so ("unswept") or because it dies by itself ("dies").
"""
import collections
import sys

LONGEST = 5


def main():
    programs = set()
    tests = collections.Counter()
    without = collections.Counter()
    sweeps = runs = 0
    cut = []
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            test, program, kind, *numbers = line.rstrip("\n").split("\t")
            places, tried, spent = map(int, numbers)
            if kind in ("unswept", "dies"):
                without[kind] += 1
                continue
            programs.add((test, program))
            tests[test] += spent
            sweeps += 1
            runs += tried
            if tried < places:
                cut.append(f"{test}: {program}, {kind}: {tried} of {places}")
    for test, spent in tests.most_common(LONGEST):
        print(f"{spent / 1000:.0f} s in {test}")
    for line in cut[:LONGEST]:
        print(f"not at every place: {line}")
    print(f"{sweeps} sweeps of {len(programs)} programs in {len(tests)} tests,"
          f" {runs} runs, {len(cut)} sweeps not at every place;"
          f" unswept: {without['unswept']}, and {without['dies']} that die")
    return 0 if sweeps > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
