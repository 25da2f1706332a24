"""PCCL: collective communication for groups whose members join, leave and crash.

A program creates a `Communicator`, connects it to a coordinator (`MasterNode`, or the program `pccl-master`),
and calls collectives. A peer that is lost in the middle leaves the others with their inputs intact and ready
for a retry.
"""

from . import cuda
from ._communicator import AsyncReduceHandle, Communicator
from ._descriptors import (
    QuantizationOptions,
    ReduceDescriptor,
    ReduceInfo,
    ReduceOpDescriptor,
    ReduceOperandDescriptor,
)
from ._enums import (
    Attribute,
    DataType,
    DeviceType,
    DistributionHint,
    LogLevel,
    OnFailure,
    Plan,
    QuantizationAlgorithm,
    ReduceOp,
    SharedStateSyncStrategy,
)
from ._errors import PCCLArgumentError, PCCLError, PCCLTypeError
from ._failures import Failure
from ._master import MasterNode
from ._native import __version__
from ._result import Result
from ._shared_state import SharedState, SharedStateSyncInfo, TensorInfo

__all__ = [
    "AsyncReduceHandle",
    "Attribute",
    "Communicator",
    "DataType",
    "DeviceType",
    "DistributionHint",
    "Failure",
    "LogLevel",
    "MasterNode",
    "OnFailure",
    "PCCLArgumentError",
    "PCCLError",
    "PCCLTypeError",
    "Plan",
    "QuantizationAlgorithm",
    "QuantizationOptions",
    "ReduceDescriptor",
    "ReduceInfo",
    "ReduceOp",
    "ReduceOpDescriptor",
    "ReduceOperandDescriptor",
    "Result",
    "SharedState",
    "SharedStateSyncInfo",
    "SharedStateSyncStrategy",
    "TensorInfo",
    "__version__",
    "cuda",
]
