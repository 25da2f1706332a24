#!/usr/bin/env python3
"""Installs the library into an empty folder and uses it as a stranger would: C99 and C++ programs through
pkg-config and through find_package, from a place it was moved to, and a look at what it exports."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PCCL_BUILD_DIR", SOURCE / "build" / "release"))
CMAKE = os.environ.get("PCCL_CMAKE", "cmake")
STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror"]

# One body for both languages: what is compiled is the headers, what is run is a call into the library.
PROGRAM = """
#include <pccl/pccl.h>
#include <pccl.h>
#include <ccoip.h>
#include <ccoip_inet.h>
#include <stdio.h>

int main(void) {
    int code = 0;
    if (pcclInit() != pcclSuccess) return 1;
    if (pcclGetVersion(&code) != pcclSuccess || code != PCCL_VERSION_CODE) return 2;
    if (pcclCreateCommunicator(NULL, NULL) != pcclInvalidArgument) return 3;
    printf("%s %d\\n", pcclGetErrorString(pcclSuccess), code);
    return 0;
}
"""

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(stranger LANGUAGES C CXX)
find_package(pccl @VERSION@ CONFIG REQUIRED)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
add_compile_options(-pedantic -Wall -Wextra -Werror)
foreach(language c cpp)
    add_executable(shared_${language} program.${language})
    target_link_libraries(shared_${language} PRIVATE pccl::pccl)
    add_executable(static_${language} program.${language})
    target_link_libraries(static_${language} PRIVATE pccl::pccl_static)
    set_target_properties(static_${language} PROPERTIES LINKER_LANGUAGE CXX)
endforeach()
add_executable(short_name program.c)
target_link_libraries(short_name PRIVATE pccl)
"""


def project_version():
    text = (SOURCE / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(r"project\(pccl VERSION (\d+)\.(\d+)\.(\d+)", text).groups()


def run(*command, **options):
    """The output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="pccl-package-")
        root = pathlib.Path(cls.folder.name)
        run(CMAKE, "--install", BUILD, "--prefix", root / "first")
        # What was installed must not depend on where: everything below uses a moved tree.
        cls.prefix = root / "moved" / "deeper"
        cls.prefix.parent.mkdir()
        (root / "first").rename(cls.prefix)
        cls.library = next(path for path in cls.prefix.rglob("libpccl.so") if path.exists())
        cls.work = root / "work"
        cls.work.mkdir()
        for suffix in ("c", "cpp"):
            (cls.work / f"program.{suffix}").write_text(PROGRAM, encoding="utf-8")
        cls.environment = dict(os.environ, PKG_CONFIG_PATH=str(cls.library.parent / "pkgconfig"),
                               LD_LIBRARY_PATH=str(cls.library.parent))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def flags(self, *arguments):
        return run("pkg-config", *arguments, "pccl", env=self.environment).split()

    def check_program(self, program, environment=None):
        output = run(program, env=environment or self.environment)
        major, minor, patch = map(int, project_version())
        self.assertEqual(output.split()[-1], str(major * 10000 + minor * 100 + patch))

    def test_c99_and_cpp_through_pkg_config(self):
        for compiler, standard, source in (("cc", "c99", "program.c"), ("c++", "c++11", "program.cpp"),
                                           ("c++", "c++20", "program.cpp")):
            with self.subTest(standard=standard):
                program = self.work / f"through-{standard}"
                run(compiler, f"-std={standard}", *STRICT, self.work / source, "-o", program,
                    *self.flags("--cflags", "--libs"))
                self.check_program(program)

    def test_pkg_config_knows_version_and_static_libraries(self):
        self.assertEqual(self.flags("--modversion"), [".".join(project_version())])
        program = self.work / "static"
        flags = [flag for flag in self.flags("--static", "--cflags", "--libs") if flag != "-lpccl"]
        archive = self.library.parent / "libpccl.a"
        run("cc", "-std=c99", *STRICT, self.work / "program.c", archive, "-o", program, *flags)
        self.check_program(program, dict(os.environ, LD_LIBRARY_PATH=""))

    def configure(self, version):
        project = self.work / f"project-{version}"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(PROJECT.replace("@VERSION@", version), encoding="utf-8")
        for suffix in ("c", "cpp"):
            shutil.copy(self.work / f"program.{suffix}", project)
        build = project / "build"
        command = [CMAKE, "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False), build

    def test_c_and_cpp_through_find_package(self):
        major, minor, _ = project_version()
        done, build = self.configure(f"{major}.{minor}")
        self.assertEqual(done.returncode, 0, done.stdout)
        run(CMAKE, "--build", build, "--parallel", "2")
        for name in ("shared_c", "shared_cpp", "static_c", "static_cpp", "short_name"):
            with self.subTest(program=name):
                self.check_program(build / name)

    def test_another_minor_version_is_refused(self):
        major, minor, _ = project_version()
        done, _ = self.configure(f"{major}.{int(minor) + 1}")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("compatible", done.stdout)

    def test_soname_has_major_and_minor(self):
        major, minor, patch = project_version()
        self.assertIn(f"[libpccl.so.{major}.{minor}]", run("readelf", "-d", self.library))
        self.assertEqual(self.library.resolve().name, f"libpccl.so.{major}.{minor}.{patch}")

    def test_only_declared_functions_are_exported(self):
        listing = run("nm", "-D", "--defined-only", self.library)
        exported = {line.split()[-1].split("@")[0] for line in listing.splitlines()}
        headers = "".join(path.read_text(encoding="utf-8") for path in self.prefix.glob("include/**/*.h"))
        declared = set(re.findall(r"PCCL_EXPORT\s[^;(]*?\b(pccl\w+)\s*\(", headers))
        self.assertGreater(len(declared), 20)
        self.assertEqual([name for name in exported if not name.startswith("pccl")], [])
        self.assertEqual(declared - exported, set(), "declared, not exported")
        self.assertEqual(exported - declared, set(), "exported, not declared")

    def test_installed_programs_find_their_library(self):
        programs = sorted((self.prefix / "bin").iterdir())
        self.assertIn("ccoip_master", [path.name for path in programs])
        for program in programs:
            with self.subTest(program=program.name):
                run(program, "--help", env={"PATH": os.environ["PATH"]})

    def test_nothing_installed_names_the_source_or_build_tree(self):
        for path in self.prefix.rglob("*"):
            if path.suffix in (".cmake", ".pc", ".h"):
                text = path.read_text(encoding="utf-8")
                self.assertNotIn(str(SOURCE), text, path)
                self.assertNotIn(str(BUILD), text, path)


if __name__ == "__main__":
    unittest.main()
