#!/usr/bin/env python3
"""The command and its pages: options.py ROOT BELAY [--self-test].

What the getopt table of a word has, its --help, its man page and the
completions for bash, zsh and fish have too: the same names, the same letters,
a value or none. Where a value is one of a few words, the completions offer
those that the program asks for. Shells that are here read their file
without a warning. The page of belay batch has every code that
an error line may have.
"""
import os
import re
import shutil
import subprocess
import sys

WORDS = {"batch": "batch_options.c", "chat": "chat_options.c",
         "doctor": "cmd_doctor.c", "log": "cmd_log.c", "sim": "sim_options.c",
         "gpu demo": "gpu_demo_options.c", "gpu list": "gpu_list.c"}
SHELLS = {"bash": "belay.bash", "zsh": "_belay", "fish": "belay.fish"}
NAME = "[a-z0-9][a-z0-9-]*"
NOT_YET = ("url_mismatch",)  # nothing asks for one URL in all lines


class Options(dict):
    """name -> (letter or None, whether it takes a value)"""

    def put(self, name, letter, value):
        self[name] = (letter, bool(value))


def of_table(text, _):
    """{"output", required_argument, NULL, 'o'},"""
    options = Options()
    for name, kind, letter in re.findall(
            r'\{"(%s)", (\w+)_argument, NULL, (?:\'(\w)\'|\w+)\}' % NAME, text):
        options.put(name, letter or None, kind == "required")
    short = re.search(r'getopt_long\(argc, argv, "([^"]*)"', text).group(1)
    for letter, colon in re.findall(r"(\w)(:?)", short):
        named = [n for n, o in options.items() if o == (letter, colon == ":")]
        if not named:
            options.put(f"-{letter} in getopt_long's letters", letter, colon)
    return options


def of_help(text, _):
    """  -o, --output FILE      where replies go"""
    options = Options()
    for letter, name, value in re.findall(
            r"^ +(?:-(\w), )?--(%s)((?: [A-Z]\S*)?)(?: |$)" % NAME, text, re.M):
        options.put(name, letter or None, value)
    return options


def of_man(text, word):
    """.It Fl o , Fl -output Ar file; of two words the second has a .Ss"""
    options = Options()
    if " " in word:
        text = re.search(r"^\.Ss %s$(.*?)^\.S[hs] " % word.split()[1], text,
                         re.M | re.S).group(1)
    for line in re.findall(r"^\.It (Fl .*)$", text, re.M):
        letter = None
        for flag, value in re.findall(r"Fl (\S+)((?: Ar)?)", line):
            if flag.startswith("-"):
                options.put(flag[1:], letter, value)
                letter = None
            else:
                letter = flag
    return options


def function_of(text, word):
    return re.search(
        r"^_belay_%s\(\)\n\{\n(.*?)^\}" % word.replace(" ", "_"), text, re.M | re.S).group(1)


def of_bash(text, word):
    """The patterns of the case take a value; the last list has them all."""
    body = function_of(text, word)
    arms, last = body.split("\n    *)\n")
    values = set(re.findall(r"-\S+", " ".join(
        re.findall(r"^    (-[^)]*)\)", arms, re.M))))
    offered = re.search(r"'(-[^']*)'", last).group(1).split()
    options = Options()
    letter = None
    for flag in offered:
        if flag.startswith("--"):
            options.put(flag[2:], letter, flag in values)
            if letter and (f"-{letter}" in values) != (flag in values):
                options.put(f"-{letter} for --{flag[2:]}", letter, None)
            letter = None
        else:
            letter = flag[1:]
    return options


def of_zsh(text, word):
    """'(-o --output)'{-o,--output}'[where replies go]:file:_files'"""
    options = Options()
    for letter, name, value in re.findall(
            r"(?:\{-(\w),)?--(%s)\}?'?\[[^]]*\](:?)" % NAME,
            function_of(text, word)):
        options.put(name, letter or None, value)
    return options


def of_fish(text, word):
    """complete -c belay -n '… batch' -s o -l output -r -F -d '…'"""
    options = Options()
    for letter, name, rest in re.findall(
            r"^complete -c belay -n '%s'"
            r"(?: -s (\w))? -l (%s)(.*)$" % ("; and ".join(
                f"__fish_seen_subcommand_from {part}"
                for part in word.split()), NAME), text, re.M):
        options.put(name, letter or None, re.search(" -[rx] ", rest))
    return options


def choices_of(zsh, word):
    """The words that zsh offers for a value."""
    return {name: words.split() for name, words in re.findall(
        r"--(%s)\[[^]]*\]:[^:]*:\(([a-z ]+)\)" % NAME,
        function_of(zsh, word))}


READERS = {"help": of_help, "man": of_man, "bash": of_bash, "zsh": of_zsh,
           "fish": of_fish}


def compare(word, texts):
    table = of_table(texts["table"], word)
    faults = []
    for source, reader in READERS.items():
        found = reader(texts[source], word)
        for name in sorted({**table, **found}):
            if found.get(name) != table.get(name):
                faults.append(
                    f"belay {word}: --{name}: {source} has {found.get(name)}, "
                    f"the program {table.get(name)}")
    for name, words in choices_of(texts["zsh"], word).items():
        for shell, form in (("bash", r"--%s\).*'%s'"),
                            ("fish", r"-l %s -x -a '%s'")):
            if not re.search(form % (name, " ".join(words)), texts[shell]):
                faults.append(f"belay {word}: --{name}: {shell} and zsh offer "
                              "other words")
    return faults


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def texts_of(root, belay, word):
    texts = {shell: read(root, "cli", "completions", name)
             for shell, name in SHELLS.items()}
    texts["table"] = read(root, "cli", WORDS[word])
    texts["man"] = read(root, "docs", "man", f"belay-{word.split()[0]}.1")
    texts["help"] = subprocess.run(
        [belay, *word.split(), "--help"], capture_output=True, text=True,
        check=True).stdout
    return texts


def check_choices(belay, word, zsh):
    faults = []
    for name, words in choices_of(zsh, word).items():
        for value in words:
            # The option comes before what makes the command line wrong.
            run = subprocess.run(
                [belay, *word.split(), f"--{name}", value,
                 "--no-such-option"],
                capture_output=True, text=True, check=False)
            if f"--{name}" in run.stderr:
                faults.append(f"belay {word}: --{name} {value}: {run.stderr}")
        run = subprocess.run([belay, *word.split(), f"--{name}", "?"],
                             capture_output=True, text=True, check=False)
        told = run.stderr.partition("; one of ")[2].strip()
        if told and sorted(told.split(", ")) != sorted(words):
            faults.append(f"belay {word}: --{name}: the program takes {told}")
    return faults


def check_syntax(root):
    faults = []
    for shell, name in SHELLS.items():
        if shutil.which(shell):
            run = subprocess.run(
                [shell, "-n", os.path.join(root, "cli", "completions", name)],
                capture_output=True, text=True, check=False)
            if run.returncode != 0 or run.stderr:
                faults.append(run.stderr)
    return faults


def check_codes(codes, page):
    """X(TIMEOUT, "timeout") in the one, .Li ... timeout in the other."""
    told = set(re.findall(r"\b[a-z_]+\b", " ".join(
        re.findall(r"^\.Li (.*)$", page, re.M))))
    return [f"belay-batch.1: no word of {code}"
            for code in re.findall(r'X\(\w+, "(\w+)"\)', codes)
            if code not in told and code not in NOT_YET]


def self_test(root, belay):
    """Each source without one option, and with one too many."""
    texts = texts_of(root, belay, "batch")
    faults = []
    for source, text in texts.items():
        for old in ("window", "force"):
            spoilt = {**texts, source: re.sub(rf"\b{old}\b", old + "x", text)}
            if not compare("batch", spoilt):
                faults.append(f"--{old} renamed in {source} is not seen")
    for source, old, new in (
            ("fish", "-s o -l output", "-l output"),
            ("fish", "-l seed -x", "-l seed"),
            ("bash", "        | --seed)", "        | --speed)"),
            ("help", "--seed N", "--seed"),
            ("man", "Fl -seed Ar n", "Fl -seed"),
            ("man", "Fl q , Fl -quiet", "Fl -quiet"),
            ("zsh", "[longest reply]:size:", "[longest reply]"),
            ("zsh", "(completion input)", "(completion output)"),
            ("table", '"o:c:qh"', '"o:c:qhz"')):
        assert old in texts[source], (source, old)
        spoilt = {**texts, source: texts[source].replace(old, new)}
        if not compare("batch", spoilt):
            faults.append(f"{new!r} for {old!r} in {source} is not seen")
    if not check_codes('X(LOST, "never_told")', texts["man"]):
        faults.append("a code that the page does not have is not seen")
    return faults


def main():
    root, belay = sys.argv[1:3]
    if "--self-test" in sys.argv:
        faults = self_test(root, belay)
    else:
        faults = check_syntax(root) + check_codes(
            read(root, "llm", "batch", "stats.h"),
            read(root, "docs", "man", "belay-batch.1"))
        help_ = subprocess.run([belay, "--help"], capture_output=True,
                               text=True, check=True).stdout
        for word in WORDS:
            if f"\n  {word.split()[0]} " not in help_:
                continue  # built without GPUs
            texts = texts_of(root, belay, word)
            faults += compare(word, texts)
            faults += check_choices(belay, word, texts["zsh"])
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
