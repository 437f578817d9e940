#!/usr/bin/env python3
"""Each public header alone: headers.py ROOT CC CXX, or with --self-test.

A header must compile as the only include and when included twice, as strict
C11 and as C++17, and must not bring a foreign library along. <belay/uv.h> is
the bridge to libuv and may show that.
"""
import glob
import os
import subprocess
import sys
import tempfile

import csource

FOREIGN = {
    "uv": ["UV_H", "UV_VERSION_MAJOR"],
    "curl": ["CURLINC_CURL_H", "__CURL_CURL_H", "LIBCURL_VERSION_NUM"],
    "cJSON": ["cJSON__h", "CJSON_VERSION_MAJOR"],
    "http_parser": ["http_parser_h", "HTTP_PARSER_VERSION_MAJOR"],
}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Wshadow",
            "-Werror"]
SKIPPED = 77


def probe(name):
    lines = [f"#include <belay/{name}>"] * 2
    for library, macros in FOREIGN.items():
        if (name, library) == ("uv.h", "uv"):
            continue
        defined = " || ".join(f"defined({macro})" for macro in macros)
        lines += [f"#if {defined}", f"#error {library} came along", "#endif"]
    return "\n".join(lines) + "\nint main(void) { return 0; }\n"


def standard(name, language):
    if language == "c++":
        return "-std=c++17"
    return "-std=gnu11" if name == "uv.h" else "-std=c11"  # uv.h needs POSIX


def check_headers(root, compilers):
    folders = glob.glob(os.path.join(root, "*/include"))
    headers = sorted(
        path for folder in folders
        for path in glob.glob(os.path.join(folder, "belay/*.h")))
    faults = [] if headers else ["no public headers"]
    for path in headers:
        name = os.path.basename(path)
        for language, compiler in compilers.items():
            command = [compiler, "-x", language, standard(name, language),
                       *WARNINGS, *("-I" + folder for folder in folders),
                       "-fsyntax-only", "-"]
            run = subprocess.run(
                command, input=probe(name), capture_output=True, text=True,
                check=False)
            if run.returncode != 0:
                faults.append(f"{path} as {language}:\n{run.stderr}")
    return faults


BODY = "#ifndef X_H\n#define X_H\n%s\n#endif\n"
CASES = [
    ("good", BODY % "#include <stddef.h>\nsize_t f(void);", 0, ""),
    ("not self-contained", BODY % "size_t f(void);", 2, "size_t"),
    ("no guard", "struct x { int i; };", 2, "redefinition"),
    ("not C++", BODY % "int f(int class);", 1, "c++"),
    ("not ISO C", BODY % "struct x { int n; struct {}; };", 2, ""),
    ("brings libuv", BODY % "#include <uv.h>\n", 2, "uv came along"),
    ("brings cJSON", BODY % "#include <cjson/cJSON.h>\n", 2,
     "cJSON came along"),
]


def self_test(compilers):
    cases = []
    for what, text, count, part in CASES:
        with tempfile.TemporaryDirectory() as root:
            folder = os.path.join(root, "module/include/belay")
            os.makedirs(folder)
            path = os.path.join(folder, "x.h")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            faults = check_headers(root, compilers)
        if len(faults) != count or (faults and part not in "".join(faults)):
            cases.append(f"{what}: expected {count} with {part!r}: {faults}")
    csource.report(f"headers self-test, {len(CASES)} cases", cases)


def main():
    where, cc, cxx = sys.argv[1:]
    compilers = {"c": cc, "c++": cxx}
    if not cxx:
        print("no C++ compiler: skipped")
        sys.exit(SKIPPED)
    if where == "--self-test":
        self_test(compilers)
    csource.report("headers", check_headers(where, compilers))


if __name__ == "__main__":
    main()
