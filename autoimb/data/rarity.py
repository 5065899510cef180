"""Count of the rows that carry evidence of the rare classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["minority_count"]


def minority_count(counts: Sequence[int] | NDArray[np.int64]) -> int:
    """Return the median number of rows of the classes other than the largest.

    Rules for scarce classes use this count. With two classes it is the size of the rarer one. With
    several classes a metric weighs all of them, so that one tiny class does not make the other
    classes rare.

    Parameters
    ----------
    counts : sequence of C ints
        Number of rows of each class.

    Returns
    -------
    int
        The median; the size of the only class if there is one class.
    """
    rising = np.sort(np.asarray(counts))
    return int(np.median(rising[:-1] if len(rising) > 1 else rising))
