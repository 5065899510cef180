"""Rows of the larger classes dropped where they stand among others; alone or after SMOTE."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoimb.space.option import Float, Int, minority_at_least
from autoimb.space.resampling.room import (
    MAKES,
    MOST_NEIGHBOURS,
    NEIGHBOURS,
    RESAMPLING,
    Resampled,
    Rows,
    neighbour_space,
    over_counts,
    sampled_rows,
    selection,
    softened,
    survivors_checked,
)
from autoimb.space.resampling.smote import smote

__all__ = [
    "edited_nn",
    "neighbourhood_cleaning",
    "one_sided_selection",
    "smote_enn",
    "smote_tomek",
    "tomek_links",
]


def _kept(sampler: Any, part: Rows, name: str, strength: float, seed: int) -> Resampled:
    """Drop the fraction `strength` of the rows that a cleaner flags; flagged once a study."""
    kept = part.once((name, seed), lambda: sampled_rows(sampler, part))
    rows = softened(kept, len(part.y), strength, seed)
    survivors_checked(part.y[rows], part.y, name)
    return selection(rows)


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False)
def tomek_links(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Drop rows of the larger classes whose nearest neighbour is of another class (Tomek, 1976)."""
    from imblearn.under_sampling import TomekLinks

    return _kept(TomekLinks(sampling_strategy="auto"), part, "tomek_links", strength, seed)


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False, searched=False)
def edited_nn(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Drop rows of the larger classes that one of their 3 neighbours disagrees with (Wilson, 1972).

    Each of the neighbours must agree for a row to stay.
    """
    from imblearn.under_sampling import EditedNearestNeighbours

    sampler = EditedNearestNeighbours(sampling_strategy="auto")
    return _kept(sampler, part, "edited_nn", strength, seed)


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False, searched=False)
def neighbourhood_cleaning(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Drop larger-class rows that disagree with their neighbours or mislead rare ones.

    Laurikkala, 2001, with 3 neighbours.
    """
    from imblearn.under_sampling import NeighbourhoodCleaningRule

    sampler = NeighbourhoodCleaningRule(sampling_strategy="auto")
    return _kept(sampler, part, "neighbourhood_cleaning", strength, seed)


@RESAMPLING.option(NEIGHBOURS, strength=Float(0.3, 1.0), exact=False, searched=False)
def one_sided_selection(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Keep larger-class rows that one neighbour gets wrong, then drop Tomek links.

    Kubat & Matwin, 1997.
    """
    from imblearn.under_sampling import OneSidedSelection

    sampler = OneSidedSelection(sampling_strategy="auto", random_state=seed)
    return _kept(sampler, part, "one_sided_selection", strength, seed)


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
    part: Rows, *, strength: float, k_neighbors: int, cleaning: float, seed: int
) -> Resampled:
    """SMOTE, then drop rows whose neighbours disagree with them (Batista et al., 2004)."""
    from imblearn.under_sampling import EditedNearestNeighbours

    grown = smote(part, strength=strength, k_neighbors=k_neighbors, seed=seed)
    return _cleaned(grown, part, EditedNearestNeighbours(sampling_strategy="all"), cleaning, seed)


@_after_smote
def smote_tomek(
    part: Rows, *, strength: float, k_neighbors: int, cleaning: float, seed: int
) -> Resampled:
    """SMOTE, then drop both rows of every Tomek link (Batista et al., 2003)."""
    from imblearn.under_sampling import TomekLinks

    grown = smote(part, strength=strength, k_neighbors=k_neighbors, seed=seed)
    return _cleaned(grown, part, TomekLinks(sampling_strategy="all"), cleaning, seed)


def _cleaned(grown: Resampled, part: Rows, cleaner: Any, cleaning: float, seed: int) -> Resampled:
    real, new = part.encoded.take(grown.rows), grown.synthetic
    whole = real if new is None else real.concat(new)
    y = np.concatenate([part.y[grown.rows], grown.synthetic_y])
    cleaner.fit_resample(neighbour_space(whole), y)
    kept = softened(np.asarray(cleaner.sample_indices_), len(y), cleaning, seed)
    survivors_checked(y[kept], y, "cleaning")
    n = len(grown.rows)
    rows, fresh = grown.rows[kept[kept < n]], kept[kept >= n] - n
    synthetic = None if new is None else new.take(fresh)
    return Resampled(rows, synthetic, grown.synthetic_y[fresh], grown.parents[fresh])
