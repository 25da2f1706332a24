"""Shared state: named tensors and a revision that the members of a group hold identically."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ._arrays import view_numpy, view_torch
from ._descriptors import check_unsigned
from ._enums import number_of
from ._errors import PCCLArgumentError, PCCLTypeError, check_fields, list_of

# name, address, count, datatype, device, allow_content_inequality
TensorNumbers = tuple[str, int, int, int, int, bool]

_FIELDS = ("name", "data_ptr", "numel", "dtype", "device_type", "allow_content_inequality")


class TensorInfo:
    """One tensor of a shared state. The class methods take arrays and keep them alive."""

    def __init__(
        self,
        name: str,
        data_ptr: int,
        *,
        numel: int,
        dtype: Any,
        device_type: Any,
        allow_content_inequality: bool,
    ) -> None:
        self.name = name
        self.data_ptr = data_ptr
        self.numel = numel
        self.dtype = dtype
        self.device_type = device_type
        self.allow_content_inequality = allow_content_inequality
        self._keep_alive: Any = None

    @classmethod
    def from_torch(cls, tensor: Any, name: str, *, allow_content_inequality: bool = False) -> TensorInfo:
        """From a contiguous torch tensor, which synchronisation may write to."""
        return cls._from_view(view_torch(tensor, f"tensor {name!r}"), tensor, name, allow_content_inequality)

    @classmethod
    def from_numpy(cls, tensor: Any, name: str, *, allow_content_inequality: bool = False) -> TensorInfo:
        """From a contiguous numpy array, which synchronisation may write to."""
        view = view_numpy(tensor, f"tensor {name!r}", writable=True)
        return cls._from_view(view, tensor, name, allow_content_inequality)

    @classmethod
    def _from_view(cls, view: Any, tensor: Any, name: str, allow_content_inequality: bool) -> TensorInfo:
        check_name(name)
        info = cls(
            name,
            view.pointer,
            numel=view.numel,
            dtype=view.data_type,
            device_type=view.device,
            allow_content_inequality=allow_content_inequality,
        )
        info._keep_alive = tensor
        return info


class SharedState:
    """A list of tensors and the revision that the caller holds. After a synchronisation `revision` is the one
    that the group agreed on."""

    def __init__(self, tensor_infos: Iterable[Any]) -> None:
        self.tensor_infos = list_of(tensor_infos, "tensor_infos")
        self._revision = 0

    @property
    def revision(self) -> int:
        """The revision that the caller holds."""
        return self._revision

    @revision.setter
    def revision(self, value: int) -> None:
        self._revision = check_unsigned(value, "revision")

    def push_revision(self) -> None:
        """Adds 1 to the revision: the tensors have been changed for the next synchronisation."""
        self.revision = self._revision + 1


@dataclass(frozen=True)
class SharedStateSyncInfo:
    """Tensor bytes that travelled; `rx_bytes` is 0 when nothing had to be fetched."""

    tx_bytes: int
    rx_bytes: int


def check_name(name: Any) -> None:
    """Refuses what cannot be the name of a tensor."""
    if not isinstance(name, str):
        raise PCCLTypeError(f"the name of a tensor must be a str, not {type(name).__name__}")
    if not name or "\0" in name:
        raise PCCLArgumentError("the name of a tensor must not be empty or contain a zero byte")


def tensor_numbers(tensor_infos: Iterable[Any]) -> list[TensorNumbers]:
    """The numbers of objects with the attributes of `TensorInfo`."""
    rows: list[TensorNumbers] = []
    names: set[str] = set()
    for info in tensor_infos:
        check_fields(info, "a tensor", *_FIELDS)
        check_name(info.name)
        if info.name in names:
            raise PCCLArgumentError(f"two tensors have the name {info.name!r}")
        names.add(info.name)
        rows.append(
            (
                info.name,
                check_unsigned(info.data_ptr, "data_ptr"),
                check_unsigned(info.numel, "numel"),
                number_of(info.dtype, "dtype"),
                number_of(info.device_type, "device_type"),
                bool(info.allow_content_inequality),
            )
        )
    return rows
