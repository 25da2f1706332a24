"""Calls that block end with a signal, with close() in another thread, and with the program."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from harness import POLL_PAUSE_S, admit_until, coordinator, peer, world_size

import pccl

TIMEOUT_S = 60
PROLOGUE = """
import signal, sys, threading, time
import numpy as np
import pccl

def say(text):
    print(text, flush=True)

communicator = pccl.Communicator(sys.argv[1], bind_address="127.0.0.1", port_first=0)
array = np.ones(1000, np.float32)

def watch(main=threading.main_thread().ident):
    # Says when the main thread has stayed at one place of the package for a while: it is inside a call then.
    places = [None]
    while len(places) < 4:
        frame = sys._current_frames()[main]
        place = (frame.f_code.co_filename, frame.f_lasti)
        if not frame.f_code.co_filename.endswith("_communicator.py") or place != places[-1]:
            places.clear()
        places.append(place)
        time.sleep(0.02)
    say("blocked")

def gather():
    communicator.connect()
    say("connected")
    threading.Thread(target=watch, daemon=True).start()
"""

# Each blocks while the other member of the run makes no call.
BLOCKING_CALLS = {
    "all_reduce": "communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)",
    "update_topology": "communicator.update_topology()",
    "are_peers_pending": "communicator.are_peers_pending()",
    "optimize_topology": "communicator.optimize_topology()",
    "sync_shared_state": "communicator.sync_shared_state(pccl.SharedState("
    "[pccl.TensorInfo.from_numpy(array, 'x')]))",
    "all_reduce_multiple_with_retry": "communicator.all_reduce_multiple_with_retry("
    "[pccl.ReduceOpDescriptor.from_numpy(array, array, pccl.ReduceDescriptor(1000, pccl.ReduceOp.SUM, 0, "
    "pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT), None))])",
}


class Script:
    """A Python program whose lines of output are awaited."""

    def __init__(self, body: str, address: str) -> None:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + textwrap.dedent(body), address],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def expect(self, line: str) -> None:
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == line + "\n", said + (self.finish()[1] if not said else "")

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def finish(self) -> tuple[int, str]:
        """Exit status and standard error."""
        _, errors = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, errors


@contextlib.contextmanager
def script(body: str, address: str) -> Iterator[Script]:
    running = Script(body, address)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def await_joiner(communicator: pccl.Communicator) -> None:
    """Returns when a peer waits in connect()."""
    while not communicator.are_peers_pending():
        time.sleep(POLL_PAUSE_S)


def await_leaver(communicator: pccl.Communicator) -> None:
    """Returns when this peer is alone."""
    while world_size(communicator) > 1:
        communicator.update_topology()


def test_an_interrupted_connect_ends_the_program():
    with coordinator() as address:
        member = peer(address)
        member.connect()
        with script("communicator.connect()", address) as running:
            await_joiner(member)
            running.interrupt()
            status, errors = running.finish()
        assert status == -signal.SIGINT, errors
        assert errors.rstrip().endswith("KeyboardInterrupt"), errors
        member.close()


def test_a_communicator_can_connect_after_an_interruption():
    body = """
    try:
        communicator.connect()
    except KeyboardInterrupt:
        say("interrupted")
    gather()
    """
    with coordinator() as address:
        member = peer(address)
        member.connect()
        with script(body, address) as running:
            await_joiner(member)
            running.interrupt()
            running.expect("interrupted")
            admit_until(member, 2)
            running.expect("connected")
            status, errors = running.finish()
        assert status == 0, errors
        member.close()


@pytest.mark.parametrize("name", BLOCKING_CALLS)
def test_an_interrupted_call_leaves_the_run(name):
    body = f"""
    gather()
    try:
        {BLOCKING_CALLS[name]}
    except KeyboardInterrupt:
        say("interrupted")
    try:
        communicator.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE)
    except pccl.PCCLError as error:
        assert error.result is pccl.Result.INVALID_USAGE, error
        assert np.all(array == 1)
        say("alone")
    """
    with coordinator() as address:
        member = peer(address)
        member.connect()
        with script(body, address) as running:
            admit_until(member, 2)
            running.expect("connected")
            running.expect("blocked")
            running.interrupt()
            running.expect("interrupted")
            running.expect("alone")
            await_leaver(member)
            status, errors = running.finish()
        assert status == 0, errors
        member.close()


def test_an_interrupted_wait_leaves_the_operation_alone():
    body = """
    gather()
    handle = communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM)
    try:
        handle.wait()
    except KeyboardInterrupt:
        say("interrupted")
    is_success, _, info = handle.wait()
    assert is_success and info.world_size == 2 and np.all(array == 3)
    """
    with coordinator() as address:
        member = peer(address)
        member.connect()
        with script(body, address) as running:
            admit_until(member, 2)
            running.expect("connected")
            running.expect("blocked")
            running.interrupt()
            running.expect("interrupted")
            array = np.full(1000, 2, np.float32)
            member.all_reduce(array, array, op=pccl.ReduceOp.SUM)
            status, errors = running.finish()
        assert status == 0, errors
        member.close()


def test_a_handler_that_returns_does_not_end_the_call():
    body = """
    signal.signal(signal.SIGUSR1, lambda *_: say("handled"))
    gather()
    assert communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM).world_size == 2
    assert np.all(array == 2)
    """
    with coordinator() as address:
        member = peer(address)
        member.connect()
        with script(body, address) as running:
            admit_until(member, 2)
            running.expect("connected")
            running.expect("blocked")
            for _ in range(2):
                running.interrupt(signal.SIGUSR1)
                running.expect("handled")
            array = np.ones(1000, np.float32)
            member.all_reduce(array, array, op=pccl.ReduceOp.SUM)
            status, errors = running.finish()
        assert status == 0, errors
        member.close()


def test_an_interruption_inside_the_log_callback_is_not_lost():
    def interrupted(level: int, text: str) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with coordinator() as address:
        # These time-outs do not fit together, which connect() says on the thread of the caller.
        communicator = peer(
            address,
            liveness_timeout_ms=1000,
            heartbeat_ms=5000,
            log_level="trace",
            log_callback=interrupted,
        )
        with pytest.raises(KeyboardInterrupt):
            communicator.connect()
        communicator.close()


def test_close_in_another_thread_ends_connect():
    with coordinator() as address:
        member = peer(address)
        member.connect()
        communicator = peer(address)
        failures: list[BaseException] = []

        def join() -> None:
            try:
                communicator.connect()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=join, daemon=True)
        thread.start()
        await_joiner(member)
        communicator.close()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
        assert isinstance(failures[0], pccl.PCCLError), failures
        assert failures[0].result is pccl.Result.MASTER_CONNECTION_FAILED
        member.close()


def test_a_daemon_thread_that_connects_does_not_hold_the_interpreter():
    body = """
    def join():
        try:
            communicator.connect()
        except pccl.PCCLError as error:
            assert error.result is pccl.Result.MASTER_CONNECTION_FAILED, error

    threading.Thread(target=join, daemon=True).start()
    sys.stdin.readline()
    """
    with coordinator() as address:
        member = peer(address)
        member.connect()
        with script(body, address) as running:
            await_joiner(member)
            status, errors = running.finish()
        assert (status, errors) == (0, "")
        member.close()
