"""Which implementation serves tensors on a GPU: Triton's if it is installed, else plain PyTorch, with one warning."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType

from channelfm.ops import plain


@functools.lru_cache(maxsize=1)
def backend() -> ModuleType:
    """The module with ``forward`` and ``backward``."""
    try:
        from channelfm.ops import kernels
    except ImportError as error:
        warnings.warn(
            f"sparse attention on the GPU runs in plain PyTorch, many times slower: {error}; "
            "install Triton (pip install triton)",
            RuntimeWarning,
            stacklevel=2,
        )
        return plain
    return kernels
