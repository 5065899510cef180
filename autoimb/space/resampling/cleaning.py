"""Rows of the larger classes dropped where they stand among others; alone or after SMOTE."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

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
    sampled_rows,
    selection,
    softened,
    survivors_checked,
)
from autoimb.space.resampling.nearest import nearest
from autoimb.space.resampling.smote import smote

__all__ = [
    "edited_nn",
    "neighbourhood_cleaning",
    "one_sided_selection",
    "smote_enn",
    "smote_tomek",
    "tomek_links",
]

_VOTERS = 3


Flags = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _linked(space: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Flag the rows of Tomek links: two rows of two classes, each the other's nearest."""
    near = nearest(space, 1)[:, 0]
    return np.asarray((near[near] == np.arange(len(y))) & (y[near] != y))


def _disputed(space: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Flag the rows that one of their 3 neighbours disagrees with."""
    return np.asarray((y[nearest(space, min(_VOTERS, len(y) - 1))] != y[:, None]).any(axis=1))


def _unflagged(flags: Flags) -> Callable[[Rows], np.ndarray]:
    """Keep the rows that are not flagged, and the rarest class whole."""

    def keep(part: Rows) -> np.ndarray:
        classes, counts = present(part.y)
        common = part.y != classes[counts.argmin()]
        return np.flatnonzero(~(flags(neighbour_space(part.encoded), part.y) & common))

    return keep


def _kept(
    keep: Callable[[Rows], np.ndarray], part: Rows, name: str, strength: float, random_state: int
) -> Resampled:
    """Drop the fraction `strength` of the rows that a cleaner flags; flagged once a study."""
    kept = part.once((name, random_state), lambda: keep(part))
    rows = softened(kept, len(part.y), strength, random_state)
    survivors_checked(part.y[rows], part.y, name)
    return selection(rows)


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False)
def tomek_links(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Drop rows of the larger classes whose nearest neighbour is of another class (Tomek, 1976)."""
    return _kept(_unflagged(_linked), part, "tomek_links", strength, random_state)


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False, searched=False)
def edited_nn(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Drop rows of the larger classes that one of their 3 neighbours disagrees with (Wilson, 1972).

    Each of the neighbours must agree for a row to stay.
    """
    return _kept(_unflagged(_disputed), part, "edited_nn", strength, random_state)


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False, searched=False)
def neighbourhood_cleaning(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Drop larger-class rows that disagree with their neighbours or mislead rare ones.

    Laurikkala, 2001, with 3 neighbours.
    """
    from imblearn.under_sampling import NeighbourhoodCleaningRule

    sampler = NeighbourhoodCleaningRule(sampling_strategy="auto")
    return _kept(
        partial(sampled_rows, sampler), part, "neighbourhood_cleaning", strength, random_state
    )


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False, searched=False)
def one_sided_selection(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Keep larger-class rows that one neighbour gets wrong, then drop Tomek links.

    Kubat & Matwin, 1997.
    """
    from imblearn.under_sampling import OneSidedSelection

    sampler = OneSidedSelection(sampling_strategy="auto", random_state=random_state)
    return _kept(
        partial(sampled_rows, sampler), part, "one_sided_selection", strength, random_state
    )


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
    kept = softened(unflagged, len(y), cleaning, random_state)
    survivors_checked(y[kept], y, "cleaning")
    n = len(grown.rows)
    rows, fresh = grown.rows[kept[kept < n]], kept[kept >= n] - n
    synthetic = None if new is None else new.take(fresh)
    return Resampled(rows, synthetic, grown.synthetic_y[fresh], grown.parents[fresh])
