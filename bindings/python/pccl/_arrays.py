"""What the library needs to know about an array. numpy and torch are looked up among the loaded modules: an
object can only be one of their arrays when the module has been imported already."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from ._enums import DataType, DeviceType
from ._errors import PCCLArgumentError, PCCLTypeError


class ArrayView(NamedTuple):
    """Address, length and type of an array; `library` is "numpy" or "torch"."""

    pointer: int
    numel: int
    data_type: DataType
    device: DeviceType
    library: str


def view_array(array: Any, role: str, *, writable: bool) -> ArrayView:
    """The view of a numpy array or torch tensor; `role` names the argument in errors."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(array, numpy.ndarray):
        return view_numpy(array, role, writable=writable)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return view_torch(array, role)
    raise PCCLTypeError(f"{role} must be a numpy array or a torch tensor, not {type(array).__name__}")


def view_numpy(array: Any, role: str, *, writable: bool) -> ArrayView:
    """The view of a numpy array."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(array, numpy.ndarray):
        raise PCCLTypeError(f"{role} must be a numpy array, not {type(array).__name__}")
    flags = array.flags
    if not flags.c_contiguous:
        raise PCCLArgumentError(f"{role} must be contiguous; numpy.ascontiguousarray makes a contiguous copy")
    if writable and not flags.writeable:
        raise PCCLArgumentError(f"{role} is read-only, but the result is written to it")
    pointer: int = array.__array_interface__["data"][0]
    return ArrayView(pointer, array.size, DataType.from_numpy_dtype(array.dtype), DeviceType.CPU, "numpy")


def view_torch(tensor: Any, role: str) -> ArrayView:
    """The view of a torch tensor."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(tensor, torch.Tensor):
        raise PCCLTypeError(f"{role} must be a torch tensor, not {type(tensor).__name__}")
    if type(tensor).__name__ == "DTensor":
        raise PCCLTypeError(f"{role} is a DTensor; pass its local part, tensor.to_local()")
    if tensor.layout != torch.strided:
        raise PCCLArgumentError(f"{role} must be a dense tensor, not one of layout {tensor.layout}")
    if not tensor.is_contiguous():
        raise PCCLArgumentError(f"{role} must be contiguous; tensor.contiguous() makes a contiguous copy")
    if tensor.is_conj() or tensor.is_neg():
        raise PCCLArgumentError(f"{role} is a lazily negated view; tensor.resolve_neg() makes it plain")
    device = DeviceType.from_torch_device_type(tensor.device.type)
    return ArrayView(
        tensor.data_ptr(), tensor.numel(), DataType.from_torch_dtype(tensor.dtype), device, "torch"
    )
