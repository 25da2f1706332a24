"""Descriptions of reduces, and their translation to the numbers of the C interface. Objects are accepted by
their attributes, so a program may pass its own classes with the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._arrays import ArrayView, view_array, view_numpy, view_torch
from ._enums import DataType, DeviceType, DistributionHint, QuantizationAlgorithm, ReduceOp, number_of
from ._errors import PCCLArgumentError, PCCLError, PCCLTypeError, check_fields
from ._result import Result

_DESCRIPTOR_FIELDS = ("count", "op", "tag", "operand_descriptor", "quantization_options")

# send, recv, count, op, tag, datatype, hint, quantised type, algorithm
ReduceNumbers = tuple[int, int, int, int, int, int, int, int, int]


@dataclass
class ReduceOperandDescriptor:
    """Element type of the operands and how their values are distributed."""

    datatype: Any
    distribution_hint: Any = DistributionHint.NONE


@dataclass
class QuantizationOptions:
    """Quantisation of what is sent."""

    quantized_datatype: Any = DataType.UINT8
    algorithm: Any = QuantizationAlgorithm.MIN_MAX


@dataclass
class ReduceDescriptor:
    """One reduce; all fields must be equal on all members. `count` is in elements."""

    count: int
    op: Any
    tag: int
    operand_descriptor: Any
    quantization_options: Any


@dataclass(frozen=True)
class ReduceInfo:
    """What a finished reduce tells: how many members are in the result, and payload bytes."""

    local_world_size: int
    tx_bytes: int
    rx_bytes: int

    @property
    def world_size(self) -> int:
        """The same as `local_world_size`."""
        return self.local_world_size


class ReduceOpDescriptor:
    """One reduce of `all_reduce_multiple_with_retry`: two addresses and a description. The static methods
    take arrays, check them against the description, and keep them alive."""

    def __init__(self, sendbuf_ptr: int, recvbuf_ptr: int, reduce_descriptor: Any) -> None:
        self.sendbuf_ptr = sendbuf_ptr
        self.recvbuf_ptr = recvbuf_ptr
        self.reduce_descriptor = reduce_descriptor
        self._keep_alive: tuple[Any, ...] = ()

    @staticmethod
    def from_torch(send: Any, recv: Any, reduce_descriptor: Any) -> ReduceOpDescriptor:
        """From two torch tensors."""
        pair = check_pair(view_torch(send, "send"), view_torch(recv, "recv"))
        return ReduceOpDescriptor._from_views(pair, (send, recv), reduce_descriptor)

    @staticmethod
    def from_numpy(send: Any, recv: Any, reduce_descriptor: Any) -> ReduceOpDescriptor:
        """From two numpy arrays."""
        pair = check_pair(
            view_numpy(send, "send", writable=False), view_numpy(recv, "recv", writable=True)
        )
        return ReduceOpDescriptor._from_views(pair, (send, recv), reduce_descriptor)

    @staticmethod
    def _from_views(
        pair: tuple[ArrayView, ArrayView], arrays: tuple[Any, Any], reduce_descriptor: Any
    ) -> ReduceOpDescriptor:
        send, recv = pair
        check_fields(reduce_descriptor, "reduce_descriptor", *_DESCRIPTOR_FIELDS)
        if reduce_descriptor.count != send.numel:
            raise PCCLArgumentError(
                f"the descriptor's count is {reduce_descriptor.count}, but the arrays have {send.numel}"
            )
        operand_numbers(reduce_descriptor.operand_descriptor, send.data_type)
        out = ReduceOpDescriptor(send.pointer, recv.pointer, reduce_descriptor)
        out._keep_alive = arrays
        return out


def check_pair(send: ArrayView, recv: ArrayView) -> tuple[ArrayView, ArrayView]:
    """Refuses two arrays that cannot be the two sides of one reduce."""
    if send.library != recv.library:
        raise PCCLTypeError(f"send is a {send.library} array, but recv a {recv.library} one")
    if send.data_type is not recv.data_type:
        raise PCCLTypeError(f"send has type {send.data_type.name}, recv has type {recv.data_type.name}")
    if send.numel != recv.numel:
        raise PCCLArgumentError(f"send has {send.numel} elements, recv has {recv.numel}")
    if send.device is not DeviceType.CPU or recv.device is not DeviceType.CPU:
        raise PCCLError(Result.UNSUPPORTED, "reduces take tensors in host memory: use tensor.cpu()")
    distance = abs(send.pointer - recv.pointer)
    if 0 < distance < send.numel * send.data_type.itemsize:
        raise PCCLArgumentError("send and recv overlap without being the same array")
    return send, recv


def operand_numbers(operand_descriptor: Any, data_type: DataType | None) -> tuple[int, int]:
    """Type and hint; a descriptor that names another type than the arrays have is refused."""
    if operand_descriptor is None:
        if data_type is None:
            raise PCCLArgumentError("operand_descriptor is missing")
        return data_type.value, DistributionHint.NONE.value
    check_fields(operand_descriptor, "operand_descriptor", "datatype", "distribution_hint")
    number = number_of(operand_descriptor.datatype, "operand_descriptor.datatype")
    if data_type is not None and number != data_type.value:
        raise PCCLTypeError(
            f"operand_descriptor.datatype is {operand_descriptor.datatype}, "
            f"but the arrays have type {data_type.name}"
        )
    return number, number_of(operand_descriptor.distribution_hint, "operand_descriptor.distribution_hint")


def quantization_numbers(options: Any) -> tuple[int, int]:
    """Quantised type and algorithm; None means no quantisation."""
    if options is None:
        return DataType.UINT8.value, QuantizationAlgorithm.NONE.value
    check_fields(options, "quantization_options", "quantized_datatype", "algorithm")
    return (
        number_of(options.quantized_datatype, "quantization_options.quantized_datatype"),
        number_of(options.algorithm, "quantization_options.algorithm"),
    )


def check_unsigned(value: Any, what: str, *, bits: int = 64) -> int:
    """An integer that fits so many bits without a sign; numpy's integers are welcome."""
    try:
        number = value.__index__()
    except AttributeError:
        raise PCCLTypeError(f"{what} must be an integer, not {type(value).__name__}") from None
    if not 0 <= number < 1 << bits:
        raise PCCLArgumentError(f"{what} must be between 0 and 2**{bits} - 1, not {number}")
    return int(number)


def array_reduce_numbers(
    send: Any, recv: Any, op: Any, tag: Any, operand_descriptor: Any, quantization_options: Any
) -> ReduceNumbers:
    """The numbers of one reduce of two arrays."""
    from_view, to_view = check_pair(
        view_array(send, "send", writable=False), view_array(recv, "recv", writable=True)
    )
    return (
        from_view.pointer,
        to_view.pointer,
        from_view.numel,
        op.value if type(op) is ReduceOp else number_of(op, "op"),
        check_unsigned(tag, "tag"),
        *operand_numbers(operand_descriptor, from_view.data_type),
        *quantization_numbers(quantization_options),
    )


def descriptor_reduce_numbers(operation: Any) -> ReduceNumbers:
    """The numbers of an object with the attributes of `ReduceOpDescriptor`."""
    check_fields(operation, "a descriptor", "sendbuf_ptr", "recvbuf_ptr", "reduce_descriptor")
    descriptor = operation.reduce_descriptor
    check_fields(descriptor, "reduce_descriptor", *_DESCRIPTOR_FIELDS)
    return (
        check_unsigned(operation.sendbuf_ptr, "sendbuf_ptr"),
        check_unsigned(operation.recvbuf_ptr, "recvbuf_ptr"),
        check_unsigned(descriptor.count, "count"),
        number_of(descriptor.op, "op"),
        check_unsigned(descriptor.tag, "tag"),
        *operand_numbers(descriptor.operand_descriptor, None),
        *quantization_numbers(descriptor.quantization_options),
    )
