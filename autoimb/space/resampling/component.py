"""The resampling component: what is done to the training rows of a fold, in encoded space.

Every option takes `Rows`, its own parameters and a seed, and gives `Resampled`. Strengths follow
one scale: over-sampling takes class c to n_max^s · n_c^(1-s) rows, under-sampling to
n_min^s · n_c^(1-s), and cleaning drops the fraction s of the rows that it flags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.errors import InfeasibleError
from autoimb.space.option import Component, Profile, work_at_most

__all__ = [
    "CLUSTERS",
    "MAKES",
    "MOST_NEIGHBOURS",
    "NEIGHBOURS",
    "RESAMPLING",
    "Once",
    "Resampled",
    "Rows",
    "Shares",
    "neighbour_space",
    "over_counts",
    "present",
    "selection",
    "survivors_checked",
    "under_counts",
]

MOST_NEIGHBOURS = 15
_MOST_DIMENSIONS = 32
_FOLDS = 3.0  # training parts of all folds, in tables


def _all_pairs(profile: Profile) -> float:
    """Count the distances between all rows, and their comparisons."""
    dimensions = min(profile.n_numbers + 4 * profile.n_categories, _MOST_DIMENSIONS)
    return float(_FOLDS * profile.n_rows**2 * (20.0 + 0.6 * dimensions))


def _new_rows(profile: Profile) -> float:
    """Count the making of rows, of which each category takes a vote of its neighbours."""
    new = np.sqrt(float(profile.n_rows) * profile.minority_count)
    pairs = profile.minority_count**2 * (profile.n_numbers + 8 * profile.n_categories)
    votes = new * profile.n_categories * (1.5e6 if profile.n_numbers == 0 else 2e4)
    return float(_FOLDS * (4.0 * pairs + votes))


def _clusters(profile: Profile) -> float:
    """Count the distances between all rows and all centres, a few hundred times over."""
    centres = float(profile.minority_count) ** 0.8 * float(profile.n_rows) ** 0.2
    dimensions = min(profile.n_numbers + 4 * profile.n_categories, _MOST_DIMENSIONS)
    return float(200.0 * profile.n_rows * centres * dimensions)


# the factors are of single runs on tables of 20,000 to 200,000 rows, at 40e9 operations a second
NEIGHBOURS = work_at_most(_all_pairs, "it searches neighbours among all rows")
MAKES = work_at_most(_new_rows, "it makes new rows one by one")
CLUSTERS = work_at_most(_clusters, "it clusters all rows")

Once = Callable[[tuple[str | int, ...], Callable[[], np.ndarray]], np.ndarray]
Shares = Callable[[np.ndarray, int], np.ndarray]


def _each_time(key: tuple[str | int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:  # noqa: ARG001  an `Once`
    return make()


@dataclass(frozen=True)
class Rows:
    """The training part of one fold.

    Attributes
    ----------
    encoded : Encoded
        n rows.
    y : int64 array of shape (n,)
    once : callable
        ``(key, make) -> array``: what follows from these rows alone, whatever the parameters, so
        that a study makes it once.
    labels : tuple of str
        The text of each class's label, by code.
    """

    encoded: Encoded
    y: np.ndarray
    once: Once = _each_time
    labels: tuple[str, ...] = ()


def _nobody() -> np.ndarray:
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Resampled:
    """What training sees instead.

    Attributes
    ----------
    rows : int64 array
        Real rows, as positions in the training part; one may stand there twice.
    synthetic : Encoded or None
        m new rows.
    synthetic_y : int64 array of shape (m,)
        Their classes.
    parents : int64 array of shape (m, 2)
        The two rows that each was made from, as positions in the training part; of shape (0, 2)
        where they are not known.
    shares : callable or None
        ``(counts (C,), batch) -> shares (C,)``: how much of every batch each class is; None where
        batches come as the rows do.
    """

    rows: np.ndarray
    synthetic: Encoded | None = None
    synthetic_y: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    parents: np.ndarray = field(default_factory=_nobody)
    shares: Shares | None = None


RESAMPLING: Component[Resampled] = Component(
    "resampling", "What is done to the training rows before networks see them."
)


def over_counts(counts: np.ndarray, strength: float) -> np.ndarray:
    """Return each class's size after over-sampling; never fewer than it has."""
    counts = np.asarray(counts)
    wanted = np.round(counts.max() ** strength * counts ** (1.0 - strength)).astype(np.int64)
    return np.asarray(np.maximum(wanted, counts))


def under_counts(counts: np.ndarray, strength: float) -> np.ndarray:
    """Return each class's size after under-sampling; never more than it has."""
    counts = np.asarray(counts)
    wanted = np.round(counts.min() ** strength * counts ** (1.0 - strength)).astype(np.int64)
    return np.asarray(np.clip(wanted, 1, counts))


def neighbour_space(encoded: Encoded) -> np.ndarray:
    """Return the space in which rows are near or far.

    The encoded columns; where they are more than 32, their 32 principal components, which keep
    the distances that matter at a fraction of the cost. Sees: the rows given, no labels.

    Returns
    -------
    float32 array of shape (n, at most 32)
    """
    from sklearn.decomposition import PCA

    matrix = encoded.matrix()
    if min(matrix.shape) <= _MOST_DIMENSIONS:
        return matrix
    reduced = PCA(_MOST_DIMENSIONS, svd_solver="covariance_eigh").fit_transform(matrix)
    return np.ascontiguousarray(reduced, dtype=np.float32)


def selection(rows: np.ndarray) -> Resampled:
    """Return real rows alone, in the table's order."""
    return Resampled(np.sort(rows))


def present(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that occur, and how often."""
    classes, counts = np.unique(y, return_counts=True)
    return classes, counts


def survivors_checked(kept: np.ndarray, before: np.ndarray, name: str) -> None:
    """Raise InfeasibleError where a class is lost."""
    lost = np.setdiff1d(before, kept)
    if len(lost):
        raise InfeasibleError(f"{name} would drop every training row of class number {lost[0]}.")
