"""Compilation of kernels: types of numbers, time of compilation and cache."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import types

__all__ = ["Code", "Kernel", "compile_all", "inner", "kernel"]

Code = Callable[..., None]

inner: Callable[[Any], Any] = numba.njit(error_model="numpy")  # called by kernels alone

_KERNELS: list[Kernel] = []

# The cache consists of pickles, so a .numba_config.yaml in the current folder must not set its
# place.
numba.config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")


class Kernel:
    """Function of addresses and sizes that is compiled on first use.

    Parameters
    ----------
    function : callable
        The type of its last argument is that of the numbers at the addresses.
    reals : tuple of str
        The arguments before it that are real; all others are whole numbers or addresses.
    """

    def __init__(self, function: Callable[..., None], reals: tuple[str, ...]) -> None:
        *self._arguments, _ = inspect.signature(function).parameters
        assert set(reals) <= set(self._arguments), reals
        self._function, self._reals = function, reals
        self._compiled: dict[Any, Code] = {}

    def of(self, real: Any = types.float32) -> Code:
        """Return the code for numbers of a type, compiled once in the life of the process."""
        if real not in self._compiled:
            kinds = (real if name in self._reals else types.int64 for name in self._arguments)
            self._compiled[real] = _compile(self._function, types.void(*kinds, real))
        return self._compiled[real]


def _sources() -> str:
    """Return a hash of all files of this folder."""
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def _compile(function: Callable[..., None], signature: Any) -> Code:
    """Compile, or read what an earlier process compiled.

    Raises
    ------
    RuntimeError
        If compilation is disabled. Other errors of a compilation are numba's.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set")
    # numba compares only the file of the function with its cache, so the name covers all files.
    function.__qualname__ = f"{function.__name__}_{_SOURCES}"
    try:
        code: Code = numba.njit(signature, cache=True, error_model="numpy")(function)
    except Exception:
        # No folder can be written, or a file in it is damaged, which shows in many kinds of error.
        code = numba.njit(signature, error_model="numpy")(function)
    return code


_SOURCES = _sources()


def kernel(*reals: str) -> Callable[[Callable[..., None]], Kernel]:
    """Return a decorator that makes a function a `Kernel`; ``reals`` names its real arguments."""

    def register(function: Callable[..., None]) -> Kernel:
        _KERNELS.append(Kernel(function, reals))
        return _KERNELS[-1]

    return register


def compile_all(*, backwards: bool = False, missed: Callable[[], None] | None = None) -> None:
    """Compile all kernels in single precision, so that processes forked later have them.

    Parameters
    ----------
    backwards : bool
        Begin with the last kernel, while another process begins with the first: each reads from the
        cache what the other has compiled.
    missed : callable, optional
        Called once, after the first kernel that was not in the cache and is now.
    """
    for function in reversed(_KERNELS) if backwards else _KERNELS:
        code: Any = function.of()
        if missed is not None and code.stats.cache_misses and code.stats.cache_path:
            missed()
            missed = None
