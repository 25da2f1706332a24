"""As much of torch as the package looks at, for hosts without torch: dense tensors on numpy's memory."""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import numpy as np

NAMES = "uint8 int8 int16 uint16 uint32 int32 uint64 int64 float16 bfloat16 float32 float64 complex64".split()


class Dtype:
    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return f"torch.{self._name}"

    __repr__ = __str__


class Tensor:
    """Of any shape; bfloat16 lies in the memory of 16-bit integers, since numpy has none."""

    def __init__(self, array: Any, dtype: str = "", **properties: Any) -> None:
        self.array = array
        self.dtype = getattr(sys.modules["torch"], dtype or str(array.dtype))
        self.layout = properties.get("layout", sys.modules["torch"].strided)
        self.device = types.SimpleNamespace(type=properties.get("device", "cpu"))
        self._conj, self._neg = properties.get("conj", False), properties.get("neg", False)

    def is_contiguous(self) -> bool:
        return bool(self.array.flags.c_contiguous)

    def is_conj(self) -> bool:
        return self._conj

    def is_neg(self) -> bool:
        return self._neg

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)

    def numel(self) -> int:
        return math.prod(self.array.shape)


class DTensor(Tensor):
    """What torch.distributed has under this name."""


def module() -> types.ModuleType:
    """For sys.modules["torch"]."""
    torch = types.ModuleType("torch")
    for name in NAMES:
        setattr(torch, name, Dtype(name))
    torch.Tensor = Tensor  # type: ignore[attr-defined]
    torch.strided, torch.sparse_coo = "torch.strided", "torch.sparse_coo"  # type: ignore[attr-defined]
    return torch


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)
