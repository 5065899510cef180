"""Ctrl-C, heard only where nothing is half written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Self

__all__ = ["Interrupt", "ignore_hang_up"]


def ignore_hang_up() -> None:
    """Ignore SIGHUP, which the end of a terminal sends to all processes of a search."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Interrupt:
    """While entered, Ctrl-C raises KeyboardInterrupt inside `listening` and waits elsewhere.

    So do SIGTERM and SIGHUP where the program turns them into Ctrl-C. A second Ctrl-C is not kept
    waiting. Outside the main thread, where Python hears no signals, and under a handler that
    somebody else installed, nothing is changed.
    """

    def __init__(self) -> None:
        self._signals: list[signal.Signals] = []
        self._listening = False
        self._pending = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = (signal.SIGINT, signal.SIGTERM)
            self._signals = [s for s in heard if signal.getsignal(s) is signal.default_int_handler]
        for number in self._signals:
            signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._signals:
            signal.signal(number, signal.default_int_handler)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let Ctrl-C raise here, also one that came before."""
        self._listening = True
        try:
            if self._pending:
                self._pending = False
                raise KeyboardInterrupt
            yield
        finally:
            self._listening = False

    def _hear(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler
        if self._listening or self._pending:
            raise KeyboardInterrupt
        self._pending = True
