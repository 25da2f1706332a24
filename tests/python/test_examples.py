# ctest: slow
"""The Python examples run as a newcomer would run them."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
TIMEOUT_S = 110


def run_example(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def test_hello_all_reduce():
    done = run_example("hello_all_reduce.py")
    assert done.returncode == 0, done.stderr
    # Three processes share the output, so a line end may come late.
    said = sorted(re.findall(r"peer \d: \[[^]]*\] from \d peers", done.stdout))
    assert said == [f"peer {number}: [3. 3. 3. 3.] from 3 peers" for number in range(3)]


def test_hello_all_reduce_is_short():
    assert len((EXAMPLES / "hello_all_reduce.py").read_text().splitlines()) <= 25


def test_digits(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    steps = 400
    options = {"out": tmp_path, "steps": steps, "step-ms": 5, "deadline-s": 90}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    done = run_example("digits/demo.py", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"killed worker 2 \(process \d+\) at step 2\d\d", done.stdout)
    assert re.search(r"worker 4 joined at step \d+ and received \d+ kB", done.stdout)
    assert len(set(re.findall(r"\b[0-9a-f]{64}\b", done.stdout))) == 1
    assert re.search(rf"to +{steps}  4\n", done.stdout)
    chart = tmp_path / "run.png"
    assert chart.read_bytes().startswith(b"\x89PNG") and chart.stat().st_size > 10_000
