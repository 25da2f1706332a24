#!/usr/bin/env python3
"""Checks the format of the C and C++ sources, or makes it so.

    formatting.py [--fix] [ROOT]

prints the first place of each file that clang-format would change and exits with 1 when there is one. Which
style holds where is said by the .clang-format files: the examples' layout is made by hand. Version 14 alone
counts, since each version formats a little differently.
"""

import pathlib
import re
import shutil
import subprocess
import sys

FORMATTER = "clang-format-14"
FOLDERS = ("src", "include", "tests", "bench", "examples", "bindings")
SUFFIXES = {".h", ".c", ".cpp"}


def available():
    return shutil.which(FORMATTER) is not None


def sources(root):
    return sorted(path for folder in FOLDERS for path in (root / folder).rglob("*")
                  if path.suffix in SUFFIXES)


def check(root):
    """One line for each file of the tree that is not formatted."""
    done = subprocess.run([FORMATTER, "--dry-run", "--Werror", "-ferror-limit=0", *sources(root)],
                          cwd=root, capture_output=True, text=True, check=False)
    found = {}
    for line in done.stderr.splitlines():
        match = re.match(r"(.+?):(\d+):\d+: error: ", line)
        if match:
            path = pathlib.Path(match.group(1)).relative_to(root)
            found.setdefault(path, f"{path}:{match.group(2)}: format: {FORMATTER} would change this")
    if done.returncode != 0 and not found:
        found[root] = f"{FORMATTER} failed: {done.stderr.strip()}"
    return list(found.values())


def main(arguments):
    fix = "--fix" in arguments
    folders = [argument for argument in arguments if argument != "--fix"]
    root = pathlib.Path(folders[0] if folders else pathlib.Path(__file__).parents[2]).resolve()
    if not available():
        print(f"formatting: {FORMATTER} is not installed", file=sys.stderr)
        return 2
    if fix:
        return subprocess.run([FORMATTER, "-i", *sources(root)], cwd=root, check=False).returncode
    found = check(root)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
