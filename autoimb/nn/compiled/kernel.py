"""How a function becomes compiled code: for which numbers, when, and where it is kept."""

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

# what is kept are pickles: a .numba_config.yaml in the current folder must not say where
numba.config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")


class Kernel:
    """A function of addresses and sizes that is compiled when it is first wanted.

    Parameters
    ----------
    function : callable
        Its last argument says by its type which numbers stand at the addresses.
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
            kinds = (real if each in self._reals else types.int64 for each in self._arguments)
            self._compiled[real] = _compile(self._function, types.void(*kinds, real))
        return self._compiled[real]


def _sources() -> str:
    """Return a name for what all files of this folder say together."""
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def _compile(function: Callable[..., None], signature: Any) -> Code:
    """Compile, or read what an earlier process compiled.

    Raises
    ------
    RuntimeError
        Where numba is told not to compile. Other errors of a compilation are numba's.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set")
    # numba looks at the function's own file alone to tell whether what it kept is out of date
    function.__qualname__ = f"{function.__name__}_{_SOURCES}"
    try:
        code: Code = numba.njit(signature, cache=True, error_model="numpy")(function)
    except Exception:
        # No folder can be written, or a file in it is damaged, which shows in many kinds of error.
        code = numba.njit(signature, error_model="numpy")(function)
    return code


_SOURCES = _sources()


def kernel(*reals: str) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a kernel, with its real arguments by name; see `Kernel`."""

    def made(function: Callable[..., None]) -> Kernel:
        _KERNELS.append(Kernel(function, reals))
        return _KERNELS[-1]

    return made


def compile_all(*, backwards: bool = False, missed: Callable[[], None] | None = None) -> None:
    """Compile what trains in single precision, so that processes forked later have it.

    Parameters
    ----------
    backwards : bool
        Begin with the last kernel, to meet a process that begins with the first: what one has
        compiled and kept, the other reads.
    missed : callable, optional
        Called once, after the first kernel that no earlier process had kept and that is kept now.
    """
    for each in reversed(_KERNELS) if backwards else _KERNELS:
        code: Any = each.of()
        if missed is not None and code.stats.cache_misses and code.stats.cache_path:
            missed()
            missed = None
