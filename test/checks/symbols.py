#!/usr/bin/env python3
"""What the shared library shows: symbols.py [--update] ROOT LIBRARY, or
symbols.py --self-test.

The exported symbols are those of symbols.txt (--update writes it), each is
declared in a public header, and each function has its contract there:

    /** name - one line ... Owner: Errors: Threads: Since: */

Owner may be left out where no pointer but belay_task * is passed. Each
parameter has its line between the first one and Owner, but for `task`, the
running task. One comment may stand for several functions that follow it if its
first line names them. A belay__ name that public macros expand to needs a
declaration only.
"""
import glob
import os
import re
import subprocess
import sys

import csource

LIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "symbols.txt")


def exported(library):
    """{name: is it a function} of the dynamic symbols that are defined."""
    run = subprocess.run(
        ["nm", "-D", "--defined-only", library],
        capture_output=True, text=True, check=True)
    symbols = {}
    for line in run.stdout.splitlines():
        _, kind, name = line.split()
        if kind != "A":  # the version node itself
            symbols[name.split("@")[0]] = kind in "TtWi"
    return symbols


def read_list():
    with open(LIST, encoding="utf-8") as file:
        return {line.strip() for line in file if line.strip()}


def check_list(symbols, listed):
    faults = [f"{name}: exported, but not in symbols.txt"
              for name in sorted(set(symbols) - listed)]
    faults += [f"{name}: in symbols.txt, but not exported"
               for name in sorted(listed - set(symbols))]
    return faults


def declarations(text):
    """{name: (declaration, the comment that names it or "")} of what a
    header declares with BELAY_API."""
    code = csource.blank(text, "c")
    found = {}
    for match in re.finditer(r"\bBELAY_API\b([^;{]*);", code):
        declaration = " ".join(match.group(1).split())
        name = re.search(r"(\w+)\s*(?:\(|\[|$)", declaration)
        if name is None:
            continue
        comment = ""
        for block in re.finditer(r"/\*\*(.*?)\*/", text[:match.start()], re.S):
            comment = block.group(1)
        first = re.sub(r"\s\*\s", " ", comment.split(" - ")[0])
        if name.group(1) not in re.findall(r"\w+", first):
            comment = ""
        found[name.group(1)] = (declaration, comment)
    return found


def parameters(declaration):
    """Their names, without that of the running task."""
    inside = declaration[declaration.find("(") + 1:]
    inside = re.sub(r"\bBELAY_PRINTF.*| \.\.\.", "", inside)
    inside = re.sub(r"\(\*(\w+)\)\s*\([^)]*\)", r" \1", inside)
    for parameter in inside.split(","):
        words = re.findall(r"\w+", parameter)
        if words and words[-2:] != ["belay_task", "task"] and (
                words != ["void"]):
            yield words[-1]


def undescribed(declaration, comment):
    for parameter in parameters(declaration):
        if not re.search(rf"^ \*   (?:\w+, )*{parameter}\b",
                         comment.split("Owner:")[0], re.M):
            yield parameter


def check_contract(name, declaration, comment):
    if not comment:
        return [f"{name}: no /** {name} - ... */ before its declaration"]
    tags = ["Errors", "Threads", "Since"]
    if "*" in re.sub(r"\bbelay_task \*", "", declaration):
        tags.append("Owner")
    faults = [f"{name}: its comment lacks {tag}:" for tag in tags
              if not re.search(rf"\b{tag}:", comment)]
    faults += [f"{name}: its comment says nothing of {parameter}"
               for parameter in undescribed(declaration, comment)]
    return faults


def check_headers(symbols, texts):
    declared = {}
    for text in texts:
        declared.update(declarations(text))
    faults = []
    for name, is_function in sorted(symbols.items()):
        if name not in declared:
            faults.append(f"{name}: exported, but in no public header")
        elif is_function and not name.startswith("belay__"):
            faults += check_contract(name, *declared[name])
    faults += [f"{name}: declared with BELAY_API, but not exported"
               for name in sorted(set(declared) - set(symbols))]
    return faults


def self_test():
    tags = " * Errors: none.\n * Threads: any.\n * Since: 0.1.\n"
    plain = f"/** belay_f - does it\n{tags} */\nBELAY_API int belay_f(void);\n"
    owner = plain.replace("Errors", "Owner: x.\n * Errors")
    said = owner.replace("does it", "does it\n *\n *   p  not NULL\n *")
    one = {"belay_f": True}
    two = {"belay_f": True, "belay_g": True}
    both = (f"/** belay_f, belay_g - do it\n{tags} */\n"
            "BELAY_API int belay_f(void);\nBELAY_API int belay_g(void);\n")
    cases = [
        ("good", check_headers(one, [plain]), None),
        ("two in one", check_headers(two, [both]), None),
        ("data", check_headers(
            {"belay_d": False}, ["BELAY_API extern const int belay_d;"]), None),
        ("a task is nobody's", check_headers(
            one, [plain.replace("void", "belay_task *task")]), None),
        ("pointer with owner", check_headers(
            one, [said.replace("void", "char *p")]), None),
        ("a hook and its argument", check_headers(
            one, [said.replace("p ", "p, q ").replace(
                "void", "void (*p)(int a, char *b), void *q")]), None),
        ("nothing of a parameter", check_headers(
            one, [owner.replace("void", "int i")]), "says nothing of i"),
        ("nothing of a hook", check_headers(
            one, [said.replace("void", "void (*q)(void *p), char *p")]),
            "says nothing of q"),
        ("too late", check_headers(
            one, [owner.replace("Since", "\n *   i  any\n *Since").replace(
                "void", "int i")]), "says nothing of i"),
        ("pointer without", check_headers(
            one, [said.replace("Owner", "O").replace("void", "char *p")]),
            "lacks Owner"),
        ("returned pointer", check_headers(
            one, [plain.replace("int", "char *")]), "lacks Owner"),
        ("no Threads", check_headers(
            one, [plain.replace("Threads", "T")]), "lacks Threads"),
        ("no Errors", check_headers(
            one, [plain.replace("Errors", "E")]), "lacks Errors"),
        ("no Since", check_headers(
            one, [plain.replace("Since", "S")]), "lacks Since"),
        ("another's comment", check_headers(
            two, [plain + "BELAY_API int belay_g(void);"]), "no /** belay_g"),
        ("behind a macro", check_headers(
            {"belay__m": True}, ["BELAY_API void belay__m(int line);"]), None),
        ("not declared", check_headers(two, [plain]), "no public header"),
        ("not exported", check_headers({}, [plain]), "but not exported"),
        ("not listed", check_list(two, {"belay_f"}), "not in symbols.txt"),
        ("only listed", check_list(one, set(two)), "but not exported"),
    ]
    csource.expect("symbols", cases)


def main():
    args = sys.argv[1:]
    if args == ["--self-test"]:
        self_test()
    update = args[0] == "--update"
    root, library = args[-2:]
    symbols = exported(library)
    if update:
        with open(LIST, "w", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in sorted(symbols))
    texts = []
    for path in glob.glob(os.path.join(root, "*/include/belay/*.h")):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    csource.report("symbols",
        check_list(symbols, read_list()) + check_headers(symbols, texts))


if __name__ == "__main__":
    main()
