"""Removal of rows in the neighbourhood of other classes, alone or after SMOTE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autoimb.randomness import Purpose, stream
from autoimb.space.option import Float, minority_at_least
from autoimb.space.resampling.component import (
    MAKES,
    NEIGHBOURS,
    RESAMPLING,
    Resampled,
    Rows,
    check_classes_kept,
    selection,
)
from autoimb.space.resampling.neighbours import nearest, neighbour_space
from autoimb.space.resampling.smote import OVER_SAMPLING, smote

__all__ = ["smote_enn", "smote_tomek", "tomek_links"]

_VOTERS = 3

Flags = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _linked(space: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Flag the rows of Tomek links: two rows of different classes, each the other's nearest."""
    near = nearest(space, 1)[:, 0]
    return np.asarray((near[near] == np.arange(len(y))) & (y[near] != y))


def _disputed(space: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Flag the rows of which at least one of the 3 nearest rows has another class."""
    return np.asarray((y[nearest(space, min(_VOTERS, len(y) - 1))] != y[:, None]).any(axis=1))


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False)
def tomek_links(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Drop rows of the larger classes whose nearest neighbour is of another class (Tomek, 1976)."""
    unlinked = part.once(("tomek_links",), lambda: _unlinked_rows(part))
    rows = _softened(unlinked, len(part.y), strength, random_state)
    check_classes_kept(part.y[rows], part.y, "tomek_links")
    return selection(rows)


def _unlinked_rows(part: Rows) -> np.ndarray:
    """Return the rows of the rarest class and all rows that are in no Tomek link."""
    classes, counts = np.unique(part.y, return_counts=True)
    common = part.y != classes[counts.argmin()]
    return np.flatnonzero(~(_linked(neighbour_space(part.encoded), part.y) & common))


_after_smote = RESAMPLING.option(
    minority_at_least(6), MAKES, NEIGHBOURS, **OVER_SAMPLING, cleaning=Float(0.3, 1.0)
)


@_after_smote
def smote_enn(part: Rows, **values: Any) -> Resampled:
    """SMOTE, then drop rows whose neighbours disagree with them (Batista et al., 2004)."""
    return _cleaned_smote(part, _disputed, **values)


@_after_smote
def smote_tomek(part: Rows, **values: Any) -> Resampled:
    """SMOTE, then drop both rows of every Tomek link (Batista et al., 2003)."""
    return _cleaned_smote(part, _linked, **values)


def _cleaned_smote(
    part: Rows, flags: Flags, *, cleaning: float, random_state: int, **values: Any
) -> Resampled:
    """Over-sample by SMOTE, then drop a fraction of the flagged rows, real and new."""
    grown = smote(part, random_state=random_state, **values)
    real, new = part.encoded.take(grown.rows), grown.synthetic
    combined = real if new is None else real.concat(new)
    y = np.concatenate([part.y[grown.rows], grown.synthetic_y])
    unflagged = np.flatnonzero(~flags(neighbour_space(combined), y))
    retained = _softened(unflagged, len(y), cleaning, random_state)
    check_classes_kept(y[retained], y, "cleaning")
    # Positions below n are real rows, the others synthetic ones.
    n = len(grown.rows)
    rows, retained_new = grown.rows[retained[retained < n]], retained[retained >= n] - n
    synthetic = None if new is None else new.take(retained_new)
    return Resampled(rows, synthetic, grown.synthetic_y[retained_new], grown.parents[retained_new])


def _softened(unflagged: np.ndarray, n: int, strength: float, random_state: int) -> np.ndarray:
    """Return the unflagged rows with the flagged ones, except for a fraction `strength` of them."""
    # A random part of the flagged rows is restored.
    dropped = np.setdiff1d(np.arange(n), unflagged)
    random = stream(Purpose.KEPT_FLAGGED, random_state)
    restored = random.permutation(dropped)[round(strength * len(dropped)) :]
    return np.sort(np.concatenate([unflagged, restored]))
