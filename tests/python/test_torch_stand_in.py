"""How the package looks at torch tensors, with a stand-in for torch: this runs where torch is not installed.
What only torch itself can show is in test_torch.py."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import stand_in_torch
from harness import coordinator, gather, peer, run_peers
from stand_in_torch import DTensor, Tensor, zeros

import pccl


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    module = stand_in_torch.module()
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.fixture
def communicator() -> pccl.Communicator:
    return pccl.Communicator("127.0.0.1:9")


@pytest.mark.parametrize("data_type", pccl.DataType, ids=lambda member: member.name)
def test_types_translate_both_ways(data_type):
    assert pccl.DataType.from_torch_dtype(data_type.to_torch_dtype()) is data_type


def test_other_types_are_refused(torch, monkeypatch):
    with pytest.raises(pccl.PCCLTypeError, match="complex64"):
        pccl.DataType.from_torch_dtype(torch.complex64)
    monkeypatch.delattr(torch, "uint16")
    with pytest.raises(pccl.PCCLArgumentError, match="uint16"):
        pccl.DataType.UINT16.to_torch_dtype()
    float32 = torch.float32
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(pccl.PCCLTypeError, match="float32"):
        pccl.DataType.from_torch_dtype(float32)


def test_tensor_info():
    tensor = Tensor(zeros(3, 2, dtype=np.uint16), "bfloat16")
    info = pccl.TensorInfo.from_torch(tensor, "x")
    assert (info.data_ptr, info.numel, info.dtype) == (tensor.data_ptr(), 6, pccl.DataType.BFLOAT16)
    assert info.device_type is pccl.DeviceType.CPU
    on_device = pccl.TensorInfo.from_torch(Tensor(zeros(3), device="cuda"), "y")
    assert on_device.device_type is pccl.DeviceType.CUDA


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Tensor(zeros(4), layout="torch.sparse_coo"), "dense"),
        (lambda: Tensor(zeros(4, 4).T[:1]), "contiguous"),
        (lambda: Tensor(zeros(4), conj=True), "lazily"),
        (lambda: Tensor(zeros(4), neg=True), "lazily"),
        (lambda: Tensor(zeros(4), device="meta"), "meta"),
        (lambda: Tensor(zeros(4), device="cuda"), "host memory"),
        (lambda: Tensor(zeros(4, dtype=np.complex64)), "complex64"),
        (lambda: DTensor(zeros(4)), "to_local"),
        (lambda: Tensor(zeros(5)), "elements"),
        (lambda: Tensor(zeros(4, dtype=np.float64)), "DOUBLE"),
        (lambda: zeros(4), "numpy"),
        (lambda: [0.0] * 4, "list"),
    ],
)
def test_tensors_that_cannot_be_used_are_refused(communicator, make, text):
    with pytest.raises(pccl.PCCLError, match=text):
        communicator.all_reduce(Tensor(zeros(4)), make(), op=pccl.ReduceOp.SUM)


def test_arrays_are_no_tensors():
    with pytest.raises(pccl.PCCLTypeError, match="torch tensor"):
        pccl.TensorInfo.from_torch(zeros(4), "x")
    with pytest.raises(pccl.PCCLTypeError, match="numpy array"):
        pccl.TensorInfo.from_numpy(Tensor(zeros(4)), "x")


def reduce_and_share(address: str, index: int) -> None:
    sys.modules["torch"] = stand_in_torch.module()
    communicator = peer(address)
    gather(communicator, 2)
    tensor, result = Tensor(np.full(100, index + 1.0)), Tensor(np.zeros(100))
    communicator.all_reduce(tensor, result, op=pccl.ReduceOp.SUM)
    assert np.all(result.array == 3)
    handle = communicator.all_reduce_async(tensor, tensor, op=pccl.ReduceOp.MAX, tag=7)
    assert handle.wait()[0] and np.all(tensor.array == 2)
    # 1.0 and 2.0 as the upper halves of floats.
    half = Tensor(np.full(10, 0x3F80, np.uint16), "bfloat16")
    communicator.all_reduce(half, half, op=pccl.ReduceOp.SUM)
    assert np.all(half.array == 0x4000)
    send = Tensor(np.ones(8, np.float32))
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    descriptor = pccl.ReduceDescriptor(8, pccl.ReduceOp.SUM, 1, operand, None)
    communicator.all_reduce_multiple_with_retry([pccl.ReduceOpDescriptor.from_torch(send, send, descriptor)])
    assert np.all(send.array == 2)
    state = pccl.SharedState([pccl.TensorInfo.from_torch(Tensor(np.full(50, 4.0)), "shared")])
    assert communicator.sync_shared_state(state).rx_bytes == 0


def test_reduces_and_shared_state():
    with coordinator() as address:
        run_peers(reduce_and_share, (address, 0), (address, 1))
