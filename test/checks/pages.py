#!/usr/bin/env python3
"""The manual pages: pages.py ROOT CC, or pages.py --self-test CC.

man shows every page without a warning (it exits 0 either way).

Each public header of runtime/ and scopes/ has a page docs/man/belay_<name>.3,
which is installed and which belay.3 names. It has every function that the
header exports, with the same types, and every code in its contracts. What the
page calls by name exists, and its example compiles.
"""
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

import csource
import symbols

MODULES = ("runtime", "scopes")
UMBRELLA = "belay.h"
PAGES = os.path.join("docs", "man")
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
            "-Wno-unused-variable", "-Wno-unused-const-variable"]


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def section(page, name):
    match = re.search(r"^\.Sh %s\n(.*?)(?=^\.Sh |\Z)" % name, page, re.M | re.S)
    return match.group(1) if match else ""


def squeeze(declaration):
    text = re.sub(r"BELAY_PRINTF\([^)]*\)|__attribute__\(\(.*?\)\)", "",
                  declaration)
    text = re.sub(r"\bBELAY_TOKEN\b", "belay_next", text)  # with an attribute
    return re.sub(r"\s*([*(),])\s*", r"\1", " ".join(text.split()))


def prototypes(page):
    """{name: prototype} of the SYNOPSIS."""
    found = {}
    kind = ""
    for line in section(page, "SYNOPSIS").splitlines():
        if line.startswith(".Ft "):
            kind = line[4:]
        elif line.startswith(".Fn "):
            name, *arguments = shlex.split(line[4:])
            found[name] = squeeze(f"{kind} {name}({','.join(arguments)})")
            kind = ""
    return found


def check_functions(name, header, page):
    declared = {
        function: squeeze(declaration)
        for function, (declaration, _) in symbols.declarations(header).items()
        if not function.startswith("belay__")}
    shown = prototypes(page)
    titles = set(re.findall(r"^\.Nm (\w+)", section(page, "NAME"), re.M))
    faults = []
    for function, declaration in declared.items():
        if shown.get(function) != declaration:
            faults.append(f"{name}: the SYNOPSIS has {shown.get(function)}, "
                          f"the header {declaration}")
        elif function not in titles:
            faults.append(f"{name}: NAME lacks {function}")
    for function in shown.keys() - declared.keys():
        if not re.search(r"\b%s\b" % function, csource.blank(header, "c")):
            faults.append(f"{name}: {function} is not in the header")
    return faults


def check_codes(name, header, page):
    told = set(re.findall(r"\bEr (BELAY_E\w+)", section(page, "ERRORS")))
    return [f"{name}: ERRORS lacks {code}" for code in sorted(
        {code for _, comment in symbols.declarations(header).values()
         for errors in re.findall(r"Errors:(.*?)Threads:", comment, re.S)
         for code in re.findall(r"\bBELAY_E[A-Z]+\b", errors)} - told)]


def check_example(name, page, root, compiler):
    match = re.search(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", section(page, "EXAMPLES"),
                      re.M | re.S)
    if match is None:
        return [f"{name}: no example"]
    includes = ["belay/belay.h", "stdio.h"]
    includes += re.findall(r"^\.In (\S+)", section(page, "SYNOPSIS"), re.M)
    source = "".join(f"#include <{include}>\n" for include in includes)
    source += match.group(1).replace("\\&", "").replace("\\e", "\\")
    run = subprocess.run(
        [compiler, "-x", "c", "-std=gnu11", *WARNINGS, "-fsyntax-only", "-",
         *("-I" + folder
           for folder in glob.glob(os.path.join(root, "*/include")))],
        input=source, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        return [f"{name}: the example does not compile:\n{run.stderr}"]
    return []


def check_references(name, page, pages):
    return [f"{name}: there is no {target}({number})"
            for target, number in re.findall(
                r"^\.Xr (belay\S*) (\d)", page, re.M)
            if f"{target}.{number}" not in pages]


def check_warnings(root):
    faults = []
    for path in sorted(glob.glob(os.path.join(root, PAGES, "*.[0-9]"))):
        run = subprocess.run(
            ["man", "--warnings", "-l", path],
            env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            check=False)
        if run.stderr:
            faults.append(f"{os.path.basename(path)}: {run.stderr}")
    return faults


def check_pages(root, compiler):
    pages = {os.path.basename(path): read(path)
             for path in glob.glob(os.path.join(root, PAGES, "*.[0-9]"))}
    installed = read(root, PAGES, "meson.build")
    overview = pages.get("belay.3", "")
    faults = check_warnings(root) if shutil.which("man") else []
    for path in sorted(path for module in MODULES for path in glob.glob(
            os.path.join(root, module, "include/belay/*.h"))):
        title = "belay_" + os.path.basename(path)[:-2]
        if os.path.basename(path) == UMBRELLA:
            continue
        if f"{title}.3" not in pages:
            faults.append(f"{path}: has no page {title}.3")
            continue
        page = pages[f"{title}.3"]
        header = read(path)
        faults += check_functions(title, header, page)
        faults += check_codes(title, header, page)
        if f".Xr {title} 3" not in overview:
            faults.append(f"belay.3: does not name {title}(3)")
    for name, page in sorted(pages.items()):
        faults += check_references(name, page, pages)
        if name.endswith(".3"):
            faults += check_example(name, page, root, compiler)
            if f"'{name}'" not in installed:
                faults.append(f"{name}: is not installed")
    return faults


HEADER = """\
struct belay_x;
/* Not this: belay_none(void). */
#define belay_twice(x) ((x) + (x))
/**
 * belay_x_open - open it
 *
 * Errors:  BELAY_EIO  it cannot be
 * Threads: any. Since: 0.1.
 */
BELAY_API int belay_x_open(
    struct belay_x *x, void (*fn)(void *arg)) BELAY_PRINTF(1, 2);
BELAY_API void belay__for_macros(void);
"""
PAGE = """\
.Dd November 27, 2026
.Dt BELAY_X 3
.Os
.Sh NAME
.Nm belay_x_open
.Nd x
.Sh SYNOPSIS
.In belay/x.h
.Fn belay_twice x
.Ft int
.Fn belay_x_open "struct belay_x *x" "void (*fn)(void *arg)"
.Sh ERRORS
.Bl -tag -width Ds
.It Er BELAY_EIO
.El
.Sh EXAMPLES
.Bd -literal
static const char *text = "\\en";
.Ed
.Sh SEE ALSO
.Xr belay 3
"""
GOOD = {
    "scopes/include/belay/x.h": HEADER,
    "scopes/include/belay/belay.h": 
        "#define BELAY_API\n#define BELAY_PRINTF(a, b)\n",
    "docs/man/belay_x.3": PAGE,
    "docs/man/belay.3": ".Dd November 27, 2026\n.Dt BELAY 3\n.Os\n"
        ".Sh NAME\n.Nm belay\n.Nd x\n"
        ".Sh EXAMPLES\n.Bd -literal\nint i;\n.Ed\n"
        ".Sh SEE ALSO\n.Xr belay_x 3\n",
    "docs/man/meson.build": "install_man('belay.3', 'belay_x.3')",
}
# What is changed in a good tree, and the one fault that has to be found.
BAD = [
    ("belay_x.3", ".Ft int\n", ".Ft void\n", "the SYNOPSIS has void"),
    ("belay_x.3", '"struct belay_x *x"', '"struct belay_x *y"', "belay_x*y"),
    ("belay_x.3", ".Fn belay_x_open", ".\\\" belay_x_open",
     "the SYNOPSIS has None"),
    ("belay_x.3", ".Nm belay_x_open", ".Nm belay_x", "NAME lacks"),
    ("belay_x.3", "Fn belay_twice x", "Fn belay_none", "belay_none is not in"),
    ("belay_x.3", "Er BELAY_EIO", "Er BELAY_EINVAL", "lacks BELAY_EIO"),
    ("belay_x.3", "static const", "static konst", "does not compile"),
    ("belay_x.3", ".Bd -literal", ".Bd -filled", "no example"),
    ("belay_x.3", "Xr belay 3", "Xr belay_y 3", "there is no belay_y(3)"),
    ("belay.3", "Xr belay_x 3", "Xr belay 3", "does not name belay_x"),
    ("meson.build", "'belay_x.3'", "", "is not installed"),
]
BAD_FOR_MAN = [
    ("belay_x.3", ".Sh ERRORS", ".Zz\n.Sh ERRORS", "belay_x.3: "),
]


def check_written(tree, compiler):
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        return check_pages(root, compiler)


def self_test(compiler):
    cases = [("a good tree", check_written(GOOD, compiler), None)]
    bad = BAD + (BAD_FOR_MAN if shutil.which("man") else [])
    for name, old, new, part in bad:
        path = os.path.join(PAGES, name)
        assert old in GOOD[path], (name, old)
        spoilt = {**GOOD, path: GOOD[path].replace(old, new)}
        cases.append((new, check_written(spoilt, compiler), part))
    csource.expect("pages", cases)


def main():
    where, compiler = sys.argv[1:]
    if where == "--self-test":
        self_test(compiler)
    csource.report("pages", check_pages(where, compiler))


if __name__ == "__main__":
    main()
