#!/usr/bin/env python3
"""The library inside another project: it builds nothing unasked and leaves the project's settings alone."""

import os
import pathlib
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
CMAKE = os.environ.get("PCCL_CMAKE", "cmake")

PROJECT = f"""
cmake_minimum_required(VERSION 3.25)
project(parent LANGUAGES C CXX)
add_subdirectory("{SOURCE}" pccl)
add_executable(program program.c)
target_link_libraries(program PRIVATE pccl::pccl)
set_target_properties(program PROPERTIES LINKER_LANGUAGE CXX)
"""


class Subproject(unittest.TestCase):
    def test_only_the_library_is_part_of_the_parent(self):
        with tempfile.TemporaryDirectory(prefix="pccl-parent-") as name:
            root = pathlib.Path(name)
            (root / "CMakeLists.txt").write_text(PROJECT, encoding="utf-8")
            (root / "program.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
            command = [CMAKE, "-S", root, "-B", root / "build", "-DPCCL_BUILD_PYTHON=OFF"]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False, env={**os.environ, "CMAKE_BUILD_TYPE": ""})
            self.assertEqual(done.returncode, 0, done.stdout)
            lines = (root / "build" / "CMakeCache.txt").read_text(encoding="utf-8").splitlines()
            cache = dict(line.split("=", 1) for line in lines if "=" in line)
            listing = subprocess.run([CMAKE, "--build", root / "build", "--target", "help"], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout
        for option in ("TOOLS", "EXAMPLES", "BENCH", "TESTS"):
            self.assertEqual(cache[f"PCCL_BUILD_{option}:BOOL"], "OFF", option)
        self.assertEqual(cache["CMAKE_BUILD_TYPE:STRING"], "")
        self.assertIn("program", listing)
        for target in ("pccl-master", "pccl-sim", "test_core"):
            self.assertNotIn(target, listing)


if __name__ == "__main__":
    unittest.main()
