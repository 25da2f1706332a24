#!/usr/bin/env python3
"""Shows that each rule of tidy.py catches its violation and lets good code pass; applies all to the tree."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tidy  # noqa: E402

GOOD_HEADER = "// What it is for.\n#pragma once\n"
LONG_BODY = "    step();\n" * 70

# (path, text, the rule that must catch it)
BAD = [
    ("src/base/a.cpp", '#include "core/member.h"\n', "arrow"),
    ("src/wire/a.cpp", '#include "plan/plan.h"\n', "arrow"),
    ("src/plan/a.cpp", '#include "kernel/reduce.h"\n', "arrow"),
    ("src/core/a.cpp", '#include "transport/tcp.h"\n', "arrow"),
    ("src/transport/a.cpp", '#include "core/member.h"\n', "arrow"),
    ("src/sim/a.cpp", '#include "runtime/loop.h"\n', "arrow"),
    ("src/outer/a.cpp", '#include "base/status.h"\n', "arrow"),
    ("src/capi/a.cpp", '#  include "sim/world.h"\n', "arrow"),
    ("src/core/a.cpp", "#include <pccl/pccl.h>\n", "arrow"),
    ("src/tools/perf/a.cpp", '#include "base/status.h"\n', "arrow"),
    ("src/tools/perf/a.cpp", '#include "sim/world.h"\n', "arrow"),
    ("src/tools/sim/a.cpp", '#include "runtime/loop.h"\n', "arrow"),
    ("src/attic/a.cpp", "int x;\n", "room"),
    ("src/core/a.cpp", '#include "../base/status.h"\n', "include-path"),
    ("src/core/a.cpp", '#include "member.h"\n', "include-path"),
    ("src/core/a.cpp", "#include <uv.h>\n", "library"),
    ("src/plan/a.cpp", "#include <hwy/highway.h>\n", "library"),
    ("src/capi/a.cpp", "#include <CLI/CLI.hpp>\n", "library"),
    ("src/core/a.cpp", "#include <thread>\n", "pure"),
    ("src/plan/a.cpp", "#include <chrono>\n", "pure"),
    ("src/sim/a.cpp", "#include <sys/socket.h>\n", "pure"),
    ("src/core/a.cpp", 'void f() { printf("x"); }\n', "stdout"),
    ("src/core/a.cpp", 'void f() { std::cout << "x"; }\n', "stdout"),
    ("src/core/a.cpp", 'void f() { std::fprintf(stderr, "x"); }\n', "stderr"),
    ("src/runtime/a.cpp", "void f() { std::abort(); }\n", "process-end"),
    ("src/runtime/a.cpp", "void f() { exit(1); }\n", "process-end"),
    ("src/runtime/a.cpp", "void f() { ::_exit(1); }\n", "process-end"),
    ("src/runtime/a.cpp", "void f(int x) { assert(x > 0); }\n", "assert"),
    ("src/runtime/a.cpp", "void f() { throw 1; }\n", "throw"),
    ("src/runtime/a.cpp", "void f(char* a) { sprintf(a, \"x\"); }\n", "unsafe-call"),
    ("src/runtime/a.cpp", "void f() { std::this_thread::sleep_for(x); }\n", "sleep"),
    ("src/runtime/a.cpp", "void f() { usleep(5); }\n", "sleep"),
    ("tests/core/a.cpp", "using namespace std;\n", "using-namespace-std"),
    ("src/base/a.cpp", "int x;\n" * 601, "file-length"),
    ("tests/python/a.py", "x = 1\n" * 601, "file-length"),
    ("src/base/a.cpp", "void f() {\n" + LONG_BODY + "}\n", "function-length"),
    ("src/base/a.cpp", "namespace n {\nint A::f(int x) const {\n" + LONG_BODY + "}\n}\n", "function-length"),
    ("src/base/a.cpp", "class A {\n    A() : x_{1}, y_(2) {\n" + LONG_BODY + "}\n};\n", "function-length"),
    ("src/base/a.cpp", "struct B f(int x) {\n" + LONG_BODY + "}\n", "function-length"),
    ("tests/base/a.cpp", 'TEST_CASE("x {") {\n' + LONG_BODY + "}\n", "function-length"),
    ("tests/python/a.py", "def f():\n" + "    x = 1\n" * 70, "function-length"),
    ("src/base/a.cpp", "// " + "x" * 108 + "\n", "line-length"),
    ("src/base/a.cpp", "int x; \n", "trailing-space"),
    ("cmake/a.cmake", "# " + "x" * 109 + "\n", "line-length"),
    ("src/base/a.h", "#pragma once\n", "head-comment"),
    ("src/base/a.h", "// What it is for.\nint x;\n", "header-guard"),
    ("src/base/a.h", GOOD_HEADER, "dead-header"),
    ("src/base/a.cpp", "// TODO: later\n", "leftover"),
    ("docs/a.md", "FIXME\n", "leftover"),
    ("bench/a.cpp", 'auto path = "/root/data";\n', "machine-path"),
    ("run", "cd /work/main\n", "machine-path"),
    ("README.md", "see /home/someone/x\n", "machine-path"),
    ("README.md", "from https://pypi.org/x\n", "place"),
    ("docs/a.md", "as issue 12 says\n", "place"),
]

GOOD = {
    "src/base/status.h": GOOD_HEADER + "struct Status {};\n",
    "src/base/check.cpp": '#include "base/status.h"\n#include <cstdio>\n'
                          'void die() { std::fprintf(stderr, "x"); std::abort(); }\n',
    "src/plan/plan.h": GOOD_HEADER + '#include "base/status.h"\n',
    "src/wire/frame.h": GOOD_HEADER + '#include "base/status.h"\n#include "pccl/result_table.h"\n',
    "src/core/member.h": GOOD_HEADER,
    "src/core/member.cpp": '#include "core/member.h"\n#include "plan/plan.h"\n#include "wire/frame.h"\n'
                           '#include "base/status.h"\n#include <vector>\n'
                           "// printf( and exit( and throw in a comment are nothing, nor it's apostrophe.\n"
                           '/* #include "runtime/loop.h" */\n'
                           'const char* text = "printf(abort())"; char q = \'"\'; int big = 1\'000\'000;\n'
                           'void f(Log& log) { log.printf("x"); on_exit(1); log->exit(2); }\n',
    "src/runtime/loop.cpp": '#include "core/member.h"\n#include <thread>\n#include <uv.h>\n',
    "src/capi/c.cpp": '#include <pccl/pccl.h>\n#include "pccl.h"\n',
    "src/sim/world.h": GOOD_HEADER + '#include "core/member.h"\n',
    "src/tools/common/options.h": GOOD_HEADER,
    "src/tools/perf/main.cpp": '#include "common/options.h"\n#include <pccl/pccl.h>\n#include <CLI/CLI.hpp>\n'
                               'int main() { printf("x"); exit(0); }\n',
    "src/tools/sim/main.cpp": '#include "sim/world.h"\n#include "base/status.h"\n',
    "src/base/many.cpp": "int table[] = {\n" + "    1,\n" * 80 + "};\nnamespace n {\nclass A {\n"
                         + "    void f() { g(); }\n" * 80 + "};\n}\nenum E {\n" + "    kE,\n" * 80 + "};\n",
    "tests/core/test_member.cpp": '#include "runtime/anything.h"\nTEST_CASE("x") { exit(0); }\n',
    "docs/a.md": "The words todo and issue are free, so is " + "a long line " * 20 + "${prefix}/work/x.\n",
}


class Rules(unittest.TestCase):
    def test_each_bad_sample_is_caught_by_its_rule(self):
        for path, text, rule in BAD:
            with self.subTest(path=path, rule=rule, text=text[:60]):
                self.assertIn(rule, [violation.rule for violation in tidy.check_files({path: text})])

    def test_every_rule_has_a_bad_sample(self):
        self.assertEqual(tidy.RULES - {"exception"}, {rule for _, _, rule in BAD})

    def test_good_code_passes(self):
        self.assertEqual([str(violation) for violation in tidy.check_files(GOOD)], [])

    def test_arrows_are_closed_transitively(self):
        self.assertLessEqual({"runtime", "core", "wire", "base", "kernel"}, tidy.REACHABLE["capi"])
        self.assertEqual(tidy.REACHABLE["base"], {"base"})
        self.assertNotIn("sim", tidy.REACHABLE["capi"])
        for room, below in tidy.REACHABLE.items():
            self.assertFalse([other for other in below - {room} if room in tidy.REACHABLE[other]], "a cycle")


class Exceptions(unittest.TestCase):
    def left(self, text, files):
        exceptions, found = tidy.read_exceptions(text, "e.txt")
        return [violation.rule for violation in
                found + tidy.apply_exceptions(tidy.check_files(files), exceptions, "e.txt")]

    def test_an_exception_with_a_reason_allows(self):
        files = {"src/base/a.cpp": "void f() {\n" + LONG_BODY + "}\n"}
        self.assertEqual(self.left("", files), ["function-length"])
        self.assertEqual(self.left("function-length src/base/a.cpp#f: one table of steps\n", files), [])
        self.assertEqual(self.left("function-length src/base/a.cpp: one table of steps\n", files), [])

    def test_an_exception_for_another_function_allows_nothing(self):
        files = {"src/base/a.cpp": "void f() {\n" + LONG_BODY + "}\n"}
        left = self.left("function-length src/base/a.cpp#g: one table of steps\n", files)
        self.assertEqual(left, ["function-length", "exception"])

    def test_reasons_are_asked_for_and_stale_exceptions_reported(self):
        self.assertEqual(self.left("file-length src/base/a.cpp\n", {}), ["exception"])
        self.assertEqual(self.left("file-length src/base/a.cpp: because\n", {}), ["exception"])
        self.assertEqual(self.left("file-length src/base/a.cpp: it once was long\n", {}), ["exception"])


class Tree(unittest.TestCase):
    def test_a_bad_tree_fails_and_names_the_place(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "src", "base", "a.cpp")
            path.parent.mkdir(parents=True)
            path.write_text('#include "core/member.h"\n', encoding="utf-8")
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                status = tidy.main([folder])
            self.assertEqual(status, 1)
            self.assertIn("src/base/a.cpp:1: arrow: base may not include core", output.getvalue())

    def test_this_tree_is_clean(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = tidy.main([])
        self.assertEqual(status, 0, "\n" + output.getvalue())


if __name__ == "__main__":
    unittest.main()
