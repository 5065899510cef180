"""How long something is waited for that may be away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from autoimb.budget import FOREVER, Deadline
from autoimb.errors import StorageLostError

__all__ = ["Patience"]

T = TypeVar("T")

FIRST_PAUSE, MOST_PAUSE = 0.1, 2.0  # seconds between two tries


class Patience:
    """Waits for something until it is given up, for good.

    Parameters
    ----------
    what : str
        What is waited for, in the words of an error.
    seconds : float
        That it may be away.
    is_away : callable
        Whether an error says that it is.
    deadline : Deadline, optional
        After which nothing is waited for.
    """

    def __init__(
        self,
        what: str,
        seconds: float,
        *,
        is_away: Callable[[Exception], bool],
        deadline: Deadline = FOREVER,
    ) -> None:
        self._what, self._seconds, self._is_away = what, seconds, is_away
        self._deadline, self._loss = deadline, ""

    def wait(self, step: Callable[[], T]) -> T:
        """Do what may be done twice, again from its start where what it needs goes away meanwhile.

        Raises
        ------
        StorageLostError
            Where it stays away; from then on before anything is done.
        """
        if self._loss:
            raise StorageLostError(self._loss)
        first, pause = None, FIRST_PAUSE
        while True:
            try:
                return step()
            except Exception as error:
                if not self._is_away(error):
                    raise
                now = time.monotonic()
                first = now if first is None else first
                if now + pause > first + self._seconds or self._deadline.expired:
                    self._loss = f"the loss of {self._what}, away for {now - first:.0f} seconds"
                    raise StorageLostError(self._loss) from None  # as it may show a URL
            time.sleep(pause)
            pause = min(2 * pause, MOST_PAUSE)
