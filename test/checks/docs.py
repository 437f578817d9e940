#!/usr/bin/env python3
"""What the documents name is there: docs.py ROOT, or docs.py --self-test.

In every .md file of the root and of docs/: the target of a relative link, and
a path in backticks that begins with a folder of the tree. Names in backticks
that follow such a path in brackets, `path` (`name`, `name`), occur in that
file.
"""
import glob
import os
import re
import sys
import tempfile

import csource

FOLDERS = ("runtime", "scopes", "gpu", "llm", "cli", "test", "examples",
           "bench", "docs", "tools")
PATH = r"`((?:%s)/[\w./-]*[\w/-])`" % "|".join(FOLDERS)
NAMES = r"(?:\s+\(((?:`\w+`(?:,\s+)?)+)\))?"


def without_code(text):
    """Fenced blocks made blank; lines keep their numbers."""
    return re.sub(r"^```.*?^```", lambda m: "\n" * m.group().count("\n"), text,
                  flags=re.M | re.S)


def check_links(root, path, text):
    for match in re.finditer(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        target = os.path.join(root, os.path.dirname(path), match.group(1))
        if not os.path.exists(target):
            yield match.start(), f"there is no {match.group(1)}"


def check_paths(root, text):
    for match in re.finditer(PATH + NAMES, text):
        full = os.path.join(root, match.group(1))
        if not os.path.exists(full):
            yield match.start(), f"there is no {match.group(1)}"
            continue
        for name in re.findall(r"\w+", match.group(2) or ""):
            with open(full, encoding="utf-8") as file:
                if not re.search(rf"\b{name}\b", file.read()):
                    yield match.start(), f"{match.group(1)} has no {name}"


def check_docs(root):
    faults = []
    for full in sorted(glob.glob(os.path.join(root, "*.md")) + glob.glob(
            os.path.join(root, "docs", "**", "*.md"), recursive=True)):
        path = os.path.relpath(full, root)
        with open(full, encoding="utf-8") as file:
            text = without_code(file.read())
        for position, what in (*check_links(root, path, text),
                               *check_paths(root, text)):
            faults.append(f"{path}:{csource.line_of(text, position)}: {what}")
    return faults


GOOD = {
    "runtime/a.c": "int belay_a(void);\nint belay_b(void);\n",
    "docs/design/x.md": "See [a](../../runtime/a.c), [b](https://b.example), "
        "[c](#c), `runtime/` and `test_a`.\n```\n`runtime/none.c`\n```\n",
    "README.md": "`runtime/a.c`\n(`belay_a`,\n`belay_b`) and (`none`)\n",
}
BAD = [
    ("README.md", "[a](runtime/none.c)\n", "README.md:1: there is no"),
    ("docs/x.md", "\n[a](runtime/a.c)\n", "docs/x.md:2: there is no"),
    ("README.md", "`runtime/none.c`\n", "there is no runtime/none.c"),
    ("README.md", "`runtime/a.c` (`belay_a`, `belay_c`)\n",
     "runtime/a.c has no belay_c"),
]


def check_written(tree):
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        return check_docs(root)


def self_test():
    cases = [("good documents", check_written(GOOD), None)]
    for path, text, part in BAD:
        cases.append((text, check_written({**GOOD, path: text}), part))
    csource.expect("docs", cases)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
    csource.report("docs", check_docs(sys.argv[1]))
