"""What the asyncio programs share: the result line, and memory."""
import json
import resource
import sys
import time


def argument(index, otherwise):
    return int(sys.argv[index]) if len(sys.argv) > index else otherwise


def moment():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), usage.ru_utime, usage.ru_stime


def resident_bytes():
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def report(ops, start, end, check, **more):
    spans = [b - a for a, b in zip(start, end)]
    print(json.dumps({
        "ops": ops, "elapsed_s": spans[0], "user_s": spans[1],
        "sys_s": spans[2], "check": check, **more}))
