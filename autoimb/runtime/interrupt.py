"""Deferred handling of Ctrl-C, so that it never interrupts a write."""

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
    """Context manager that defers Ctrl-C until the program is inside `listening`.

    Inside `listening`, Ctrl-C raises KeyboardInterrupt. SIGTERM is deferred as well if the program
    handles it like Ctrl-C. A second Ctrl-C is not deferred. Nothing is changed outside the main
    thread, where Python handles no signals, and under a handler that another program installed.
    """

    def __init__(self) -> None:
        self._signals: list[signal.Signals] = []
        self._listening = False
        self._pending = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._signals = [
                number
                for number in (signal.SIGINT, signal.SIGTERM)
                if signal.getsignal(number) is signal.default_int_handler
            ]
        for number in self._signals:
            signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._signals:
            signal.signal(number, signal.default_int_handler)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let Ctrl-C raise KeyboardInterrupt within this context, also a deferred one."""
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
