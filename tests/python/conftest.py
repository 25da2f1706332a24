"""A test that hangs ends the whole run with the stacks of its threads, rather than blocking it."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest

TEST_TIMEOUT_S = 120


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    faulthandler.dump_traceback_later(TEST_TIMEOUT_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
