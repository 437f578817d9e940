#!/usr/bin/env python3
"""The programs in docs/guide.md: guide.py GUIDE CC [FLAG...], or guide.py
--extract NAME FILE GUIDE, or guide.py --self-test CC [FLAG...].

Each block of C in the guide says after its fence what it is:

    c part NAME          a piece of NAME; the pieces are put together in order
    c run NAME [WORD..]  its last piece: built, and run with these arguments;
                         the ```output block that follows is what it prints
    c aborts NAME        the same, ends by abort(); the output is of stderr
    c rejected NAME WORD..  does not compile, and the compiler says these words
    c rejected-by-gcc NAME WORD..  the same, if the compiler is gcc

Pieces that the reader need not see stand in a comment, <!-- c part NAME ... -->.
A program that is nowhere run is compiled. One without an #include is compiled
behind those of PREAMBLE. Programs may include each other by name. Everything
is built as the guide tells its reader to, with more warnings, all of them
errors. Links inside of the guide lead to one of its headings.
"""
import functools
import os
import re
import shlex
import subprocess
import sys
import tempfile

PREAMBLE = "".join(f"#include <{name}>\n" for name in (
    "belay/belay.h", "belay/uv.h", "stdio.h", "stdlib.h", "string.h"))
WARNINGS = ["-std=gnu11", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow",
            "-Wvla", "-Wstrict-prototypes", "-Wimplicit-fallthrough",
            "-Wno-unused-function", "-Wno-unused-const-variable", "-Werror"]
GCC_WARNINGS = ["-Wjump-misses-init"]
BLOCK = re.compile(
    r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$"
    r"|^<!-- (?P<hidden>c [^\n]*)\n(?P<secret>.*?)^-->$", re.M | re.S)
PATIENCE_S = 60


class Program:
    """What the blocks with one name make."""

    def __init__(self, name):
        self.name = name
        self.text = ""
        self.what = "part"
        self.words = []
        self.output = None
        self.line = 0

    def add(self, text):
        self.text += ("\n" if self.text else "") + text

    def source(self):
        has = re.search(r"^#include", self.text, re.M)
        return self.text if has else PREAMBLE + self.text


def blocks(text):
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        if match["hidden"] is not None:
            yield match["hidden"].split(), match["secret"], line
        else:
            yield match["info"].split(), match["text"], line


def read(text, guide):
    """({name: Program}, faults) of a guide's text."""
    programs = {}
    faults = []
    last = None
    for info, body, line in blocks(text):
        where = f"{guide}:{line - 1}"
        if info[:1] == ["output"]:
            if last is None or last.output is not None:
                faults.append(f"{where}: the output of nothing")
            else:
                last.output = body
            continue
        last = None
        if info[:1] != ["c"]:
            continue
        if len(info) < 3 or info[1] not in (
                "part", "run", "aborts", "rejected", "rejected-by-gcc"):
            faults.append(f"{where}: C that does not say what it is: {info}")
            continue
        program = programs.setdefault(info[2], Program(info[2]))
        if program.what != "part":
            faults.append(f"{where}: {info[2]} has had its last piece")
            continue
        program.add(body)
        program.what, program.words, program.line = info[1], info[3:], line
        if program.what in ("run", "aborts"):
            last = program
    return programs, faults


@functools.lru_cache
def version_of(compiler):
    return subprocess.run(
        [compiler, "--version"], capture_output=True, text=True,
        check=True).stdout


def is_gcc(compiler):
    return "Free Software Foundation" in version_of(compiler[-1])


def check_rejected(program, made, where):
    if made.returncode == 0:
        return [f"{where}: compiles, but should not"]
    missing = [word for word in program.words if word not in made.stderr]
    if missing or not program.words:
        return [f"{where}: no word {missing} in:\n{made.stderr}"]
    return []


def check_run(program, folder, where):
    if program.output is None:
        return [f"{where}: no output block behind it"]
    try:
        ran = subprocess.run(
            ["./a.out", *program.words], cwd=folder, capture_output=True, text=True,
            check=False, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return [f"{where}: still runs after {PATIENCE_S} s"]
    aborts = program.what == "aborts"
    wanted = -6 if aborts else 0
    printed = ran.stderr if aborts else ran.stdout
    faults = []
    if ran.returncode != wanted:
        faults.append(f"{where}: exit {ran.returncode}:\n{ran.stderr}")
    if printed != program.output:
        faults.append(f"{where}: prints\n{printed}instead of\n"
                      f"{program.output}{ran.stderr}")
    return faults


def check_program(program, folder, compiler, flags, guide):
    where = f"{guide}:{program.line - 1}: {program.name}"
    to = ["-o", "a.out"] if program.what in ("run", "aborts") else [
        "-c", "-o", "a.o"]
    if "-c" in to:
        flags = [flag for flag in flags if flag[:2] in ("-I", "-f")]
    warnings = WARNINGS + (GCC_WARNINGS if is_gcc(compiler) else [])
    made = subprocess.run(
        [*compiler, *warnings, *to, "-x", "c", program.name, "-x", "none",
         *flags],
        cwd=folder, capture_output=True, text=True, check=False)
    if program.what == "rejected-by-gcc" and not is_gcc(compiler):
        return []
    if program.what.startswith("rejected"):
        return check_rejected(program, made, where)
    if made.returncode != 0:
        return [f"{where}: does not build:\n{made.stderr}"]
    if program.what == "part":
        return []
    return check_run(program, folder, where)


def check_links(text, guide):
    prose = BLOCK.sub("", text)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
               for heading in re.findall(r"^#+ (.*)$", prose, re.M)}
    return [f"{guide}: no heading #{anchor}"
            for anchor in re.findall(r"\]\(#([^)]*)\)", prose)
            if anchor not in anchors]


def check_text(text, guide, compiler, flags):
    programs, faults = read(text, guide)
    faults += check_links(text, guide)
    if not programs:
        faults.append(f"{guide}: no programs")
    with tempfile.TemporaryDirectory() as folder:
        for name, program in programs.items():
            with open(os.path.join(folder, name), "w",
                      encoding="utf-8") as file:
                file.write(program.source())
        for program in programs.values():
            faults += check_program(program, folder, compiler, flags, guide)
    return faults, len(programs)


MAIN = "```c run x.c\n#include <stdio.h>\nint main(void)\n{\n    %s\n}\n```\n"
OUT = "```output\nhello\n```\n"
HELLO = MAIN % 'return puts("hello") < 0;'
CASES = [
    ("good", HELLO + OUT, None),
    ("in pieces", "```c part x.c\nstatic int f(void);\n```\ntext\n"
        "<!-- c part x.c\nstatic int f(void)\n{\n    return 0;\n}\n-->\n"
        "```c run x.c\nint main(void)\n{\n    return puts(\"hello\") < f();\n"
        "}\n```\n" + OUT, None),
    ("other languages", "```sh\ncc x.c\n```\n" + HELLO + OUT, None),
    ("included", "```c part x.h\n#define X 0\n```\n" + (MAIN % (
        'return puts("hello") < X;')).replace(
            "#include", '#include "x.h"\n#include', 1) + OUT, None),
    ("broken", MAIN % "return nothing;" + OUT, "does not build"),
    ("a warning", MAIN % "int i; return 0;" + OUT, "does not build"),
    ("a broken piece", HELLO + OUT + "```c part y.c\nint f(void) {}\n```\n",
     "y.c: does not build"),
    ("a broken hidden piece",
     HELLO + OUT + "<!-- c part y.c\nint f(void) {}\n-->\n",
     "y.c: does not build"),
    ("another output", HELLO + OUT.replace("h", "H"), "prints"),
    ("no output", HELLO, "no output block"),
    ("output of nothing", OUT + HELLO + OUT, "output of nothing"),
    ("a failure", MAIN % 'return puts("hello") > 0;' + OUT, "exit 1"),
    ("unmarked", HELLO + OUT + "```c\nint x;\n```\n", "what it is"),
    ("goes on", HELLO + OUT + "```c part x.c\nint x;\n```\n", "last piece"),
    ("rejected", HELLO + OUT
        + "```c rejected y.c return\nint f(void) {}\n```\n", None),
    ("rejected for another reason", HELLO + OUT
        + "```c rejected y.c duplicate\nint f(void) {}\n```\n", "no word"),
    ("not rejected", HELLO + OUT
        + "```c rejected y.c return\nint f(void);\n```\n", "compiles"),
    ("aborts", (MAIN % 'fputs("hello\\n", stderr); __builtin_abort();'
        ).replace("c run", "c aborts") + OUT, None),
    ("does not abort", HELLO.replace("c run", "c aborts").replace(
        "puts(\"hello\")", "fputs(\"hello\\n\", stderr)") + OUT, "exit 0"),
    ("nothing", "text\n", "no programs"),
    ("a link", "[x](#a-bs-c)\n## A `b`'s c\n" + HELLO + OUT, None),
    ("a lost link", "[x](#b)\n## A\n" + HELLO + OUT, "no heading #b"),
]


def report(name, faults):
    for fault in faults:
        print(fault)
    print(f"{name}: {len(faults)} fault(s)")
    sys.exit(1 if faults else 0)


def self_test(compiler, flags):
    wrong = []
    for what, text, part in CASES:
        faults, _ = check_text(text, "x.md", compiler, flags)
        if len(faults) != (part is not None) or (
                part is not None and part not in faults[0]):
            wrong.append(f"{what}: expected {part!r}: {faults}")
    report(f"guide self-test, {len(CASES)} cases", wrong)


def extract(name, path, guide):
    with open(guide, encoding="utf-8") as file:
        programs, faults = read(file.read(), os.path.basename(guide))
    if faults or name not in programs:
        report("guide", faults or [f"{guide}: no {name}"])
    with open(path, "w", encoding="utf-8") as file:
        file.write(programs[name].source())


def main():
    if sys.argv[1] == "--extract":
        extract(*sys.argv[2:])
        return
    what, compiler, *flags = sys.argv[1:]
    compiler = shlex.split(compiler)
    if what == "--self-test":
        self_test(compiler, flags)
    with open(what, encoding="utf-8") as file:
        text = file.read()
    guide = os.path.basename(what)
    faults, count = check_text(text, guide, compiler, flags)
    report(f"guide, {count} programs", faults)


if __name__ == "__main__":
    main()
