"""docs/errors.md says what the table of result codes says."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_page_is_up_to_date():
    script = ROOT / "docs" / "generate_errors.py"
    ran = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
