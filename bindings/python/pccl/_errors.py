"""Exceptions. Every failure of a native call is a `PCCLError`; wrong arguments are also the matching builtin
error."""

from __future__ import annotations

import re
from typing import Any

from ._result import Result, meaning


class PCCLError(Exception):
    """A call failed; `result` says how, the text says who, where and why."""

    def __init__(self, result: Any, message: str = "") -> None:
        code = int(getattr(result, "value", result))
        try:
            self.result: Any = Result(code)
            name = self.result.name
        except ValueError:  # A newer library may return a code that this package does not know.
            self.result = code
            name = "unknown result"
        self.message = message
        super().__init__(f"{message or meaning(code)} [{name}, {code}]")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.result, self.message))

    @staticmethod
    def check(result: Any, func_name: str) -> None:
        """Raises unless `result`, a `Result` or its number, is success."""
        if int(getattr(result, "value", result)) != 0:
            raise failure(int(getattr(result, "value", result)), func_name, "")


class PCCLArgumentError(PCCLError, ValueError):
    """An argument was refused before the library was asked; `result` is INVALID_ARGUMENT."""

    def __init__(self, message: str) -> None:
        super().__init__(Result.INVALID_ARGUMENT, message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message,))


class PCCLTypeError(PCCLArgumentError, TypeError):
    """As `PCCLArgumentError`, for an argument of the wrong type."""


def check_fields(value: Any, what: str, *names: str) -> None:
    """Refuses an object without the attributes that are needed; any class that has them will do."""
    for name in names:
        if not hasattr(value, name):
            raise PCCLTypeError(f"{what} must have an attribute {name!r}, which {value!r} has not")


def list_of(values: Any, what: str) -> list[Any]:
    """The elements of anything that can be gone through."""
    try:
        return list(values)
    except TypeError:
        raise PCCLTypeError(f"{what} must be a sequence, not {type(values).__name__}") from None


def failure(code: int, func_name: str, text: str) -> PCCLError:
    """The exception for a failed native call; Python's name replaces the C function's in the text."""
    reason = re.sub(r"^pccl[A-Za-z]+: ", "", text) or meaning(code)
    return PCCLError(code, f"{func_name}: {reason}")
