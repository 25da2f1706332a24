#!/usr/bin/env python3
"""The front door `./run` from outside, as far as nothing is installed or built: what it says when packages
are missing, and to wrong arguments. A copy of the script runs in an empty folder, and the commands that would
ask or change the system are stand-ins."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where the script would go on, it ends here and leaves a trace.
FORBIDDEN = ("apt-get", "sudo", "pip", "pip3", "cmake", "ninja", "ccache")


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="pccl-run-")
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.bin = self.root / "bin"
        self.bin.mkdir()
        shutil.copy(ROOT / "run", self.root / "run")
        for name in FORBIDDEN:
            self.stand_in(name, f'echo "{name} $*" >>"{self.root}/called"; exit 1')

    def stand_in(self, name, body):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)

    def be_user_without(self, *missing):
        """dpkg-query knows every package but these, and the caller is not root."""
        self.stand_in("id", "echo 1000")
        names = "|".join(missing) or "none"
        # The last argument is the package; status as dpkg-query abbreviates it.
        self.stand_in("dpkg-query",
                      f'for name; do :; done; case "$name" in {names}) exit 1 ;; *) printf "ii " ;; esac')

    def run_it(self, *arguments):
        environment = dict(os.environ, PATH=f"{self.bin}:{os.environ['PATH']}")
        return subprocess.run(["bash", self.root / "run", *arguments], env=environment, text=True,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=60)

    def assert_nothing_was_tried(self):
        called = self.root / "called"
        lines = called.read_text(encoding="utf-8").splitlines() if called.exists() else []
        asked_for_version = {f"{name} --version" for name in ("cmake", "ninja")}
        self.assertEqual([line for line in lines if line not in asked_for_version], [])
        self.assertEqual({path.name for path in self.root.iterdir()} - {"called", "tests"}, {"run", "bin"})

    def test_without_root_it_names_what_is_missing_and_the_one_command(self):
        self.be_user_without("libuv1-dev", "libhwy-dev")
        for command in (["build"], ["test", "--label", "fast"], ["demo"], ["bench"], ["format"]):
            with self.subTest(command=command):
                done = self.run_it(*command)
                self.assertEqual(done.returncode, 1, done.stderr)
                lines = done.stderr.splitlines()
                self.assertIn("run: these packages are missing: libuv1-dev libhwy-dev", lines)
                commands = [line.strip() for line in lines if "apt-get" in line]
                self.assertEqual(
                    commands, ["sudo apt-get update && sudo apt-get install -y libuv1-dev libhwy-dev"])
                self.assertEqual(done.stdout, "")
                self.assert_nothing_was_tried()

    def test_lint_and_format_also_want_the_formatter(self):
        self.be_user_without("clang-format-14")
        for command in ("lint", "format"):
            done = self.run_it(command)
            self.assertEqual(done.returncode, 1)
            self.assertIn("these packages are missing: clang-format-14\n", done.stderr)
        self.assert_nothing_was_tried()

    def test_the_model_and_the_tests_also_want_spin(self):
        self.be_user_without("spin")
        for command in (["model"], ["test"]):
            done = self.run_it(*command)
            self.assertEqual(done.returncode, 1)
            self.assertIn("these packages are missing: spin\n", done.stderr)
        self.assert_nothing_was_tried()

    def test_fuzz_also_wants_its_compiler(self):
        (self.root / "tests" / "fuzz").mkdir(parents=True)
        (self.root / "tests" / "fuzz" / "fuzz_frame.cpp").touch()
        self.be_user_without("clang-14", "libclang-rt-14-dev")
        for arguments in ([], ["frame"], ["fuzz_frame", "--seconds", "5"]):
            done = self.run_it("fuzz", *arguments)
            self.assertEqual(done.returncode, 1)
            self.assertIn("these packages are missing: clang-14 libclang-rt-14-dev\n", done.stderr)
        shutil.rmtree(self.root / "tests")
        self.assert_nothing_was_tried()

    def test_a_wrong_word_ends_with_what_would_be_right(self):
        self.be_user_without()
        no_preset = "no preset 'fastest': choose release, asan or tsan"
        for command, part in ((["build", "--preset", "fastest"], no_preset),
                              (["test", "--preset=fastest"], no_preset),
                              (["build", "release"], "build: unknown argument 'release'"),
                              (["test", "core"], "unknown argument 'core' (arguments for ctest follow --)"),
                              (["build", "--preset"], "--preset needs a name"),
                              (["fuzz", "--seconds", "soon"], "takes a number of seconds, not 'soon'"),
                              (["fuzz", "nothing"], "no fuzzer 'nothing' in tests/fuzz"),
                              (["fuzz", "--label"], "fuzz: unknown argument '--label'"),
                              (["install"], "no command 'install'")):
            with self.subTest(command=command):
                done = self.run_it(*command)
                self.assertEqual(done.returncode, 1)
                self.assertIn(part, done.stderr)
                self.assertEqual(done.stdout, "")
                self.assert_nothing_was_tried()

    def test_an_unknown_command_shows_the_known_ones(self):
        self.assertIn("usage: ./run COMMAND", self.run_it("install").stderr)

    def test_help_names_every_command(self):
        known = re.search(r"\n    ((?:\w+ \| )+\w+)\)\n", (ROOT / "run").read_text(encoding="utf-8")).group(1)
        for arguments in ([], ["help"], ["-h"], ["--help"]):
            done = self.run_it(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for command in known.split(" | "):
                self.assertRegex(done.stdout, rf"\n  {command}\b")
        self.assert_nothing_was_tried()


# What `./run` leaves of a suite with a skipped test, and of the fuzzers.
RUN_STAND_IN = """#!/bin/sh
if [ "$1" = fuzz ]; then echo "fuzz: 2 clean, 0 with findings"; exit 0; fi
mkdir -p "build/$3"
cat >"build/$3/test.log" <<TEXT
1/3 Test #1: core: one ......................   Passed    0.01 sec
2/3 Test #2: core: two ......................   Passed    0.01 sec
3/3 Test #3: python: test_torch .............***Skipped   0.20 sec

100% tests passed, 0 tests failed out of 3

The following tests did not run:
\t  3 - python: test_torch (Skipped)
TEXT
"""


class ContinuousIntegration(unittest.TestCase):
    def test_skipped_tests_are_told_apart_and_not_counted_as_passed(self):
        with tempfile.TemporaryDirectory(prefix="pccl-ci-") as name:
            root = pathlib.Path(name)
            (root / ".ci").mkdir()
            shutil.copy(ROOT / ".ci" / "run", root / ".ci" / "run")
            (root / "run").write_text(RUN_STAND_IN, encoding="utf-8")
            (root / "run").chmod(0o755)
            done = subprocess.run(["bash", root / ".ci" / "run"], text=True, capture_output=True, check=False,
                                  stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = done.stdout.splitlines()
        for preset in ("release", "asan", "tsan"):
            self.assertIn(f"== {preset}: 2 passed, 0 failed, 1 skipped", lines)
        self.assertEqual(lines[-1], "8 passed, 0 failed")

    def test_its_limits_fit_into_an_hour(self):
        text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        deadline_s = int(re.search(r"^deadline_s=(\d+)$", text, flags=re.MULTILINE).group(1))
        commands = re.findall(r"\btimeout (.*)", text)
        self.assertEqual(len(re.findall(r"\./run (?:test|fuzz)\b", text)), len(commands))
        for command in commands:
            self.assertRegex(command, r'^--kill-after=\d+ "\$\(limit\)" \./run ')
        # Once the deadline is past, each part that is left gets a second and its grace.
        parts = re.findall(r"^(?:suite \w+.*|fuzzers)$", text, flags=re.MULTILINE)
        self.assertGreater(len(parts), 1)
        grace_s = max(int(grace) for grace in re.findall(r"--kill-after=(\d+)", text))
        self.assertLess(deadline_s + (grace_s + 1) * len(parts), 3600)


if __name__ == "__main__":
    unittest.main()
