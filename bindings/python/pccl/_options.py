"""The keyword options of `Communicator` and `MasterNode`, as the numbers and texts of the C config
structs."""

from __future__ import annotations

import enum
from typing import Any

from ._enums import LogLevel, OnFailure, Plan, number_of
from ._errors import PCCLArgumentError, PCCLTypeError


def _enumerator(value: Any, kind: type[enum.Enum], what: str) -> int:
    """The number of an enumerator, which may be given by its name in any case."""
    if isinstance(value, str):
        try:
            return int(kind[value.upper()].value)
        except KeyError:
            names = ", ".join(member.name.lower() for member in kind)
            raise PCCLArgumentError(f"{what} must be one of {names}, not {value!r}") from None
    return number_of(value, what)


def _integer(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PCCLTypeError(f"{what} must be an integer, not {value!r}")
    if not -(2**31) < value < 2**31:
        raise PCCLArgumentError(f"{what} is out of range: {value}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise PCCLTypeError(f"{what} must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise PCCLArgumentError(f"{what} contains a zero byte")
    return value


_TEXTS = frozenset({"bind_address", "advertise_address", "interface", "state_dir"})


def native_options(given: dict[str, Any]) -> dict[str, Any]:
    """Checked options without those that are None, which means unset."""
    out: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name == "on_failure":
            out[name] = _enumerator(value, OnFailure, name)
        elif name == "plan":
            out[name] = _enumerator(value, Plan, name)
        elif name == "log_level":
            out[name] = _enumerator(value, LogLevel, name)
        elif name == "log_callback":
            if not callable(value):
                raise PCCLTypeError("log_callback must be callable with (level, message)")
            out[name] = value
        elif name in ("shared_state_adopt_highest", "majority", "record_lost"):
            out[name] = int(bool(value))
        elif name in _TEXTS:
            out[name] = _text(value, name)
        else:
            out[name] = _integer(value, name)
    return out
