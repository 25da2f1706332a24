"""`MasterNode`: a coordinator inside this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import _native
from ._address import split_address
from ._errors import failure, list_of
from ._lifetime import add_master
from ._options import native_options

_SUCCESS = 0
_WAIT_SLICE_MS = 100


class MasterNode:
    """A coordinator. `run` serves on threads of the library and returns at once; the object's destruction,
    and the end of the program, **wait** until it has been interrupted, so that `MasterNode(address).run()` is
    a whole program. A process that is forked from this one cannot use the object.

    `listen_address` is "host:port" or "[IPv6]:port", or several of them; port 0 means any free port, which
    `port` tells. With `state_dir` a small record of the run is kept there, and a coordinator that is started
    again with it goes on with the run. With `majority` a group goes on after a loss only while more than
    half of its last members are left; a coordinator that is started without the record then goes on with the
    run when more than half of them come back, and otherwise when all do. `record_lost` says that there may be
    such a run: newcomers wait a moment for its members.
    """

    def __init__(
        self,
        listen_address: str | Sequence[str],
        state_dir: str | None = None,
        *,
        liveness_timeout_ms: int | None = None,
        freeze_timeout_ms: int | None = None,
        recovery_timeout_ms: int | None = None,
        majority: bool = False,
        record_lost: bool = False,
        log_callback: Callable[[int, str], object] | None = None,
        log_level: Any = None,
    ) -> None:
        if isinstance(listen_address, str):
            listen_address = [listen_address]
        addresses = list_of(listen_address, "listen_address")
        for address in addresses:
            split_address(address)
        options = native_options(
            {
                "state_dir": state_dir,
                "liveness_timeout_ms": liveness_timeout_ms,
                "freeze_timeout_ms": freeze_timeout_ms,
                "recovery_timeout_ms": recovery_timeout_ms,
                "majority": majority,
                "record_lost": record_lost,
                "log_callback": log_callback,
                "log_level": log_level,
            }
        )
        self._running = False
        self._finish_lock = threading.Lock()
        self._native = _native.Master(addresses, options)
        code, text = self._native.creation()
        if code != _SUCCESS:
            raise failure(code, "MasterNode", text)
        add_master(self)

    def __enter__(self) -> MasterNode:
        self.run()
        return self

    def __exit__(self, *_: object) -> None:
        if self._native.belongs_here():
            self.interrupt()
            self._finish()

    def __del__(self) -> None:
        if hasattr(self, "_native"):
            self._finish()

    def run(self) -> None:
        """Binds and serves; does not block. A busy port, or a second call, raises INVALID_USAGE."""
        code, text = self._native.run()
        if code != _SUCCESS:
            raise failure(code, "MasterNode.run", text)
        self._running = True

    def interrupt(self) -> None:
        """Asks the coordinator to stop. May be called any number of times, at any time and from any thread; a
        coordinator that does not run is left alone."""
        code, text = self._native.interrupt()
        if code != _SUCCESS:
            raise failure(code, "MasterNode.interrupt", text)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end of a coordinator that was run; False when the time-out came first. Signals are
        handled meanwhile."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while self._running:
            slice_ms = _WAIT_SLICE_MS
            if deadline_s is not None:
                slice_ms = min(slice_ms, max(0, int((deadline_s - time.monotonic()) * 1000)))
            code, text, ended = self._native.wait(slice_ms)
            if code != _SUCCESS:
                raise failure(code, "MasterNode.wait", text)
            if ended:
                self._running = False
            elif deadline_s is not None and time.monotonic() >= deadline_s:
                return False
        return True

    @property
    def port(self) -> int:
        """The port of the first listening address."""
        code, text, port = self._native.port()
        if code != _SUCCESS:
            raise failure(code, "MasterNode.port", text)
        return port

    def _finish(self) -> None:
        """Waits until interrupted, then frees the native object. Ctrl-C counts as an interruption. A forked
        process has only a copy of the object, whose threads and locks belong to the other one."""
        if not self._native.belongs_here():
            return
        with self._finish_lock:
            try:
                self.wait()
            except KeyboardInterrupt:
                self._running = False
            self._native.close()
