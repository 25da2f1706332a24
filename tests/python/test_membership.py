"""Peers that join, leave and are killed while the others go on."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

import numpy as np
import pytest
from harness import (
    PEER_TIMEOUT_S,
    POLL_PAUSE_S,
    Peer,
    admit_until,
    coordinator,
    event,
    gather,
    kept,
    peer,
    peers,
    results,
    run_peers,
    world_size,
)

import pccl

# Short enough that a killed peer is noticed at once in any case; loopback resets make it immediate.
LIVENESS_MS = 1000


def ones(count: int = 1000) -> np.ndarray:
    return np.ones(count, np.float32)


def identity(address: str, size: int) -> tuple[uuid.UUID, int, list[uuid.UUID]]:
    communicator = peer(address)
    gather(communicator, size)
    array = ones()
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM, tag=4)
    assert communicator.contributors(4) == communicator.members
    with pytest.raises(pccl.PCCLError):
        communicator.contributors(5)
    return communicator.rank_id, communicator.rank, communicator.members


def test_ranks_and_members_agree():
    with coordinator() as address:
        answers = run_peers(identity, *[(address, 3)] * 3)
    members = answers[0][2]
    assert len(set(members)) == 3
    assert all(answer[2] == members for answer in answers)
    assert all(members[rank] == rank_id for rank_id, rank, _ in answers)
    assert sorted(rank for _, rank, _ in answers) == [0, 1, 2]


def attributes(address: str, peer_group: int, size: int) -> list[int]:
    communicator = peer(address, peer_group=peer_group)
    gather(communicator, size)
    array = ones()
    in_group = communicator.get_attribute(pccl.Attribute.LOCAL_WORLD_SIZE)
    if in_group > 1:
        communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        assert np.all(array == in_group)
    return [communicator.get_attribute(attribute) for attribute in pccl.Attribute]


def test_peer_groups():
    with coordinator() as address:
        answers = run_peers(attributes, *[(address, group, 3) for group in (7, 7, 0)])
    assert answers == [[3, 2, 2, 2], [3, 2, 2, 2], [3, 1, 2, 2]]


def loop_until(address: str, size: int, steps: int) -> int:
    """The customary loop: admit who waits, then reduce; ends after `steps` reduces of the full group."""
    communicator = peer(address)
    communicator.connect()
    admitted = True  # The others go on behind update_topology, and so does a joiner.
    done = 0
    while done < steps:
        if not admitted and communicator.are_peers_pending():
            communicator.update_topology()
        admitted = False
        if world_size(communicator) < 2:
            time.sleep(POLL_PAUSE_S)
            continue
        array = ones()
        info = communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        assert np.all(array == info.world_size)
        done += info.world_size == size
    return world_size(communicator)


def test_late_joiner_is_admitted_by_the_loop():
    with coordinator() as address:
        assert run_peers(loop_until, *[(address, 3, 20)] * 3) == [3, 3, 3]


def survive(address: str, size: int, survivors: int, automatic: bool) -> int:
    """Reduces until a result has `survivors` contributors. Returns how many failures were reported."""
    policy = pccl.OnFailure.RETRY if automatic else pccl.OnFailure.REPORT
    communicator = peer(address, on_failure=policy, liveness_timeout_ms=LIVENESS_MS)
    gather(communicator, size)
    failures = 0
    while True:
        array = ones()
        try:
            info = communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        except pccl.PCCLError as error:
            assert error.result is pccl.Result.RANK_CONNECTION_LOST
            assert communicator.last_error
            assert np.all(array == 1), "an in-place input must be intact after a failure"
            failures += 1
            continue
        assert np.all(array == info.world_size)
        if info.world_size == survivors:
            assert world_size(communicator) == survivors
            losses = communicator.failures()
            assert [loss.number for loss in losses] == list(range(1, size - survivors + 1))
            for loss in losses:
                assert loss.member not in communicator.members
                assert "reports: " in loss.cause and loss.address and loss.operations
            assert communicator.failures(len(losses)) == []
            return failures


def victim(address: str, size: int, automatic: bool, busy: Any) -> None:
    policy = pccl.OnFailure.RETRY if automatic else pccl.OnFailure.REPORT
    communicator = peer(address, on_failure=policy, liveness_timeout_ms=LIVENESS_MS)
    gather(communicator, size)
    for step in itertools.count():
        array = ones()
        communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        if step == 20:
            busy.set()


@pytest.mark.parametrize("automatic", [False, True], ids=["report", "retry"])
def test_a_killed_peer_is_survived(automatic):
    with coordinator(liveness_timeout_ms=LIVENESS_MS) as address:
        busy = event()
        lost = Peer(victim, address, 3, automatic, busy)
        try:
            with peers(survive, (address, 3, 2, automatic), (address, 3, 2, automatic)) as processes:
                assert busy.wait(PEER_TIMEOUT_S)
                lost.kill()
                failures = results(processes)
        finally:
            lost.kill()
    if automatic:
        assert failures == [0, 0]


def survive_with(address: str, options: dict[str, Any]) -> int:
    """As `survive` for 2 of 3, with nothing said about failures."""
    communicator = kept(pccl.Communicator(address, **options))
    gather(communicator, 3)
    failures = 0
    while True:
        array = ones()
        try:
            info = communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        except pccl.PCCLError as error:
            assert error.result is pccl.Result.RANK_CONNECTION_LOST
            failures += 1
            continue
        if info.world_size == 2:
            return failures


def reduce_then_wait(address: str, options: dict[str, Any], busy: Any) -> None:
    """Leaves the others alone in the middle of their second reduce."""
    communicator = pccl.Communicator(address, **options)
    gather(communicator, 3)
    array = ones()
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
    busy.set()
    while True:
        time.sleep(1)


@pytest.mark.parametrize(
    "options", [{}, {"bind_address": "127.0.0.1", "port_first": 0}], ids=["no option", "other options"]
)
def test_a_lost_peer_is_reported_unless_told_otherwise(options, monkeypatch):
    # Not even the environment changes what a program written for PCCL 1.0 sees.
    monkeypatch.setenv("PCCL_ON_FAILURE", "retry")
    with coordinator(liveness_timeout_ms=LIVENESS_MS) as address:
        busy = event()
        lost = Peer(reduce_then_wait, address, options, busy)
        try:
            with peers(survive_with, (address, options), (address, options)) as processes:
                assert busy.wait(PEER_TIMEOUT_S)
                lost.kill()
                assert all(failures == 1 for failures in results(processes))
        finally:
            lost.kill()


def leave_in_turn(address: str, index: int) -> int:
    communicator = peer(address, keep=False)
    gather(communicator, 3)
    array = ones()
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
    if index == 0:
        communicator.leave()
        with pytest.raises(pccl.PCCLError) as caught:
            world_size(communicator)
        assert caught.value.result is pccl.Result.INVALID_USAGE
        return 0
    if index == 1:
        # A destructor leaves too, once member 0 is gone.
        reduce_with_retry(communicator, 2)
        del communicator
        return 0
    reduce_with_retry(communicator, 2)
    while world_size(communicator) > 1:
        communicator.update_topology()
    return world_size(communicator)


def reduce_with_retry(communicator: pccl.Communicator, size: int) -> None:
    while True:
        array = ones()
        try:
            info = communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        except pccl.PCCLError as error:
            assert error.result in (pccl.Result.RANK_CONNECTION_LOST, pccl.Result.TOO_FEW_PEERS)
            if error.result is pccl.Result.TOO_FEW_PEERS:
                return
            continue
        if info.world_size == size:
            return


def test_leaving_and_destruction():
    with coordinator() as address:
        assert run_peers(leave_in_turn, *[(address, index) for index in range(3)]) == [0, 0, 1]


def rejoin(address: str) -> tuple[uuid.UUID, uuid.UUID]:
    communicator = peer(address)
    communicator.connect()
    with pytest.raises(pccl.PCCLError) as caught:
        communicator.connect()
    assert caught.value.result is pccl.Result.INVALID_USAGE
    first = communicator.rank_id
    communicator.leave()
    communicator.connect()
    assert world_size(communicator) == 1
    return first, communicator.rank_id


def test_a_communicator_can_join_again():
    with coordinator() as address:
        [(first, second)] = run_peers(rejoin, (address,))
    assert first != second


def pending_operation(address: str) -> bool:
    communicator = peer(address)
    gather(communicator, 2)
    array = ones()
    handle = communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM)
    for call in (
        communicator.update_topology,
        lambda: communicator.sync_shared_state(pccl.SharedState([pccl.TensorInfo.from_numpy(array, "x")])),
    ):
        with pytest.raises(pccl.PCCLError) as caught:
            call()
        assert caught.value.result is pccl.Result.PENDING_ASYNC_OPS
    pending = communicator.are_peers_pending()
    assert handle.wait()[0]
    communicator.update_topology()
    communicator.optimize_topology()
    assert world_size(communicator) == 2
    return pending


def test_collectives_refuse_while_reduces_are_not_awaited():
    with coordinator() as address:
        answers = run_peers(pending_operation, (address,), (address,))
    assert answers[0] == answers[1]


def test_log_messages_reach_the_callback():
    messages: list[tuple[int, str]] = []
    with coordinator() as address:
        communicator = peer(
            address, log_level="trace", log_callback=lambda level, text: messages.append((level, text))
        )
        communicator.connect()
        admit_until(communicator, 1)
        communicator.close()
    assert messages
    assert all(0 <= level <= 6 and isinstance(text, str) and text for level, text in messages)


def test_a_callback_that_raises_ends_nothing(capfd, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)

    def broken(level: int, text: str) -> None:
        raise ValueError(text)

    with coordinator() as address:
        communicator = peer(address, log_level="trace", log_callback=broken)
        communicator.connect()
        assert world_size(communicator) == 1
        communicator.close()
