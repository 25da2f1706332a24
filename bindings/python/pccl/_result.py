"""`Result`: the codes of the C interface, taken from its one table so that the two cannot differ."""

import enum

from . import _native

Result = enum.Enum("Result", [(name, value) for name, value, _ in _native.RESULT_TABLE], module="pccl")
Result.__doc__ = "How a native call ended; `.value` is the number of the C interface."

_MEANINGS = {value: meaning for _, value, meaning in _native.RESULT_TABLE}


def meaning(code: int) -> str:
    """The text of the table for a code."""
    return _MEANINGS.get(code, "unknown result code")
