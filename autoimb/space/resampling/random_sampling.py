"""Random over-sampling, random under-sampling and no resampling."""

from __future__ import annotations

import numpy as np

from autoimb.randomness import Purpose, stream
from autoimb.space.option import Float
from autoimb.space.resampling.component import (
    RESAMPLING,
    Resampled,
    Rows,
    over_counts,
    selection,
    under_counts,
)

__all__ = ["none", "random_over", "random_under"]


@RESAMPLING.option()
def none(part: Rows, *, random_state: int) -> Resampled:  # noqa: ARG001  component's signature
    """Rows stay as they are."""
    return selection(np.arange(len(part.y)))


@RESAMPLING.option(strength=Float(0.3, 1.0), sizes=over_counts)
def random_over(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Duplicate random rows of the smaller classes."""
    random = stream(Purpose.OVER_SAMPLED, random_state)
    classes, counts = np.unique(part.y, return_counts=True)
    copies = [
        random.choice(np.flatnonzero(part.y == c), n)
        for c, n in zip(classes, over_counts(counts, strength) - counts)
    ]
    return selection(np.concatenate([np.arange(len(part.y)), *copies]))


@RESAMPLING.option(strength=Float(0.3, 1.0), sizes=under_counts)
def random_under(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Keep random rows of the larger classes."""
    random = stream(Purpose.UNDER_SAMPLED, random_state)
    classes, counts = np.unique(part.y, return_counts=True)
    selected = [
        random.choice(np.flatnonzero(part.y == c), n, replace=False)
        for c, n in zip(classes, under_counts(counts, strength))
    ]
    return selection(np.concatenate(selected))
