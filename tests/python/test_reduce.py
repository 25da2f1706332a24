"""Reduces between processes: every type and operator, several in flight, failures and their texts."""

from __future__ import annotations

import threading
import types

import numpy as np
import pytest
from harness import coordinator, gather, peer, run_peers, world_size

import pccl

NUMPY_TYPES = [member for member in pccl.DataType if member is not pccl.DataType.BFLOAT16]
COUNTS = [1, 3, 1000, 40_000]


def local_input(data_type: pccl.DataType, count: int, rank: int) -> np.ndarray:
    """Small integers, so that every type holds every result exactly and wrapping can be predicted."""
    values = np.random.default_rng((data_type.value, count, rank)).integers(1, 4, count)
    return values.astype(data_type.to_numpy_dtype())


def expected(data_type: pccl.DataType, op: pccl.ReduceOp, count: int, size: int) -> np.ndarray:
    """The result in numpy: integers wrap in their type, an integer average truncates."""
    inputs = [local_input(data_type, count, rank) for rank in range(size)]
    dtype = inputs[0].dtype
    if op is pccl.ReduceOp.MAX:
        return np.maximum.reduce(inputs)
    if op is pccl.ReduceOp.MIN:
        return np.minimum.reduce(inputs)
    wide = [values.astype(np.int64) for values in inputs]
    if op is pccl.ReduceOp.PROD:
        return np.multiply.reduce(wide).astype(dtype)
    total = np.add.reduce(wide)
    if op is pccl.ReduceOp.SUM:
        return total.astype(dtype)
    return (total // size).astype(dtype) if dtype.kind in "iu" else (total / size).astype(dtype)


def reduce_everything(address: str, index: int, size: int) -> dict[tuple[str, str, int], bytes]:
    results = {}
    communicator = peer(address)
    gather(communicator, size)
    for data_type in NUMPY_TYPES:
        for op in pccl.ReduceOp:
            for count in COUNTS:
                send = local_input(data_type, count, index)
                before = send.copy()
                recv = np.zeros_like(send)
                info = communicator.all_reduce(send, recv, op=op)
                assert info.world_size == size
                assert np.array_equal(send, before)
                wanted = expected(data_type, op, count, size)
                close = 2e-3 if data_type is pccl.DataType.FLOAT16 else 1e-6
                assert np.allclose(recv.astype(np.float64), wanted.astype(np.float64), rtol=close, atol=0)
                communicator.all_reduce(send, send, op=op)
                assert send.tobytes() == recv.tobytes()
                results[data_type.name, op.name, count] = recv.tobytes()
    return results


@pytest.mark.parametrize("size", [2, 3])
def test_every_type_and_operator(size):
    with coordinator() as address:
        results = run_peers(reduce_everything, *[(address, index, size) for index in range(size)])
    assert len(results[0]) == len(NUMPY_TYPES) * len(pccl.ReduceOp) * len(COUNTS)
    assert all(result == results[0] for result in results)


def wrap_around(address: str, size: int) -> None:
    communicator = peer(address)
    gather(communicator, size)
    array = np.array([200, 255, 1], np.uint8)
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
    assert array.tolist() == [(200 * size) % 256, (255 * size) % 256, size]
    negative = np.array([-3, -4, 3], np.int32)
    communicator.all_reduce(negative, negative, op=pccl.ReduceOp.AVG)
    assert negative.tolist() == [-3, -4, 3]


def test_integers_wrap_and_averages_truncate():
    with coordinator() as address:
        run_peers(wrap_around, (address, 2), (address, 2))


def many_in_flight(address: str, size: int) -> list[bytes]:
    communicator = peer(address)
    gather(communicator, size)
    arrays = [np.full(10_000 + tag, float(tag), np.float32) for tag in range(8)]
    handles = [
        communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM, tag=tag)
        for tag, array in enumerate(arrays)
    ]
    with pytest.raises(pccl.PCCLError) as caught:
        communicator.all_reduce_async(arrays[0], arrays[0], op=pccl.ReduceOp.SUM, tag=0)
    assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    assert len(communicator._in_flight) == 8
    # In another order than they were launched, and from another thread.
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.extend(handle.wait() for handle in reversed(handles)))
    thread.start()
    thread.join()
    for ok, status, info in outcomes:
        assert ok is True and status == 0 and info.world_size == size
    for handle, outcome in zip(reversed(handles), outcomes, strict=True):
        assert handle.test() is True
        assert handle.wait() is outcome
    assert not communicator._in_flight
    for tag, array in enumerate(arrays):
        assert np.all(array == tag * size)
        assert communicator.contributors(tag) == communicator.members
    return [array.tobytes() for array in arrays]


def test_several_tags_in_flight():
    with coordinator() as address:
        results = run_peers(many_in_flight, *[(address, 3)] * 3)
    assert results[0] == results[1] == results[2]


def multiple_with_retry(address: str, size: int) -> None:
    communicator = peer(address)
    gather(communicator, size)
    arrays = [np.full(1000 + number, number + 1, np.int64) for number in range(20)]
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.INT64)
    descriptors = [
        pccl.ReduceOpDescriptor.from_numpy(
            array, array, pccl.ReduceDescriptor(array.size, pccl.ReduceOp.SUM, tag, operand, None)
        )
        for tag, array in enumerate(arrays)
    ]
    info = communicator.all_reduce_multiple_with_retry(descriptors, max_in_flight=3)
    assert info.world_size == size and info.tx_bytes > 0 and info.rx_bytes > 0
    for number, array in enumerate(arrays):
        assert np.all(array == (number + 1) * size)


def test_multiple_with_retry():
    with coordinator() as address:
        run_peers(multiple_with_retry, *[(address, 2)] * 2)


def foreign_objects(address: str, size: int) -> None:
    """A program may pass its own classes with the same attributes."""
    communicator = peer(address)
    gather(communicator, size)
    send, recv = np.ones(5, np.float64), np.zeros(5, np.float64)
    plain = types.SimpleNamespace
    operand = plain(datatype=plain(value=11), distribution_hint=plain(value=1))
    options = plain(quantized_datatype=plain(value=0), algorithm=plain(value=0))
    communicator.all_reduce(
        send, recv, op=plain(value=0), operand_descriptor=operand, quantization_options=options
    )
    assert np.all(recv == size)
    descriptor = plain(
        count=5, op=plain(value=0), tag=3, operand_descriptor=operand, quantization_options=options
    )
    pointer = recv.ctypes.data
    operation = plain(sendbuf_ptr=pointer, recvbuf_ptr=pointer, reduce_descriptor=descriptor)
    communicator.all_reduce_multiple_with_retry([operation])
    assert np.all(recv == size * size)


def test_objects_are_accepted_by_their_attributes():
    with coordinator() as address:
        run_peers(foreign_objects, *[(address, 2)] * 2)


def alone(address: str) -> None:
    communicator = peer(address)
    communicator.connect()
    array = np.ones(4, np.float32)
    for call in (communicator.all_reduce, communicator.all_reduce_async):
        with pytest.raises(pccl.PCCLError) as caught:
            call(array, array, op=pccl.ReduceOp.SUM)
        assert caught.value.result is pccl.Result.TOO_FEW_PEERS
    assert not communicator._in_flight
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    descriptor = pccl.ReduceOpDescriptor.from_numpy(
        array, array, pccl.ReduceDescriptor(4, pccl.ReduceOp.SUM, 0, operand, None)
    )
    with pytest.raises(pccl.PCCLError) as caught:
        communicator.all_reduce_multiple_with_retry([descriptor])
    assert caught.value.result is pccl.Result.TOO_FEW_PEERS
    assert np.all(array == 1)


def test_a_group_of_one_has_too_few_peers():
    with coordinator() as address:
        run_peers(alone, (address,))


def mismatched(address: str, count: int) -> None:
    communicator = peer(address)
    gather(communicator, 2)
    array = np.full(count, 7, np.float32)
    with pytest.raises(pccl.PCCLError) as caught:
        communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
    assert caught.value.result is pccl.Result.INVALID_USAGE
    assert communicator.last_error
    assert np.all(array == 7)
    # Nobody was lost: the next reduce works.
    array = np.full(10, 7, np.float32)
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
    assert np.all(array == 14)


def test_different_descriptors_are_an_error_on_all():
    with coordinator() as address:
        run_peers(mismatched, (address, 100), (address, 101))


def quantised(address: str) -> None:
    communicator = peer(address)
    gather(communicator, 2)
    array = np.full(100, 3, np.float32)
    with pytest.raises(pccl.PCCLError, match="(?i)quanti") as caught:
        communicator.all_reduce(
            array, array, op=pccl.ReduceOp.AVG, quantization_options=pccl.QuantizationOptions()
        )
    assert caught.value.result is pccl.Result.UNSUPPORTED
    assert np.all(array == 3)
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
    assert np.all(array == 6)


def test_quantisation_is_refused_clearly():
    with coordinator() as address:
        run_peers(quantised, (address,), (address,))


def bad_enumerators(address: str) -> None:
    communicator = peer(address)
    gather(communicator, 2)
    array = np.ones(4, np.float32)
    for bad in (types.SimpleNamespace(value=99), -1):
        with pytest.raises(pccl.PCCLError) as caught:
            communicator.all_reduce(array, array, op=bad)
        assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    with pytest.raises(pccl.PCCLError) as caught:
        communicator.get_attribute(17)
    assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)


def test_unknown_enumerators_are_invalid_arguments():
    with coordinator() as address:
        run_peers(bad_enumerators, (address,), (address,))


def waiting_with_timeout(address: str, index: int) -> None:
    """Member 1 launches only after member 0 has seen its wait time out, which it says by another tag."""
    communicator = peer(address)
    gather(communicator, 2)
    signal = np.ones(1, np.uint8)
    array = np.full(1000, index + 1, np.float32)
    if index == 0:
        handle = communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM, tag=1)
        ok, status, _ = handle.wait(timeout_ms=20)
        assert (ok, status) == (False, pccl.Result.TIMEOUT.value)
        assert handle.test() is False
        assert len(communicator._in_flight) == 1
        communicator.all_reduce(signal, signal, op=pccl.ReduceOp.SUM, tag=2)
    else:
        communicator.all_reduce(signal, signal, op=pccl.ReduceOp.SUM, tag=2)
        handle = communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM, tag=1)
    ok, status, info = handle.wait(timeout_ms=30_000)
    assert (ok, status, info.world_size) == (True, 0, 2)
    assert np.all(array == 3)


def test_a_timeout_ends_the_wait_only():
    with coordinator() as address:
        run_peers(waiting_with_timeout, (address, 0), (address, 1))


def cancelling(address: str, index: int) -> None:
    """Member 0 cancels a reduce that member 1 joins late or not at all; tag 2 keeps the two in step."""
    communicator = peer(address)
    gather(communicator, 2)
    signal = np.ones(1, np.uint8)
    array = np.full(1000, 5, np.float32)
    if index == 0:
        handle = communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM, tag=1)
        handle.cancel()
        ok, status, _ = handle.wait(timeout_ms=30_000)
        assert (ok, status) == (False, pccl.Result.CANCELLED.value)
        handle.cancel()
        assert np.all(array == 5)
    communicator.all_reduce(signal, signal, op=pccl.ReduceOp.SUM, tag=2)
    assert world_size(communicator) == 2


def test_cancel_ends_a_reduce_that_cannot_finish():
    with coordinator() as address:
        run_peers(cancelling, (address, 0), (address, 1))


def dropped_handles(address: str) -> None:
    communicator = peer(address)
    gather(communicator, 2)
    for tag in range(4):
        # The handle and the arrays are dropped at once; the library still uses the arrays.
        communicator.all_reduce_async(
            np.ones(200_000, np.float32), np.empty(200_000, np.float32), op=pccl.ReduceOp.SUM, tag=tag
        )
    assert len(communicator._in_flight) == 4
    array = np.ones(10, np.float32)
    communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM, tag=9)
    communicator.close()
    assert not communicator._in_flight


def test_arrays_outlive_a_dropped_handle():
    with coordinator() as address:
        run_peers(dropped_handles, (address,), (address,))


def test_peers_as_threads_of_one_process():
    """Calls release the GIL: peers in one process do not block each other."""
    results: list[float] = []

    def thread_main(address: str) -> None:
        communicator = peer(address)
        gather(communicator, 3)
        array = np.ones(1000, np.float64)
        communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        communicator.close()
        results.append(float(array.sum()))

    with coordinator() as address:
        threads = [threading.Thread(target=thread_main, args=(address,), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert results == [3000.0] * 3


def edge_sizes(address: str) -> None:
    communicator = peer(address)
    gather(communicator, 2)
    for count in (0, 1, 2, 5, 65_537):
        array = np.arange(count, dtype=np.int32)
        communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM)
        assert np.array_equal(array, np.arange(count, dtype=np.int32) * 2)


def test_odd_sizes():
    with coordinator() as address:
        run_peers(edge_sizes, (address,), (address,))
