#!/usr/bin/env python3
"""What ./dev says of itself: words.py ROOT.

Without a word it prints its help, which tells about every word that there is;
a word that there is not is refused.
"""
import os
import re
import subprocess
import sys


def dev(root, *words):
    return subprocess.run([os.path.join(root, "dev"), *words], text=True,
                          capture_output=True, check=False)


def main():
    root = sys.argv[1]
    with open(os.path.join(root, "dev"), encoding="utf-8") as file:
        text = file.read()
    done = dev(root)
    assert done.returncode == 0 and done.stderr == "", done
    assert done.stdout == dev(root, "help").stdout
    words = re.findall(r"^cmd_(\w+)\(\)", text, re.M)
    assert len(words) > 10, words
    for word in words:
        told = re.search(rf"^\./dev {word}\b.*(?:\n +.*)?", done.stdout, re.M)
        assert word == "help" or told, f"./dev help does not tell of {word}"
    assert "/usr/local" in done.stdout
    done = dev(root, "nonsense")
    assert done.returncode == 1 and "nonsense" in done.stderr, done


if __name__ == "__main__":
    main()
