"""The native side of `pccl.cuda`."""

from . import _native


def is_cuda_available() -> bool:
    """True when the library was built with CUDA support."""
    return _native.has_cuda_support()
