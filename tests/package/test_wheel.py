#!/usr/bin/env python3
"""`pip install .` into an empty virtual environment gives a package that imports and calls the library."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **options)
    if done.returncode != 0:
        text = done.stdout[-4000:]
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{text}")
    return done.stdout


@unittest.skipUnless(importlib.util.find_spec("scikit_build_core") and importlib.util.find_spec("pybind11"),
                     "scikit-build-core or pybind11 is not installed")
class Wheel(unittest.TestCase):
    def test_pip_install_gives_a_working_package(self):
        with tempfile.TemporaryDirectory(prefix="pccl-wheel-") as folder:
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            environment.update(CC="cc", CXX="c++")
            # The build tools come from this interpreter's environment: the test asks no package index. With
            # the flags of the release preset the compiler cache serves most of the build.
            options = ["--no-build-isolation", "--no-deps", "--no-index", "--target", folder,
                       "--config-settings", "cmake.define.PCCL_WERROR=ON"]
            run(sys.executable, "-m", "pip", "install", *options, SOURCE, env=environment)
            names = {path.name for path in pathlib.Path(folder, "pccl").iterdir()}
            self.assertIn("py.typed", names)
            self.assertTrue([name for name in names if name.startswith("_native") and name.endswith(".so")])
            # -P and an explicit first entry: the installed package, not the one of the build tree.
            code = f"import sys; sys.path.insert(0, {folder!r}); import pccl; print(pccl.__file__)"
            output = run(sys.executable, "-P", "-c", code, env=environment, cwd=folder)
            self.assertTrue(output.strip().startswith(folder), output)
            script = pathlib.Path(folder, "bin", "pccl_master")
            output = run(script, "--help", env=dict(environment, PYTHONPATH=folder), cwd=folder)
            self.assertIn("--listen-address", output)


if __name__ == "__main__":
    unittest.main()
