"""Rows duplicated or dropped at random, or left alone."""

from __future__ import annotations

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.randomness import Purpose, stream
from autoimb.space.option import Float
from autoimb.space.resampling.component import (
    RESAMPLING,
    Resampled,
    Rows,
    over_counts,
    present,
    selection,
    under_counts,
)

__all__ = ["jittered_over", "none", "random_over", "random_under"]


@RESAMPLING.option()
def none(part: Rows, *, random_state: int) -> Resampled:  # noqa: ARG001  component's signature
    """Rows stay as they are."""
    return selection(np.arange(len(part.y)))


@RESAMPLING.option(strength=Float(0.3, 1.0), sizes=over_counts)
def random_over(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Duplicate random rows of the smaller classes."""
    return selection(
        np.concatenate([np.arange(len(part.y)), _extra(part.y, strength, random_state)])
    )


@RESAMPLING.option(strength=Float(0.3, 1.0), sizes=under_counts)
def random_under(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Keep random rows of the larger classes."""
    random = stream(Purpose.UNDER_SAMPLED, random_state)
    classes, counts = present(part.y)
    kept = [
        random.choice(np.flatnonzero(part.y == c), n, replace=False)
        for c, n in zip(classes, under_counts(counts, strength))
    ]
    return selection(np.concatenate(kept))


@RESAMPLING.option(
    strength=Float(0.3, 1.0),
    shrinkage=Float(0.05, 1.0, log=True),
    exact=False,
    sizes=over_counts,
    searched=False,
)
def jittered_over(part: Rows, *, strength: float, shrinkage: float, random_state: int) -> Resampled:
    """Duplicate random rows with noise on their numbers: a smoothed bootstrap.

    The noise of a number is its standard deviation in the class times `shrinkage` times
    Silverman's factor (4 / ((p + 2) n))^(1 / (p + 4)): ROSE (Menardi & Torelli, 2014).
    """
    encoded, random = part.encoded, stream(Purpose.JITTER, random_state)
    bases = _extra(part.y, strength, random_state)
    new = encoded.take(bases)
    numbers, p = new.numbers.copy(), encoded.numbers.shape[1]
    for c in np.unique(part.y[bases]):
        own = encoded.numbers[part.y == c]
        factor = (4.0 / ((p + 2.0) * len(own))) ** (1.0 / (p + 4.0))
        mine = part.y[bases] == c
        noise = random.standard_normal((int(mine.sum()), p))
        numbers[mine] += (shrinkage * factor * own.std(axis=0) * noise).astype(np.float32)
    synthetic = Encoded(numbers, new.codes, new.cardinalities)
    parents = np.stack([bases, bases], axis=1)
    return Resampled(np.arange(len(part.y)), synthetic, part.y[bases], parents)


def _extra(y: np.ndarray, strength: float, random_state: int) -> np.ndarray:
    """Draw the rows that the smaller classes get once more."""
    random = stream(Purpose.OVER_SAMPLED, random_state)
    classes, counts = present(y)
    extra = over_counts(counts, strength) - counts
    return np.concatenate(
        [random.choice(np.flatnonzero(y == c), n) for c, n in zip(classes, extra)]
    )
