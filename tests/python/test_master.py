"""Coordinators: as an object, as a program, and at the end of a script."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
from harness import coordinator, peer, world_size

import pccl

TIMEOUT_S = 30


def python(*arguments: str) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and standard error; a process that does not end is killed."""
    try:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    return process.returncode, errors


def test_run_interrupt_and_run_again():
    master = pccl.MasterNode("127.0.0.1:0")
    with pytest.raises(pccl.PCCLError) as caught:
        _ = master.port
    assert caught.value.result is pccl.Result.INVALID_USAGE
    master.run()
    port = master.port
    assert port > 0
    with pytest.raises(pccl.PCCLError) as caught:
        master.run()
    assert caught.value.result is pccl.Result.INVALID_USAGE
    assert master.wait(0.05) is False
    master.interrupt()
    master.interrupt()
    assert master.wait(TIMEOUT_S) is True
    del master
    # The port is free again at once.
    with pccl.MasterNode(f"127.0.0.1:{port}") as again:
        assert again.port == port


def test_interrupt_at_any_time():
    master = pccl.MasterNode("127.0.0.1:0")
    master.interrupt()
    master.run()
    assert master.wait(0.05) is False, "an interruption before the start means nothing"
    master.interrupt()
    assert master.wait(TIMEOUT_S) is True
    master.interrupt()
    master._finish()
    master.interrupt()
    assert master.wait(0) is True
    with pccl.MasterNode("127.0.0.1:0") as other:
        pass
    other.interrupt()


def test_a_busy_port_is_an_error_and_can_be_tried_again():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        master = pccl.MasterNode(f"127.0.0.1:{port}")
        with pytest.raises(pccl.PCCLError) as caught:
            master.run()
        assert caught.value.result is pccl.Result.INVALID_USAGE
        assert str(port) in str(caught.value)
    master.run()
    assert master.port == port
    master.interrupt()


def test_a_master_that_never_ran_is_destroyed_at_once():
    master = pccl.MasterNode("127.0.0.1:0")
    del master


def test_several_addresses_and_names():
    with pccl.MasterNode(["127.0.0.1:0", "127.0.0.2:0"]) as master:
        communicator = peer(f"localhost:{master.port}")
        communicator.connect()
        assert world_size(communicator) == 1
        communicator.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback")
    with pccl.MasterNode("[::1]:0") as master:
        communicator = peer(f"[::1]:{master.port}", bind_address="::1")
        communicator.connect()
        assert world_size(communicator) == 1
        communicator.close()


def test_destruction_waits_until_interrupted():
    master = pccl.MasterNode("127.0.0.1:0")
    master.run()
    native = master._native
    destroyed = threading.Event()
    holder = [master]
    del master

    def drop() -> None:
        holder.clear()
        destroyed.set()

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    assert not destroyed.wait(0.3)
    native.interrupt()
    assert destroyed.wait(TIMEOUT_S)


def test_a_communicator_outlives_its_master():
    with coordinator() as address:
        communicator = peer(address, liveness_timeout_ms=1000)
        communicator.connect()
    communicator.close()


SCRIPT = """
import pccl
{body}
"""


@pytest.mark.parametrize(
    "body",
    ["pccl.MasterNode('127.0.0.1:{port}').run()", "node = pccl.MasterNode('127.0.0.1:{port}')\nnode.run()"],
    ids=["temporary", "module global"],
)
def test_a_script_that_only_runs_a_master_stays(body):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = python("-c", SCRIPT.format(body=body.format(port=port)))
    try:
        communicator = peer(f"127.0.0.1:{port}")
        communicator.connect(n_attempts=10)
        assert world_size(communicator) == 1
        communicator.close()
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
    finally:
        status, errors = finish(process)
    assert status == 0, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["pccl.master"])
def test_the_program(module, number):
    process = python("-m", module, "--listen-address", "127.0.0.1:0")
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", line)
    try:
        assert found, line
        communicator = peer(f"127.0.0.1:{found[1]}")
        communicator.connect()
        communicator.close()
        process.send_signal(number)
    finally:
        status, errors = finish(process)
    assert status == 0, errors


def test_the_program_names_what_is_wrong():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        status, errors = finish(python("-m", "pccl.master", "--listen-address", address))
    assert status == 1
    assert errors.startswith("pccl_master: ") and address.rpartition(":")[2] in errors
    assert "Traceback" not in errors
    status, errors = finish(python("-m", "pccl.master", "--listen-address", "nonsense"))
    assert status == 1 and "nonsense" in errors and "Traceback" not in errors


def test_a_communicator_left_open_does_not_hold_the_interpreter():
    with coordinator() as address:
        body = f"c = pccl.Communicator('{address}')\nc.connect()\nprint('connected')"
        status, errors = finish(python("-c", SCRIPT.format(body=body)))
    assert status == 0, errors


def test_state_directory(tmp_path):
    directory = tmp_path / "state"
    with pccl.MasterNode("127.0.0.1:0", str(directory)) as master:
        communicator = peer(f"127.0.0.1:{master.port}")
        communicator.connect()
        communicator.close()
    assert directory.is_dir() and any(directory.iterdir())
