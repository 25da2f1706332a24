"""Whether this build of the library can work on CUDA memory."""

from ._cuda import is_cuda_available


def is_available() -> bool:
    """True when the library was built with CUDA support."""
    return is_cuda_available()
