"""What happens to communicators and coordinators that are still alive when the interpreter ends: the first
leave their run, the second are waited for, before Python's own machinery is taken apart."""

from __future__ import annotations

import atexit
import weakref
from typing import Any

from . import _native

_communicators: weakref.WeakSet[Any] = weakref.WeakSet()
_masters: weakref.WeakSet[Any] = weakref.WeakSet()


def add_communicator(communicator: Any) -> None:
    """Has `communicator.close()` called at the end."""
    _communicators.add(communicator)


def add_master(master: Any) -> None:
    """Has `master._finish()` called at the end."""
    _masters.add(master)


@atexit.register
def _finish_all() -> None:
    for communicator in list(_communicators):
        communicator.close()
    for master in list(_masters):
        master._finish()
    _native.stop_log_forwarding()
