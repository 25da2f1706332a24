"""The enumerations of the C interface; `.value` is the C number."""

from __future__ import annotations

import enum
import sys
from typing import Any

from ._errors import PCCLArgumentError, PCCLTypeError


class ReduceOp(enum.Enum):
    """What is computed; AVG divides the sum by the number of contributors."""

    SUM = 0
    AVG = 1
    PROD = 2
    MAX = 3
    MIN = 4


class Attribute(enum.Enum):
    """What `Communicator.get_attribute` can tell; only admitted members count."""

    GLOBAL_WORLD_SIZE = 1
    LOCAL_WORLD_SIZE = 2
    NUM_DISTINCT_PEER_GROUPS = 3
    LARGEST_PEER_GROUP_WORLD_SIZE = 4


class SharedStateSyncStrategy(enum.Enum):
    """How a member takes part in `Communicator.sync_shared_state`."""

    ENFORCE_POPULAR = 0
    RECEIVE_ONLY = 1
    SEND_ONLY = 2


class DistributionHint(enum.Enum):
    """How the values of an operand are distributed."""

    NONE = 0
    NORMAL = 1
    UNIFORM = 2


class QuantizationAlgorithm(enum.Enum):
    """Quantisation of what is sent."""

    NONE = 0
    MIN_MAX = 1
    ZERO_POINT_SCALE = 2


class DeviceType(enum.Enum):
    """Where the memory of a tensor lies."""

    CPU = 0
    CUDA = 1

    @classmethod
    def from_torch_device_type(cls, device_type: str) -> DeviceType:
        """The device type for torch's name of it ("cpu", "cuda")."""
        name = getattr(device_type, "type", device_type)
        if name == "cpu":
            return cls.CPU
        if name == "cuda":
            return cls.CUDA
        raise PCCLArgumentError(f"tensors on a device of type {name!r} are not supported; use cpu or cuda")


class OnFailure(enum.Enum):
    """What a reduce does when a member is lost."""

    RETRY = 0
    REPORT = 1


class Plan(enum.Enum):
    """The algorithm of reduces; the first member's choice holds for the group."""

    AUTO = 0
    RING = 1
    MESH = 2


class LogLevel(enum.Enum):
    """Severity of log messages."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERR = 4
    FATAL = 5
    NONE = 6


class DataType(enum.Enum):
    """Element types. numpy has no bfloat16 of its own: it needs torch or the package ml_dtypes."""

    UINT8 = 0
    INT8 = 1
    INT16 = 2
    UINT16 = 3
    UINT32 = 4
    INT32 = 5
    UINT64 = 6
    INT64 = 7
    FLOAT16 = 8
    BFLOAT16 = 9
    FLOAT = 10
    DOUBLE = 11

    def to_numpy_dtype(self) -> Any:
        """The numpy dtype of this type."""
        import numpy

        if self is DataType.BFLOAT16:
            try:
                import ml_dtypes  # type: ignore[import-not-found, unused-ignore]
            except ImportError:
                raise PCCLArgumentError("numpy has no bfloat16: use torch, or install ml_dtypes") from None
            return numpy.dtype(ml_dtypes.bfloat16)
        return numpy.dtype(_ELEMENT_NAMES[self])

    def to_torch_dtype(self) -> Any:
        """The torch dtype of this type."""
        import torch  # type: ignore[import-not-found, unused-ignore]

        dtype = getattr(torch, _ELEMENT_NAMES[self], None)
        if dtype is None:
            raise PCCLArgumentError(f"this version of torch has no dtype {_ELEMENT_NAMES[self]}")
        return dtype

    @classmethod
    def from_numpy_dtype(cls, dtype: Any) -> DataType:
        """The type for a numpy dtype, or for anything that numpy turns into one."""
        found = _BY_NUMPY_DTYPE.get(dtype) if dtype.__hash__ is not None else None
        if found is not None:
            return found
        import numpy

        try:
            native = numpy.dtype(dtype)
        except TypeError as error:
            raise PCCLTypeError(f"{dtype!r} is no dtype: {error}") from None
        data_type = _BY_ELEMENT_NAME.get(native.name)
        if data_type is None:
            raise PCCLTypeError(f"arrays of dtype {native} are not supported")
        if not native.isnative:
            raise PCCLTypeError(f"arrays of dtype {native} have the byte order of another machine")
        _BY_NUMPY_DTYPE[native] = data_type
        return data_type

    @classmethod
    def from_torch_dtype(cls, dtype: Any) -> DataType:
        """The type for a torch dtype."""
        data_type = _BY_ELEMENT_NAME.get(str(dtype).removeprefix("torch."))
        if data_type is None or "torch" not in sys.modules:
            raise PCCLTypeError(f"tensors of dtype {dtype} are not supported")
        return data_type

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _ITEM_SIZES[self]


# numpy and torch use the same names.
_ELEMENT_NAMES: dict[DataType, str] = {
    DataType.UINT8: "uint8",
    DataType.INT8: "int8",
    DataType.INT16: "int16",
    DataType.UINT16: "uint16",
    DataType.UINT32: "uint32",
    DataType.INT32: "int32",
    DataType.UINT64: "uint64",
    DataType.INT64: "int64",
    DataType.FLOAT16: "float16",
    DataType.BFLOAT16: "bfloat16",
    DataType.FLOAT: "float32",
    DataType.DOUBLE: "float64",
}
_BY_ELEMENT_NAME: dict[str, DataType] = {name: data_type for data_type, name in _ELEMENT_NAMES.items()}
_BY_NUMPY_DTYPE: dict[Any, DataType] = {}
_ITEM_SIZES: dict[DataType, int] = {
    data_type: 1 if name.endswith("t8") else int(name.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8
    for data_type, name in _ELEMENT_NAMES.items()
}


def number_of(value: Any, what: str) -> int:
    """The C number of an enumerator, of any object with such a `.value`, or of a plain number."""
    number = getattr(value, "value", value)
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**31) <= number < 2**31:
        raise PCCLTypeError(f"{what} must be an enumerator, not {value!r}")
    return number
