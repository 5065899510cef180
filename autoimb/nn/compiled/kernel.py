"""How a function becomes compiled code: for which numbers, when, and where it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import types

__all__ = ["Code", "Kernel", "compile_all", "inner", "kernel"]

Code = Callable[..., None]

inner: Callable[[Any], Any] = numba.njit(error_model="numpy")  # called by kernels alone

_KERNELS: list[Kernel] = []


class Kernel:
    """A function of addresses and sizes that is compiled when it is first wanted.

    Parameters
    ----------
    function : callable
        Its last argument says by its type which numbers stand at the addresses.
    arguments : str
        The kind of each argument before the last: i is a whole number or an address, r a real.
    """

    def __init__(self, function: Callable[..., None], arguments: str) -> None:
        self._function, self._arguments = function, arguments
        self._compiled: dict[Any, Code] = {}

    def of(self, real: Any = types.float32) -> Code:
        """Return the code for numbers of a type, compiled once in the life of the process."""
        if real not in self._compiled:
            kinds = {"i": types.int64, "r": real}
            signature = types.void(*(kinds[each] for each in self._arguments), real)
            self._compiled[real] = _compiled(self._function, signature)
        return self._compiled[real]


def _sources() -> str:
    """Return a name for what all files of this folder say together."""
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def _compiled(function: Callable[..., None], signature: Any) -> Code:
    """Compile, or read what an earlier process compiled."""
    # numba looks at the function's own file alone to tell whether what it kept is out of date
    function.__qualname__ = f"{function.__name__}_{_SOURCES}"
    try:
        code: Code = numba.njit(signature, cache=True, error_model="numpy")(function)
    except (RuntimeError, OSError):  # no folder to keep it in that can be written
        code = numba.njit(signature, error_model="numpy")(function)
    return code


_SOURCES = _sources()


def kernel(arguments: str) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a kernel; see `Kernel`."""

    def made(function: Callable[..., None]) -> Kernel:
        _KERNELS.append(Kernel(function, arguments))
        return _KERNELS[-1]

    return made


def compile_all() -> None:
    """Compile what trains in single precision, so that processes forked later have it."""
    for each in _KERNELS:
        each.of()
