"""Shared state between processes: elections, late joiners, strategies."""

from __future__ import annotations

import numpy as np
import pytest
from harness import admit_until, coordinator, gather, peer, run_peers, world_size

import pccl

TYPES = [member for member in pccl.DataType if member is not pccl.DataType.BFLOAT16]


def state_of(**tensors: np.ndarray) -> pccl.SharedState:
    return pccl.SharedState([pccl.TensorInfo.from_numpy(array, name) for name, array in tensors.items()])


def popular(address: str, value: float, size: int) -> tuple[float, int, int, int]:
    communicator = peer(address)
    gather(communicator, size)
    weights = np.full(1000, value, np.float32)
    same = np.arange(10, dtype=np.int16)
    state = state_of(weights=weights, same=same)
    info = communicator.sync_shared_state(state)
    assert np.all(weights == weights[0]) and same.tolist() == list(range(10))
    state.push_revision()
    again = communicator.sync_shared_state(state)
    assert (again.tx_bytes, again.rx_bytes) == (0, 0)
    return float(weights[0]), info.tx_bytes, info.rx_bytes, state.revision


def test_the_content_held_by_most_wins():
    with coordinator() as address:
        answers = run_peers(popular, (address, 1.0, 3), (address, 2.0, 3), (address, 2.0, 3))
    assert [answer[0] for answer in answers] == [2.0] * 3
    # Only the differing tensor travelled, once, to the one that lacked it.
    assert [answer[2] for answer in answers] == [4000, 0, 0]
    assert sum(answer[1] for answer in answers) == 4000
    assert [answer[3] for answer in answers] == [1] * 3


def alone(address: str) -> None:
    communicator = peer(address)
    communicator.connect()
    array = np.ones(5)
    state = state_of(x=array)
    for _ in range(3):
        info = communicator.sync_shared_state(state)
        assert info.rx_bytes == 0
        state.push_revision()
    assert np.all(array == 1)


def test_works_alone():
    with coordinator() as address:
        run_peers(alone, (address,))


def train(address: str, steps: int, start_size: int, end_size: int) -> tuple[int, bytes, int]:
    """Adds 1 to everything in each step. A late joiner must continue from what the others hold."""
    communicator = peer(address)
    communicator.connect()
    arrays = {member.name: np.zeros(257, member.to_numpy_dtype()) for member in TYPES}
    step = np.zeros(1, np.int64)
    state = state_of(step=step, **arrays)
    received = 0
    admit_until(communicator, start_size)
    admitted = True  # The others go on behind update_topology, and so does a joiner.
    while step[0] < steps:
        if not admitted and communicator.are_peers_pending():
            communicator.update_topology()
        admitted = False
        received += communicator.sync_shared_state(state).rx_bytes
        state.push_revision()
        if step[0] == steps // 2 and world_size(communicator) < end_size:
            continue  # Half-way everybody waits for the joiner.
        for array in arrays.values():
            array += 1
        step[0] += 1
    return received, b"".join(array.tobytes() for array in arrays.values()), state.revision


def test_a_late_joiner_receives_every_type():
    with coordinator() as address:
        # The third comes at any time before the half; whoever finds others at work holds outdated revision 0.
        answers = run_peers(train, (address, 20, 2, 3), (address, 20, 2, 3), (address, 20, 1, 3))
    assert len({answer[1] for answer in answers}) == 1
    assert len({answer[2] for answer in answers}) == 1
    wanted = b"".join(np.full(257, 20, member.to_numpy_dtype()).tobytes() for member in TYPES)
    assert answers[0][1] == wanted


def strategies(address: str, index: int) -> tuple[float, int]:
    communicator = peer(address)
    gather(communicator, 2)
    array = np.full(100, float(index), np.float64)
    strategy = [pccl.SharedStateSyncStrategy.SEND_ONLY, pccl.SharedStateSyncStrategy.RECEIVE_ONLY][index]
    info = communicator.sync_shared_state(state_of(x=array), strategy)
    return float(array[0]), info.rx_bytes


def test_send_only_and_receive_only():
    with coordinator() as address:
        answers = run_peers(strategies, (address, 0), (address, 1))
    assert answers == [(0.0, 0), (0.0, 800)]


def inequality(address: str, index: int) -> tuple[float, float]:
    communicator = peer(address)
    gather(communicator, 2)
    own = np.full(10, float(index), np.float32)
    common = np.full(10, 5.0, np.float32)
    state = pccl.SharedState(
        [
            pccl.TensorInfo.from_numpy(own, "own", allow_content_inequality=True),
            pccl.TensorInfo.from_numpy(common, "common"),
        ]
    )
    info = communicator.sync_shared_state(state)
    assert info.rx_bytes == 0
    return float(own[0]), float(common[0])


def test_tensors_may_be_allowed_to_differ():
    with coordinator() as address:
        assert run_peers(inequality, (address, 0), (address, 1)) == [(0.0, 5.0), (1.0, 5.0)]


def refusals(address: str) -> None:
    communicator = peer(address)
    communicator.connect()
    array = np.zeros(4, np.float32)
    on_cuda = pccl.TensorInfo(
        "x",
        array.ctypes.data,
        numel=4,
        dtype=pccl.DataType.FLOAT,
        device_type=pccl.DeviceType.CUDA,
        allow_content_inequality=False,
    )
    bad_type = pccl.TensorInfo.from_numpy(array, "x")
    bad_type.dtype = 99
    for state, strategy in [
        (pccl.SharedState([on_cuda]), pccl.SharedStateSyncStrategy.ENFORCE_POPULAR),
        (pccl.SharedState([bad_type]), pccl.SharedStateSyncStrategy.ENFORCE_POPULAR),
        (state_of(x=array), 9),
    ]:
        with pytest.raises(pccl.PCCLError) as caught:
            communicator.sync_shared_state(state, strategy)
        assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    communicator.sync_shared_state(state_of(x=array))


def test_bad_arguments():
    with coordinator() as address:
        run_peers(refusals, (address,))
