#!/usr/bin/env python3
"""What a user gets: install.py ROOT BUILD CC CXX.

Installs into an empty folder, compiles a consumer there in C and in C++ with
nothing but pkg-config, against the shared and the static library, and runs
it; the same with the program that README.md shows, and with the command line
that docs/guide.md gives for its first one, against the installation and against
the build folder. Then tries what must fail: reaching a hidden function.
"""
import glob
import os
import shlex
import subprocess
import sys
import tempfile

import csource

CONSUMER = """\
%s
#include <stdio.h>
#include <string.h>

int main(void)
{
    if (strcmp(belay_code_name(BELAY_ETIMEDOUT), "ETIMEDOUT") != 0) {
        return 1;
    }
    return puts(belay_version()) < 0;
}
"""
INTRUDER = """\
#ifdef __cplusplus
extern "C"
#endif
void *belay__memory_new(const void *allocator);
int main(void) { return belay__memory_new(0) == 0; }
"""


class Consumer:
    """Compiles and runs against what was installed below dest."""

    def __init__(self, dest, compilers):
        self.dest = dest
        self.compilers = compilers
        found = glob.glob(dest + "/**/belay.pc", recursive=True)
        self.pc = found[0] if found else None
        self.libdir = os.path.dirname(os.path.dirname(self.pc or "/x/x/x"))

    def pkg_config(self, *options):
        # The folder moved after the fact, as for a package in the making.
        prefix = "--define-variable=prefix=" + os.path.join(
            self.dest, self.prefix().lstrip("/"))
        run = subprocess.run(
            ["pkg-config", prefix, *options, self.pc],
            capture_output=True, text=True, check=True)
        return shlex.split(run.stdout)

    def prefix(self):
        with open(self.pc, encoding="utf-8") as file:
            return file.readline().strip().removeprefix("prefix=")

    def flags(self, kind):
        if kind == "shared":
            return self.pkg_config("--cflags", "--libs")
        # Belay alone is linked statically: --static would ask for the static
        # dependencies of libcurl too, which hardly a machine has.
        with open(self.pc, encoding="utf-8") as file:
            private = [line.split(":", 1)[1].split() for line in file
                       if line.startswith("Libs.private:")]
        return [os.path.join(self.libdir, "libbelay.a"),
                *self.pkg_config("--cflags"), *sum(private, []),
                *self.libs_of(self.pkg_config("--print-requires-private"))]

    def libs_of(self, requires):
        names = [name for name in requires if name[0].isalpha()]
        run = subprocess.run(
            ["pkg-config", "--libs", *names],
            capture_output=True, text=True, check=True)
        return shlex.split(run.stdout)

    def compile(self, language, kind, source, program):
        command = [self.compilers[language], "-x", language, "-Wall",
                   "-Werror", "-o", program, "-", "-x", "none",
                   *self.flags(kind)]
        return subprocess.run(
            command, input=source, capture_output=True, text=True, check=False)

    def run(self, program):
        env = {**os.environ, "LD_LIBRARY_PATH": self.libdir}
        return subprocess.run(
            program, env=env, capture_output=True, text=True, check=False)


def check_consumer(user, language, kind, names, program):
    what = f"{language} consumer, {kind} library"
    includes = "\n".join(f"#include <belay/{name}>" for name in names)
    made = user.compile(language, kind, CONSUMER % includes, program)
    if made.returncode != 0:
        return [f"{what}: does not build:\n{made.stderr}"]
    ran = user.run(program)
    if ran.returncode != 0:
        return [f"{what}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}"]
    version = user.pkg_config("--modversion")
    if ran.stdout.split() != version:
        return [f"{what}: says {ran.stdout!r}, belay.pc {version}"]
    return []


def check_readme(user, root, program):
    """The program in README.md is one that a reader will paste."""
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        source = file.read().split("```c\n", 1)[1].split("```", 1)[0]
    made = user.compile("c", "shared", source, program)
    if made.returncode != 0:
        return [f"README.md: does not build:\n{made.stderr}"]
    ran = user.run(program)
    if ran.returncode != 0 or not ran.stdout:
        return [f"README.md: exit {ran.returncode}\n{ran.stdout}{ran.stderr}"]
    return []


def check_guide(user, root, build):
    """The first program of the guide, built by the guide's own words."""
    with open(os.path.join(root, "docs/guide.md"), encoding="utf-8") as file:
        text = file.read()
    source = text.split("```c run hello.c\n", 1)[1].split("```", 1)[0]
    line = text.split("```sh\n", 1)[1].split("```", 1)[0]
    with open(os.path.join(user.dest, "hello.c"), "w",
              encoding="utf-8") as file:
        file.write(source)
    places = {
        # As if what lies below dest lay where it is going to be.
        "installed": {"PKG_CONFIG_SYSROOT_DIR": user.dest,
                      "PKG_CONFIG_PATH": os.path.dirname(user.pc)},
        "build folder": {
            "PKG_CONFIG_PATH": os.path.join(build, "meson-uninstalled")},
    }
    faults = []
    for place, env in places.items():
        what = f"docs/guide.md, {place}"
        made = subprocess.run(
            ["sh", "-ec", line], cwd=user.dest, env={**os.environ, **env},
            capture_output=True, text=True, check=False)
        if made.returncode != 0:
            faults.append(f"{what}: {line}: does not build:\n{made.stderr}")
            continue
        ran = user.run(os.path.join(user.dest, "hello"))
        if ran.returncode != 0 or not ran.stdout:
            faults.append(f"{what}: exit {ran.returncode}\n"
                          f"{ran.stdout}{ran.stderr}")
    return faults


def check_command(user):
    """The command, where it was built, runs where it was installed."""
    faults = []
    for program in glob.glob(user.dest + "/**/bin/belay", recursive=True):
        ran = user.run([program, "--version"])
        version = user.pkg_config("--modversion")[0]
        if ran.returncode != 0 or version not in ran.stdout:
            faults.append(f"belay --version: exit {ran.returncode}, "
                          f"{ran.stdout!r} {ran.stderr!r}")
    return faults


def check_install(root, build, compilers, dest):
    subprocess.run(
        ["meson", "install", "-C", build, "--no-rebuild", "--quiet",
         "--destdir", dest], check=True)
    user = Consumer(dest, compilers)
    if user.pc is None:
        return ["belay.pc was not installed"]
    installed = {os.path.basename(path) for path in glob.glob(
        dest + "/**/include/belay/*.h", recursive=True)}
    in_tree = {os.path.basename(path) for path in glob.glob(
        root + "/*/include/belay/*.h")}
    faults = [f"<belay/{name}> is not installed"
              for name in sorted(in_tree - installed)]
    program = os.path.join(dest, "consumer")
    for language in compilers:
        for kind in ("shared", "static"):
            faults += check_consumer(
                user, language, kind, sorted(installed), program)
        if user.compile(language, "shared", INTRUDER, program).returncode == 0:
            faults.append(f"{language}: belay__memory_new can be reached")
    faults += check_readme(user, root, program)
    faults += check_guide(user, root, build)
    return faults + check_command(user)


def main():
    root, build, cc, cxx = sys.argv[1:]
    compilers = {"c": cc}
    if cxx:
        compilers["c++"] = cxx
    with tempfile.TemporaryDirectory() as dest:
        faults = check_install(root, build, compilers, dest)
    csource.report("install", faults)


if __name__ == "__main__":
    main()
