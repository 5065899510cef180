"""How much evidence there is of the rare classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["minority_count"]


def minority_count(counts: Sequence[int] | NDArray[np.int64]) -> int:
    """Return the median number of rows of the classes other than the largest.

    Rules for few rare rows look at it. Of two classes it is that of the rarer one. Of several
    classes a metric weighs all, so one class of a few rows does not make the others rare.

    Parameters
    ----------
    counts : sequence of C ints
        Rows of each class.

    Returns
    -------
    int
        That of the class itself where there is one only.
    """
    rising = np.sort(np.asarray(counts))
    return int(np.median(rising[:-1] if len(rising) > 1 else rising))
