#!/usr/bin/env python3
"""Checks the model of membership, commit and recovery with Spin, and that it has teeth.

    check.py [--deep] [--jobs N] [--out FOLDER] [NAME ...]

Each configuration below is compiled and searched to its end; --deep adds larger ones, which need minutes and
up to 8 GB. A mutation breaks one rule of the protocol: there the search must find a violation. One line each.
The exit status is 0 only if every search found what it should, and no search for the absence of violations
was cut short. What a violation looks like is printed, one line per step, and kept in the folder. Needs spin
and gcc, and only Python's standard library.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

MODEL = pathlib.Path(__file__).resolve().parent / "pccl.pml"
DEPTH_MAX = 10000
LIMIT_S = 500
LIMIT_DEEP_S = 3600
MEMORY_MAX_MB = 2000
MEMORY_DEEP_MAX_MB = 8000
STEPS_SHOWN_MAX = 60
STEP = re.compile(r"^\s*((?:member|coordinator|world)\b.*)$")


@dataclasses.dataclass(frozen=True)
class Configuration:
    name: str
    defines: str
    broken: bool = False    # A violation must be found.
    deep: bool = False
    cycles: bool = False    # Also search for runs without an end.

    def flags(self):
        return [f"-D{word}" for word in self.defines.split()]


ONE_CRASH = "CRASHES=1 RESTARTS=0"
CRASH_AND_RESTART = "CRASHES=1 RESTARTS=1"

# The longest first.
CONFIGURATIONS = [
    Configuration("crash, restart", CRASH_AND_RESTART),
    Configuration("crash, lost connection", "CRASHES=1 DISCONNECTS=1"),
    Configuration("crash, every run ends", ONE_CRASH, cycles=True),
    Configuration("crash, two calls", f"{ONE_CRASH} OPS=2"),
    Configuration("crash, report", f"{ONE_CRASH} RETRY=0"),
    Configuration("crash, mismatch", f"{ONE_CRASH} ODD=1"),
]
MUTATIONS = [
    Configuration(name, f"{name} {defines}", broken=True) for name, defines in (
        ("NO_BARRIER", f"{ONE_CRASH} RETRY=0"),
        ("MAJORITY_BARRIER", f"{ONE_CRASH} RETRY=0"),
        ("COMMIT_IF_ANY", f"{ONE_CRASH} RETRY=0"),
        ("NO_FREEZE", f"{ONE_CRASH} RETRY=0"),
        ("FORGET_RETURNED", f"{ONE_CRASH} RETRY=0"),
        ("NO_TOMBSTONE", f"{ONE_CRASH} RETRY=0"),
        ("FORGET_FETCHED", f"{ONE_CRASH} ODD=1"),
        ("DROP_EARLY", "CRASHES=1 DISCONNECTS=1"),
        ("NO_SUSPICION", ONE_CRASH),
        ("NO_RESEND", CRASH_AND_RESTART),
        ("RECORD_AFTER_INSTALL", CRASH_AND_RESTART),
        ("STALE_RECORD", CRASH_AND_RESTART),
        ("FORGET_RECORD", CRASH_AND_RESTART),
        ("REUSE_TERM", CRASH_AND_RESTART),
    )
]
DEEP = [
    Configuration(name, defines, deep=True) for name, defines in (
        ("crash, restart, report", f"{CRASH_AND_RESTART} RETRY=0"),
        ("false suspicion, restart", "CRASHES=0 SUSPICIONS=1 RESTARTS=1"),
        ("two crashes", "CRASHES=2 QUEUE=6"),
        ("two crashes, restart", "CRASHES=2 RESTARTS=1 QUEUE=6"),
        ("crash, false suspicion", "CRASHES=1 SUSPICIONS=1 QUEUE=6"),
        ("broken link, restart", "CRASHES=0 CUTS=1 RESTARTS=1"),
        ("broken link, lost connection", "CRASHES=0 CUTS=1 DISCONNECTS=1"),
        ("crash, broken link", "CRASHES=1 CUTS=1 QUEUE=6"),
        ("two calls, restart", f"{CRASH_AND_RESTART} OPS=2"),
        ("mismatch, restart", f"{CRASH_AND_RESTART} ODD=1"),
        ("crash, two restarts", "CRASHES=1 RESTARTS=2"),
        ("crash, suspicion, restart", "CRASHES=1 SUSPICIONS=1 RESTARTS=1 QUEUE=6"),
    )
] + [Configuration("restart, every run ends", CRASH_AND_RESTART, deep=True, cycles=True)]


class Unusable(Exception):
    """Spin, the compiler or the search did not work."""


@dataclasses.dataclass
class Result:
    states: int
    depth: int
    megabytes: float
    violation: str          # Empty: none was found.
    seconds: float


def run(command, folder, limit_s):
    try:
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise Unusable(f"{command[0]} needed more than {limit_s} s") from error
    if done.returncode != 0:
        raise Unusable(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def build(configuration, folder):
    run(["spin", "-a", *configuration.flags(), str(MODEL)], folder, LIMIT_S)
    # A mutation is found soon: there compiling takes longer than searching.
    options = ["-O0" if configuration.broken else "-O1", "-DCOLLAPSE",
               f"-DMEMLIM={MEMORY_DEEP_MAX_MB if configuration.deep else MEMORY_MAX_MB}",
               "-DNP" if configuration.cycles else "-DSAFETY"]
    run([os.environ.get("CC", "gcc"), "-w", *options, "-o", "pan", "pan.c"], folder, LIMIT_S)


def search(configuration, folder):
    """Runs the search; raises when it was not complete and found nothing."""
    started = time.monotonic()
    command = ["./pan", f"-m{DEPTH_MAX}", "-w22", "-n"] + (["-l"] if configuration.cycles else [])
    text = run(command, folder, LIMIT_DEEP_S if configuration.deep else LIMIT_S)
    (folder / "search.txt").write_text(text, encoding="utf-8")
    return read_search(text, time.monotonic() - started)


def read_search(text, seconds):
    def number(pattern):
        match = re.search(pattern, text, re.MULTILINE)
        if not match:
            raise Unusable(f"the search did not end as it should:\n{text}")
        return float(match.group(1))

    errors = number(r"errors: (\d+)")
    violation = ""
    if errors > 0:
        found = re.search(r"^pan:\d+: (.*)$", text, re.MULTILINE)
        violation = found.group(1) if found else "unknown"
    if "q_full" in violation:
        raise Unusable(f"a queue of the model is too short: set QUEUE\n{text}")
    cut = re.search(r"not completed|too small|truncated|out of memory|memory limit|reached -DMEMLIM", text)
    if cut and not violation:
        raise Unusable(f"the search was not complete:\n{text}")
    return Result(int(number(r"^ *([\d.e+]+) states, stored")), int(number(r"depth reached (\d+)")),
                  number(r"^ *([\d.]+)\s+total actual memory usage"), violation, seconds)


def steps(configuration, folder):
    """What happened on the way to the violation, one line per step."""
    command = ["spin", "-t", "-k", "pccl.pml.trail", *configuration.flags(), str(MODEL)]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False, timeout=LIMIT_S)
    lines = [match.group(1) for match in map(STEP.match, done.stdout.splitlines()) if match]
    (folder / "steps.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


class Checker:
    def __init__(self, out):
        self.out = out
        self.lock = threading.Lock()

    def check(self, configuration):
        """Whether the configuration has the result that it should have; prints one line."""
        folder = self.out / re.sub(r"\W+", "-", configuration.name).lower()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            build(configuration, folder)
            result = search(configuration, folder)
        except Unusable as error:
            return self.say(configuration, False, str(error))
        shown = []
        if result.violation:
            trace = steps(configuration, folder)
            shown = [] if configuration.broken else [result.violation, *trace[:STEPS_SHOWN_MAX]]
        text = (f"{result.states:>9} states  depth {result.depth:>3}  {result.megabytes:>5.0f} MB"
                f"  {result.seconds:>5.1f} s  {'a' if result.violation else 'no'} violation"
                + (", as there must be" if configuration.broken and result.violation else ""))
        return self.say(configuration, bool(result.violation) == configuration.broken, text, shown)

    def say(self, configuration, good, text, lines=()):
        with self.lock:
            print(f"{'ok  ' if good else 'FAIL'}  {configuration.name:<26}{text}", flush=True)
            for line in lines:
                print(f"        {line}", flush=True)
        return good


def arguments_of(argv):
    parser = argparse.ArgumentParser(description="Check the model of membership, commit and recovery.")
    parser.add_argument("--deep", action="store_true", help="also check what needs minutes and up to 8 GB")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1),
                        help="configurations at a time (default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, help="keep what Spin makes in this folder")
    parser.add_argument("name", nargs="*", help="only these configurations")
    return parser.parse_args(argv)


def main(argv):
    arguments = arguments_of(argv)
    chosen = CONFIGURATIONS + MUTATIONS + DEEP
    if arguments.name:
        unknown = set(arguments.name) - {configuration.name for configuration in chosen}
        if unknown:
            print(f"check.py: no configuration {', '.join(sorted(unknown))}: there are "
                  + ", ".join(configuration.name for configuration in chosen), file=sys.stderr)
            return 2
        chosen = [configuration for configuration in chosen if configuration.name in arguments.name]
    elif not arguments.deep:
        chosen = CONFIGURATIONS + MUTATIONS
    for program in ("spin", "gcc"):
        if shutil.which(program) is None:
            print(f"check.py: {program} is not installed", file=sys.stderr)
            return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pccl-model-") as temporary:
        checker = Checker((arguments.out or pathlib.Path(temporary)).resolve())
        with concurrent.futures.ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
            results = list(pool.map(checker.check, chosen))
    good = sum(results)
    print(f"model: {good} of {len(results)} as they should be, {time.monotonic() - started:.0f} s")
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
