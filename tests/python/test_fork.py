"""A process that is forked while communicators and coordinators exist: it cannot use its copies of them, and
they do not hold it up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from harness import coordinator

TIMEOUT_S = 60

# The parent of each script waits for its child, and both say when they are through.
PROLOGUE = """
import multiprocessing, os, sys, threading, time
import numpy as np
import pccl

def peer(address):
    return pccl.Communicator(address, bind_address="127.0.0.1", port_first=0, log_level="none")

def refused(call):
    try:
        call()
    except pccl.PCCLError as error:
        assert error.result is pccl.Result.INVALID_USAGE, error
        assert str(parent) in str(error) and "forked" in str(error), error
    else:
        raise AssertionError("the call should have failed")

def end_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

parent = os.getpid()
"""


def run_script(body: str, *arguments: str) -> str:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    program = PROLOGUE + textwrap.dedent(body)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # A child that hangs must not outlive the test.
    assert process.returncode == 0, output + errors
    assert "Traceback" not in errors, errors
    return output


def test_the_copies_of_a_forked_process_refuse_calls_and_are_dropped():
    output = run_script(
        """
        with pccl.MasterNode("127.0.0.1:0") as master:
            address = f"127.0.0.1:{master.port}"
            communicator = peer(address)
            communicator.connect()
            child = os.fork()
            if child == 0:
                array = np.ones(4, np.float32)
                refused(communicator.connect)
                refused(communicator.update_topology)
                refused(communicator.are_peers_pending)
                refused(lambda: communicator.rank)
                refused(lambda: communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM))
                refused(lambda: communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM))
                refused(communicator.leave)
                refused(master.interrupt)
                refused(master.run)
                refused(master.wait)
                refused(lambda: master.port)
                assert communicator.last_error == ""
                communicator.close()
                # Objects of its own work.
                with pccl.MasterNode("127.0.0.1:0") as own_master:
                    own = peer(f"127.0.0.1:{own_master.port}")
                    own.connect()
                    assert own.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE) == 1
                    own.close()
                del communicator
                print("child done", flush=True)
                sys.exit(7)  # Leaves the block above and runs the functions of atexit.
            assert end_of(child) == 7
            assert communicator.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE) == 1
            communicator.update_topology()
            communicator.close()
        print("parent done")
        """
    )
    assert output.splitlines() == ["child done", "parent done"]


def test_a_coordinator_that_runs_does_not_hold_the_end_of_a_forked_process():
    run_script(
        """
        master = pccl.MasterNode("127.0.0.1:0")
        master.run()
        waiting = threading.Thread(target=master.wait)
        waiting.start()
        child = os.fork()
        if child == 0:
            sys.exit(7)
        assert end_of(child) == 7
        child = os.fork()
        if child == 0:
            del master
            sys.exit(8)
        assert end_of(child) == 8
        master.interrupt()
        waiting.join()
        """
    )


def test_calls_that_run_in_other_threads_do_not_hold_a_forked_process():
    with coordinator() as address:
        run_script(
            """
            def member():
                # Alone it admits the other one, with which the communicator of the main thread then reduces.
                other = peer(sys.argv[1])
                other.connect()
                ready.set()
                while other.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE) < 2:
                    if other.are_peers_pending():
                        other.update_topology()
                    time.sleep(0.005)
                go_on.wait()
                array = np.ones(4, np.float32)
                assert other.all_reduce(array, array, op=pccl.ReduceOp.SUM).world_size == 2
                other.close()

            ready, go_on = threading.Event(), threading.Event()
            thread = threading.Thread(target=member)
            thread.start()
            ready.wait()
            communicator = peer(sys.argv[1])
            communicator.connect()
            array = np.ones(4, np.float32)
            handle = communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM)
            blocked = threading.Thread(target=handle.wait)
            blocked.start()
            while not handle._lock.locked():  # the thread is in the call, or about to enter it
                time.sleep(0.005)
            child = os.fork()
            if child == 0:
                assert handle.wait() == (False, pccl.Result.INVALID_USAGE.value, pccl.ReduceInfo(0, 0, 0))
                refused(handle.test)
                refused(handle.cancel)
                del handle, communicator
                sys.exit(7)
            assert end_of(child) == 7
            go_on.set()
            blocked.join()
            assert handle.wait()[0] and np.all(array == 2)
            communicator.close()
            thread.join()
            """,
            address,
        )


@pytest.mark.skipif(sys.platform == "darwin", reason="no fork start method by default")
def test_multiprocessing_with_the_start_method_fork():
    output = run_script(
        """
        def work():
            refused(communicator.update_topology)
            print("worker done", flush=True)

        with pccl.MasterNode("127.0.0.1:0") as master:
            communicator = peer(f"127.0.0.1:{master.port}")
            communicator.connect()
            worker = multiprocessing.get_context("fork").Process(target=work)
            worker.start()
            worker.join(30)
            assert worker.exitcode == 0, worker.exitcode
        """
    )
    assert output == "worker done\n"
