"""torch tensors; skipped where torch is not installed."""

from __future__ import annotations

import pytest
from harness import coordinator, gather, peer, run_peers

import pccl

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("data_type", pccl.DataType, ids=lambda member: member.name)
def test_types_translate_both_ways(data_type):
    assert pccl.DataType.from_torch_dtype(data_type.to_torch_dtype()) is data_type
    assert torch.empty(0, dtype=data_type.to_torch_dtype()).element_size() == data_type.itemsize


def test_other_types_are_refused():
    for dtype in (torch.complex64, torch.bool):
        with pytest.raises(pccl.PCCLError):
            pccl.DataType.from_torch_dtype(dtype)


def test_tensors_that_cannot_be_used_are_refused():
    communicator = pccl.Communicator("127.0.0.1:9")
    good = torch.zeros(4)
    on_meta = torch.zeros(4, device="meta")
    for bad in (torch.zeros(4, 4).t()[:2], torch.zeros(4).to_sparse(), on_meta, [0.0] * 4):
        with pytest.raises(pccl.PCCLError) as caught:
            communicator.all_reduce(good, bad, op=pccl.ReduceOp.SUM)
        assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    with pytest.raises(pccl.PCCLError, match="numpy"):
        communicator.all_reduce(good, good.numpy(), op=pccl.ReduceOp.SUM)
    with pytest.raises(pccl.PCCLError):
        pccl.TensorInfo.from_torch(torch.zeros(4, 4).t(), "x")


def test_tensor_info():
    tensor = torch.zeros(3, 2, dtype=torch.bfloat16)
    info = pccl.TensorInfo.from_torch(tensor, "x")
    assert (info.data_ptr, info.numel, info.dtype) == (tensor.data_ptr(), 6, pccl.DataType.BFLOAT16)
    assert info.device_type is pccl.DeviceType.CPU


def reduce_and_share(address: str, index: int) -> None:
    torch.set_num_threads(1)
    communicator = peer(address)
    gather(communicator, 2)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64):
        tensor = torch.full((100,), index + 1).to(dtype)
        result = torch.zeros_like(tensor)
        communicator.all_reduce(tensor, result, op=pccl.ReduceOp.SUM)
        assert torch.all(result == 3)
        handle = communicator.all_reduce_async(tensor, tensor, op=pccl.ReduceOp.MAX, tag=7)
        assert handle.wait()[0]
        assert torch.all(tensor == 2)
    parameter = torch.nn.Parameter(torch.full((10,), 1.5))
    communicator.all_reduce(parameter, parameter, op=pccl.ReduceOp.AVG)
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    send = torch.ones(8)
    descriptor = pccl.ReduceDescriptor(8, pccl.ReduceOp.SUM, 1, operand, None)
    communicator.all_reduce_multiple_with_retry([pccl.ReduceOpDescriptor.from_torch(send, send, descriptor)])
    assert torch.all(send == 2)
    shared = torch.full((50,), 4.0, dtype=torch.bfloat16)
    state = pccl.SharedState([pccl.TensorInfo.from_torch(shared, "shared")])
    assert communicator.sync_shared_state(state).rx_bytes == 0


def test_reduces_and_shared_state():
    with coordinator() as address:
        run_peers(reduce_and_share, (address, 0), (address, 1))
