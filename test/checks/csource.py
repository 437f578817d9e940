"""What the checks share: C text without comments, and failing well."""
import re
import sys

_TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def blank(text, what):
    """text with comments ("c"), strings ("s") or both ("cs") made blank;
    lines keep their numbers."""

    def replace(match):
        kind = "c" if match.group()[0] == "/" else "s"
        if kind not in what:
            return match.group()
        return re.sub(r"[^\n]", " ", match.group())

    return _TOKEN.sub(replace, text)


def has_line_comment(text):
    """The position of the first // comment, or -1."""
    for match in _TOKEN.finditer(text):
        if match.group().startswith("//"):
            return match.start()
    return -1


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def report(name, faults):
    """Prints the faults and ends the program as a test does."""
    for fault in faults:
        print(fault)
    print(f"{name}: {len(faults)} fault(s)")
    sys.exit(1 if faults else 0)


def expect(name, cases):
    """Ends a self-test: cases are (what, faults, part of the one expected
    fault, or None for none at all)."""
    wrong = []
    for what, faults, part in cases:
        if part is None and faults:
            wrong.append(f"{what}: unexpected: {faults}")
        elif part is not None and not (
                len(faults) == 1 and part in faults[0]):
            wrong.append(f"{what}: expected one fault with {part!r}: {faults}")
    report(f"{name} self-test, {len(cases)} cases", wrong)
