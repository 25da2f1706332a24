"""Runs peers as processes against a coordinator of this process. Every wait is bounded: a peer that does not
answer in time is killed, and the test fails with what each peer was doing."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pccl

PEER_TIMEOUT_S = 60.0
POLL_PAUSE_S = 0.005

_context = multiprocessing.get_context("spawn")
_kept: list[pccl.Communicator] = []


@contextlib.contextmanager
def coordinator(**options: Any) -> Iterator[str]:
    """The address of a coordinator on a free port, which ends with the block."""
    with pccl.MasterNode("127.0.0.1:0", **options) as master:
        yield f"127.0.0.1:{master.port}"


def peer(address: str, *, keep: bool = True, **options: Any) -> pccl.Communicator:
    """A communicator on a free port of loopback; without more options it reports failures. One that
    is kept leaves only when all results are in, so that no peer sees another leave while it looks around."""
    options.setdefault("on_failure", pccl.OnFailure.REPORT)
    options.setdefault("bind_address", "127.0.0.1")
    options.setdefault("port_first", 0)
    communicator = pccl.Communicator(address, **options)
    return kept(communicator) if keep else communicator


def kept(communicator: pccl.Communicator) -> pccl.Communicator:
    """The same communicator, which in a peer leaves only when all results are in."""
    if multiprocessing.parent_process() is not None:
        _kept.append(communicator)
    return communicator


def world_size(communicator: pccl.Communicator) -> int:
    return communicator.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE)


def gather(communicator: pccl.Communicator, size: int) -> None:
    """Connects and admits others until the run has `size` members."""
    communicator.connect()
    admit_until(communicator, size)


def admit_until(communicator: pccl.Communicator, size: int) -> None:
    """Admits joiners until the run has `size` members. A joiner enters the loop where the members are that
    admitted it, so all make the same calls."""
    while world_size(communicator) < size:
        if communicator.are_peers_pending():
            communicator.update_topology()
        else:
            time.sleep(POLL_PAUSE_S)


def event() -> Any:
    """An event that a peer can set for the process that started it."""
    return _context.Event()


def _peer_main(function: Callable[..., Any], pipe: Any, arguments: tuple[Any, ...]) -> None:
    faulthandler.dump_traceback_later(PEER_TIMEOUT_S, exit=True)
    try:
        outcome = ("ok", function(*arguments))
    except BaseException:
        outcome = ("failed", traceback.format_exc())
    pipe.send(outcome)
    with contextlib.suppress(EOFError):
        pipe.recv()  # The others have their results too, or the parent is gone.
    for communicator in _kept:
        communicator.close()
    faulthandler.cancel_dump_traceback_later()


class Peer:
    """One process that runs `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._pipe, remote = _context.Pipe()
        self._process = _context.Process(target=_peer_main, args=(function, remote, arguments), daemon=True)
        self._process.start()
        remote.close()

    def result(self, timeout_s: float = PEER_TIMEOUT_S) -> Any:
        """What the function returned; its exception becomes an AssertionError here."""
        if not self._pipe.poll(timeout_s):
            raise AssertionError(f"peer {self._process.pid} gave no result in {timeout_s} s")
        try:
            status, value = self._pipe.recv()
        except EOFError:
            self._process.join(5)
            raise AssertionError(f"a peer ended with exit code {self._process.exitcode}") from None
        if status != "ok":
            raise AssertionError(f"a peer failed:\n{value}")
        return value

    def finish(self) -> None:
        """Lets the peer leave, after its result has been taken, and waits until it has ended well."""
        self._pipe.send("leave")
        self._process.join(PEER_TIMEOUT_S)
        assert self._process.exitcode == 0, f"exit code {self._process.exitcode} after the result"

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(10)


@contextlib.contextmanager
def peers(function: Callable[..., Any], *argument_lists: tuple[Any, ...]) -> Iterator[list[Peer]]:
    """One peer for each list of arguments; none of them outlives the block."""
    started: list[Peer] = []
    try:
        for arguments in argument_lists:
            started.append(Peer(function, *arguments))
        yield started
    finally:
        for process in started:
            process.kill()


def results(processes: list[Peer]) -> list[Any]:
    """The results of all, which then leave."""
    values = [process.result() for process in processes]
    for process in processes:
        process.finish()
    return values


def run_peers(function: Callable[..., Any], *argument_lists: tuple[Any, ...]) -> list[Any]:
    """The results of one peer for each list of arguments."""
    with peers(function, *argument_lists) as processes:
        return results(processes)
