"""The resampling component: methods that change the encoded training rows of a fold.

Every option takes `Rows`, its parameters and a seed, and returns `Resampled`. Strengths have a
common scale: over-sampling changes the size of class c to n_max^s · n_c^(1-s), under-sampling to
n_min^s · n_c^(1-s), and cleaning drops the fraction s of the rows that it flags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.data.profile import Profile
from autoimb.errors import InfeasibleError
from autoimb.space.option import Component, work_at_most
from autoimb.space.resampling.neighbours import MAX_DIMENSIONS

__all__ = [
    "CLUSTERS",
    "MAKES",
    "MAX_NEIGHBOURS",
    "NEIGHBOURS",
    "RESAMPLING",
    "Once",
    "Resampled",
    "Rows",
    "Shares",
    "check_classes_kept",
    "over_counts",
    "selection",
    "under_counts",
]

MAX_NEIGHBOURS = 15
_FOLDS = 3.0  # size of all training parts, as a multiple of the table


def _all_pairs(profile: Profile) -> float:
    """Return the operations for the distances between all rows and for their comparison."""
    dimensions = min(profile.n_numbers + 4 * profile.n_categories, MAX_DIMENSIONS)
    return float(_FOLDS * profile.n_rows**2 * (20.0 + 0.6 * dimensions))


def _new_rows(profile: Profile) -> float:
    """Return the operations for new rows, with votes of neighbours on each category."""
    new = np.sqrt(float(profile.n_rows) * profile.minority_count)
    pairs = profile.minority_count**2 * (profile.n_numbers + 8 * profile.n_categories)
    votes = new * profile.n_categories * (1.5e6 if profile.n_numbers == 0 else 2e4)
    return float(_FOLDS * (4.0 * pairs + votes))


def _clusters(profile: Profile) -> float:
    """Return the operations for some hundred times the distances between rows and centres."""
    centres = float(profile.minority_count) ** 0.8 * float(profile.n_rows) ** 0.2
    dimensions = min(profile.n_numbers + 4 * profile.n_categories, MAX_DIMENSIONS)
    return float(200.0 * profile.n_rows * centres * dimensions)


# The factors were measured in single runs on tables of 20,000 to 200,000 rows, at 40e9 operations
# a second.
NEIGHBOURS = work_at_most(_all_pairs, "it searches neighbours among all rows")
MAKES = work_at_most(_new_rows, "it makes new rows one by one")
CLUSTERS = work_at_most(_clusters, "it clusters all rows")

Once = Callable[[tuple[str | int, ...], Callable[[], np.ndarray]], np.ndarray]
Shares = Callable[[np.ndarray, int], np.ndarray]


def _uncached(key: tuple[str | int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:  # noqa: ARG001  an `Once`
    return make()


@dataclass(frozen=True)
class Rows:
    """The training part of one fold.

    Attributes
    ----------
    encoded : Encoded
        The n encoded rows.
    y : int64 array of shape (n,)
    once : callable
        ``(key, make) -> array``: cache for arrays that depend on the rows but not on parameters, so
        that a study computes them once.
    labels : tuple of str
        Text of each class's label, in the order of the codes.
    """

    encoded: Encoded
    y: np.ndarray
    once: Once = _uncached
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resampled:
    """Result of a resampling method, which replaces the training rows.

    Attributes
    ----------
    rows : int64 array
        Real rows, as positions in the training part; a row may occur several times.
    synthetic : Encoded or None
        The m new rows.
    synthetic_y : int64 array of shape (m,)
        Classes of the new rows.
    parents : int64 array of shape (m, 2)
        The two rows from which each new row was computed, as positions in the training part; of
        shape (0, 2) if they are unknown.
    shares : callable or None
        ``(counts (C,), batch) -> shares (C,)``: share of each class in every batch; None if batches
        follow the rows.
    """

    rows: np.ndarray
    synthetic: Encoded | None = None
    synthetic_y: np.ndarray = field(default_factory=partial(np.empty, 0, np.int64))
    parents: np.ndarray = field(default_factory=partial(np.empty, (0, 2), np.int64))
    shares: Shares | None = None


RESAMPLING: Component[Resampled] = Component(
    "resampling", "Change of the training rows before networks are trained."
)


def over_counts(counts: np.ndarray, strength: float) -> np.ndarray:
    """Return each class's size after over-sampling, at least its current size."""
    counts = np.asarray(counts)
    target = np.round(counts.max() ** strength * counts ** (1.0 - strength)).astype(np.int64)
    return np.asarray(np.maximum(target, counts))


def under_counts(counts: np.ndarray, strength: float) -> np.ndarray:
    """Return each class's size after under-sampling, at most its current size."""
    counts = np.asarray(counts)
    target = np.round(counts.min() ** strength * counts ** (1.0 - strength)).astype(np.int64)
    return np.asarray(np.clip(target, 1, counts))


def selection(rows: np.ndarray) -> Resampled:
    """Return a result that consists of real rows only, in the order of the table."""
    return Resampled(np.sort(rows))


def check_classes_kept(y_after: np.ndarray, y_before: np.ndarray, name: str) -> None:
    """Raise InfeasibleError if a class has no row after resampling."""
    lost = np.setdiff1d(y_before, y_after)
    if len(lost):
        raise InfeasibleError(f"{name} would drop every training row of class number {lost[0]}.")
