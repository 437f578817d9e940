#!/usr/bin/env python3
"""The rules of the source tree: tree.py ROOT, or tree.py --self-test.

An include never points upwards (cli -> llm, gpu -> scopes -> runtime); names
are whole paths; a file's own header comes first; nothing uses a banned
function; every source is listed in a meson.build; an example is short; blocks
are at most four deep in a function.
"""
import os
import re
import sys
import tempfile

import csource

RANK = {"runtime": 0, "scopes": 1, "gpu": 2, "llm": 2, "cli": 3}
OUTSIDE = ("test", "examples", "bench")
BANNED = re.compile(
    r"\b(strcpy|strncpy|strcat|strncat|sprintf|vsprintf|strtok|atoi|atol|gets)"
    r"\s*\(")
EXAMPLE_MAX_LINES = 79
DEEPEST = 4  # blocks in blocks; three is the rule, the fourth has to earn it
UMBRELLA = "belay.h"  # includes every public header, so nobody below may


def files_below(root):
    for top in (*RANK, *OUTSIDE):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def module_of(path):
    return path.split("/")[0]


def is_public(path):
    return "/include/belay/" in path


def allowed(module, target):
    """May a file of this module include one of that?"""
    if module not in RANK or module == target:
        return True
    return RANK[target] < RANK[module]


def check_include(path, bracket, name, public, paths):
    module = module_of(path)
    if bracket == "<":
        if not name.startswith("belay/"):
            return None
        name = name[len("belay/"):]
        if name not in public:
            return f"<belay/{name}> does not exist"
        if name == UMBRELLA and module in RANK:
            return "the umbrella header is for users only"
        target = module_of(public[name])
    else:
        if is_public(path):
            return f'"{name}": a public header includes only <belay/...>'
        if module == "examples":
            return f'"{name}": an example sees public headers only'
        if name not in paths:
            return f'"{name}" is not a path from the root'
        if is_public(name):
            return f'"{name}": write <belay/{os.path.basename(name)}>'
        target = module_of(name)
        if target in OUTSIDE and module in RANK:
            return f'"{name}" is not part of the library'
    if target in RANK and not allowed(module, target):
        return f"{module} includes {name} of {target}: points upwards"
    return None


def check_own_header(path, includes, public, paths):
    own = []
    if path[:-2] + ".h" in paths:
        own.append(('"', path[:-2] + ".h"))
    stem = os.path.basename(path)[:-2] + ".h"
    if stem in public and module_of(public[stem]) == module_of(path):
        own.append(("<", "belay/" + stem))
    if own and (not includes or includes[0] not in own):
        return f"own header {own[0][1]} does not come first"
    return None


def is_listed(path, root):
    """Is a .c file named in a meson.build at or above its folder?"""
    folder = os.path.dirname(path)
    while folder:
        build = os.path.join(root, folder, "meson.build")
        if os.path.exists(build):
            with open(build, encoding="utf-8") as file:
                text = file.read()
            name = os.path.relpath(path, folder)
            stem = re.sub(r"^(.*/)?(test_)?|\.c$", "", name)
            return f"'{name}'" in text or f"'{stem}'" in text
        folder = os.path.dirname(folder)
    return False


BLOCK = re.compile(
    r"\b(?P<word>if|else|for|while|do|switch|BELAY_WITH)\b"
    r"|(?P<mark>[{}();])")


def deepest(code):
    """How deep blocks are in blocks, and where; initialisers do not count.
    code is without comments and strings."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", code, flags=re.M)
    stack, parens, opens, worst = [], 0, False, (0, 0)
    for match in BLOCK.finditer(code):
        mark = match.group("mark")
        if match.group("word"):
            opens = True
        elif mark in "()":
            parens += 1 if mark == "(" else -1
        elif mark == "{":
            stack.append(opens and parens == 0)
            opens = opens and parens > 0
            worst = max(worst, (sum(stack), -match.start()))
        elif mark == "}":
            if stack:
                stack.pop()
        elif parens == 0:
            opens = False
    return worst[0], -worst[1]


def check_file(root, path, public, paths):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        text = file.read()
    faults = []
    code = csource.blank(text, "c")
    includes = []
    for match in csource.INCLUDE.finditer(code):
        bracket, name = match.groups()
        includes.append((bracket, name))
        fault = check_include(path, bracket, name, public, paths)
        if fault:
            line = csource.line_of(text, match.start())
            faults.append(f"{path}:{line}: {fault}")
    if path.endswith(".c") and module_of(path) in RANK:
        fault = check_own_header(path, includes, public, paths)
        if fault:
            faults.append(f"{path}: {fault}")
    if path.endswith(".c") and not is_listed(path, root):
        faults.append(f"{path}: in no meson.build")
    if module_of(path) == "examples" and text.count("\n") > EXAMPLE_MAX_LINES:
        faults.append(f"{path}: longer than {EXAMPLE_MAX_LINES} lines")
    for match in BANNED.finditer(csource.blank(text, "cs")):
        line = csource.line_of(text, match.start())
        faults.append(f"{path}:{line}: {match.group(1)} is banned")
    if module_of(path) in RANK:
        depth, place = deepest(csource.blank(text, "cs"))
        if depth > DEEPEST:
            faults.append(f"{path}:{csource.line_of(text, place)}: blocks are "
                          f"{depth} deep, more than {DEEPEST}")
    position = csource.has_line_comment(text)
    if position >= 0:
        line = csource.line_of(text, position)
        faults.append(f"{path}:{line}: // marks what must not be committed")
    return faults


def check_tree(root):
    paths = set(files_below(root))
    public = {os.path.basename(p): p for p in paths if is_public(p)}
    faults = []
    for path in sorted(paths):
        faults += check_file(root, path, public, paths)
    return faults


GOOD = {
    "runtime/include/belay/task.h": "#include <stddef.h>\n",
    "runtime/task.h": "#include <belay/task.h>\n",
    "runtime/task.c": '#include "runtime/task.h"\n#include <uv.h>\n'
        'static const char *s = "// atoi(";\n',
    "runtime/meson.build": "files('task.c')",
    "scopes/include/belay/group.h": "#include <belay/task.h>\n",
    "llm/include/belay/llm.h": "#include <belay/group.h>\n",
    "llm/include/belay/belay.h":
        "#include <belay/llm.h>\n#include <belay/task.h>\n",
    "examples/one.c": "#include <belay/belay.h>\n",
    "examples/meson.build": "foreach n : ['one']",
    "test/unit/test_task.c": '#include "runtime/task.h"\n',
    "test/meson.build": "foreach n : ['task']",
}
BAD = [
    ("upwards, public", "runtime/task.h", "#include <belay/group.h>\n",
     "points upwards"),
    ("upwards, private", "runtime/task.h", '#include "cli/x.h"\n',
     "points upwards"),
    ("sideways", "gpu/pool.h", "#include <belay/llm.h>\n", "points upwards"),
    ("into the tests", "cli/y.h", '#include "test/t.h"\n', "not part of"),
    ("umbrella inside", "cli/y.h", "#include <belay/belay.h>\n", "umbrella"),
    ("missing header", "cli/y.h", "#include <belay/none.h>\n",
     "does not exist"),
    ("relative path", "runtime/y.h", '#include "task.h"\n', "from the root"),
    ("private from public", "llm/include/belay/llm.h",
     '#include "runtime/task.h"\n', "only <belay/...>"),
    ("private in example", "examples/one.c", '#include "runtime/task.h"\n',
     "public headers only"),
    ("own header second", "runtime/task.c",
     '#include <uv.h>\n#include "runtime/task.h"\n', "does not come first"),
    ("banned", "runtime/task.h", "int f(void) { return atoi(x); }\n",
     "atoi is banned"),
    ("long example", "examples/one.c", "\n" * 80, "longer than 79 lines"),
    ("line comment", "runtime/task.h", "int i; // later\n",
     "must not be committed"),
    ("deep blocks", "runtime/task.h",
     "static int a[] = {1};\nstatic inline void f(void)\n{\n"
     "if (a) { for (;;) { while (b) { do { switch (c) { } } while (0); } } }"
     "\n}\n", ":4: blocks are 5 deep"),
    ("unlisted source", "runtime/other.c", "\n", "in no meson.build"),
    ("unlisted test", "test/unit/test_other.c", "\n", "in no meson.build"),
]


def check_written(tree):
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        return check_tree(root)


def self_test():
    around = {"cli/x.h": "", "test/t.h": ""}
    cases = [("a good tree", check_written(GOOD), None)]
    for what, path, text, part in BAD:
        faults = check_written({**GOOD, **around, path: text})
        cases.append((what, faults, part))
    csource.expect("tree", cases)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
    csource.report("tree", check_tree(sys.argv[1]))
