"""Rows of the larger classes dropped where they stand among others; alone or after SMOTE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autoimb.randomness import Purpose, stream
from autoimb.space.option import Float, Int, minority_at_least
from autoimb.space.resampling.component import (
    MAKES,
    MOST_NEIGHBOURS,
    NEIGHBOURS,
    RESAMPLING,
    Resampled,
    Rows,
    neighbour_space,
    over_counts,
    present,
    selection,
    survivors_checked,
)
from autoimb.space.resampling.nearest import nearest
from autoimb.space.resampling.smote import smote

__all__ = ["smote_enn", "smote_tomek", "tomek_links"]

_VOTERS = 3

Flags = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _linked(space: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Flag the rows of Tomek links: two rows of two classes, each the other's nearest."""
    near = nearest(space, 1)[:, 0]
    return np.asarray((near[near] == np.arange(len(y))) & (y[near] != y))


def _disputed(space: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Flag the rows that one of their 3 neighbours disagrees with."""
    return np.asarray((y[nearest(space, min(_VOTERS, len(y) - 1))] != y[:, None]).any(axis=1))


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False)
def tomek_links(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Drop rows of the larger classes whose nearest neighbour is of another class (Tomek, 1976)."""
    unlinked = part.once(("tomek_links",), lambda: _unlinked_rows(part))
    rows = _softened(unlinked, len(part.y), strength, random_state)
    survivors_checked(part.y[rows], part.y, "tomek_links")
    return selection(rows)


def _unlinked_rows(part: Rows) -> np.ndarray:
    """Return the rows of the rarest class, and those of no Tomek link."""
    classes, counts = present(part.y)
    common = part.y != classes[counts.argmin()]
    return np.flatnonzero(~(_linked(neighbour_space(part.encoded), part.y) & common))


_after_smote = RESAMPLING.option(
    minority_at_least(6),
    MAKES,
    NEIGHBOURS,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, MOST_NEIGHBOURS, log=True),
    cleaning=Float(0.3, 1.0),
    exact=False,
    sizes=over_counts,
)


@_after_smote
def smote_enn(
    part: Rows, *, strength: float, k_neighbors: int, cleaning: float, random_state: int
) -> Resampled:
    """SMOTE, then drop rows whose neighbours disagree with them (Batista et al., 2004)."""
    grown = smote(part, strength=strength, k_neighbors=k_neighbors, random_state=random_state)
    return _cleaned(grown, part, _disputed, cleaning, random_state)


@_after_smote
def smote_tomek(
    part: Rows, *, strength: float, k_neighbors: int, cleaning: float, random_state: int
) -> Resampled:
    """SMOTE, then drop both rows of every Tomek link (Batista et al., 2003)."""
    grown = smote(part, strength=strength, k_neighbors=k_neighbors, random_state=random_state)
    return _cleaned(grown, part, _linked, cleaning, random_state)


def _cleaned(
    grown: Resampled, part: Rows, flags: Flags, cleaning: float, random_state: int
) -> Resampled:
    real, new = part.encoded.take(grown.rows), grown.synthetic
    whole = real if new is None else real.concat(new)
    y = np.concatenate([part.y[grown.rows], grown.synthetic_y])
    unflagged = np.flatnonzero(~flags(neighbour_space(whole), y))
    kept = _softened(unflagged, len(y), cleaning, random_state)
    survivors_checked(y[kept], y, "cleaning")
    n = len(grown.rows)
    rows, fresh = grown.rows[kept[kept < n]], kept[kept >= n] - n
    synthetic = None if new is None else new.take(fresh)
    return Resampled(rows, synthetic, grown.synthetic_y[fresh], grown.parents[fresh])


def _softened(kept: np.ndarray, n: int, strength: float, random_state: int) -> np.ndarray:
    """Give back all but the fraction `strength` of the rows that were dropped."""
    dropped = np.setdiff1d(np.arange(n), kept)
    random = stream(Purpose.KEPT_FLAGGED, random_state)
    back = random.permutation(dropped)[round(strength * len(dropped)) :]
    return np.sort(np.concatenate([kept, back]))
