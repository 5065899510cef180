"""The resampling room: what is done to the training rows of a fold, in encoded space.

Every option takes `Rows`, its own parameters and a seed, and gives `Resampled`. Strengths follow
one scale: over-sampling takes class c to n_max^s · n_c^(1-s) rows, under-sampling to
n_min^s · n_c^(1-s), and cleaning drops the fraction s of the rows that it flags.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from autoimb.data.encoding import Encoded
from autoimb.errors import InfeasibleError
from autoimb.space.option import Float, Int, OneOf, Profile, Room, minority_at_least, work_at_most
from autoimb.space.smote_nc import neighbours, new_rows

__all__ = [
    "RESAMPLING",
    "Once",
    "Resampled",
    "Rows",
    "neighbour_space",
    "over_counts",
    "under_counts",
]

RESAMPLING = Room("resampling", "What is done to the training rows before networks see them.")

_MOST_DIMENSIONS = 32
_MOST_NEIGHBOURS = 15  # of SMOTE
_FOLDS = 3.0  # training parts of all folds, in tables


def _all_pairs(profile: Profile) -> float:
    """Count the distances between all rows."""
    dimensions = min(profile.n_numbers + 4 * profile.n_categories, _MOST_DIMENSIONS)
    return _FOLDS * 3.0 * profile.n_rows**2 * dimensions


def _rare_pairs(profile: Profile) -> float:
    """Count the ranking of the rare rows by every other row."""
    return _FOLDS * 1.5e3 * profile.n_rows * profile.minority_count


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
_NEIGHBOURS = work_at_most(_all_pairs, "it searches neighbours among all rows")
_RARE = work_at_most(_rare_pairs, "it ranks the rare rows by every other row")
_MAKES = work_at_most(_new_rows, "it makes new rows one by one")
_CLUSTERS = work_at_most(_clusters, "it clusters all rows")


Once = Callable[[tuple[str | int, ...], Callable[[], np.ndarray]], np.ndarray]


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
    """

    encoded: Encoded
    y: np.ndarray
    once: Once = _each_time


@dataclass(frozen=True)
class Resampled:
    """What training sees instead.

    Attributes
    ----------
    rows : int64 array
        Real rows, as positions in the training part; one may stand there twice.
    synthetic : Encoded or None
        New rows.
    synthetic_y : int64 array
        Their classes.
    """

    rows: np.ndarray
    synthetic: Encoded | None
    synthetic_y: np.ndarray


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


def _selection(rows: np.ndarray) -> Resampled:
    return Resampled(np.sort(rows), None, np.empty(0, dtype=np.int64))


def _present(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    classes, counts = np.unique(y, return_counts=True)
    return classes, counts


def _targets(y: np.ndarray, wanted: np.ndarray) -> dict[int, int]:
    """Pair classes with sizes, only where the size changes, as imbalanced-learn takes them."""
    classes, counts = _present(y)
    return {int(c): int(n) for c, n, had in zip(classes, wanted, counts) if n != had}


@RESAMPLING.option()
def none(part: Rows, *, seed: int) -> Resampled:  # noqa: ARG001  room's signature
    """Rows stay as they are."""
    return _selection(np.arange(len(part.y)))


@RESAMPLING.option(strength=Float(0.3, 1.0), sizes=over_counts)
def random_over(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Duplicate random rows of the smaller classes."""
    random = np.random.default_rng(seed)
    classes, counts = _present(part.y)
    extra = over_counts(counts, strength) - counts
    more = [random.choice(np.flatnonzero(part.y == c), n) for c, n in zip(classes, extra)]
    return _selection(np.concatenate([np.arange(len(part.y)), *more]))


@RESAMPLING.option(
    minority_at_least(6),
    _MAKES,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, _MOST_NEIGHBOURS, log=True),
    exact=False,
    sizes=over_counts,
)
def smote(part: Rows, *, strength: float, k_neighbors: int, seed: int) -> Resampled:
    """Interpolate new rows between near neighbours: SMOTE, SMOTENC or SMOTEN by column kinds.

    Chawla et al., 2002. The neighbours are searched within each class of the training rows, with
    at most as many as the smallest sampled class has others.
    """
    from imblearn.over_sampling import SMOTEN

    wanted = _targets(part.y, over_counts(_present(part.y)[1], strength))
    if not wanted:
        return _selection(np.arange(len(part.y)))
    k = _allowed_neighbours(part, k_neighbors, wanted)
    if part.encoded.numbers.shape[1]:
        return _interpolated(part, wanted, k, seed)
    sampler = SMOTEN(k_neighbors=k, sampling_strategy=wanted, random_state=seed)
    n = len(part.y)
    codes, classes = (np.asarray(a)[n:] for a in sampler.fit_resample(part.encoded.codes, part.y))
    no_numbers = np.empty((len(codes), 0), dtype=np.float32)
    synthetic = Encoded(no_numbers, codes.astype(np.int32), part.encoded.cardinalities)
    return Resampled(np.arange(n), synthetic, classes.astype(np.int64))


def _allowed_neighbours(part: Rows, k_neighbors: int, wanted: dict[int, int]) -> int:
    rarest = min(int((part.y == c).sum()) for c in wanted)
    if rarest < 2:
        raise InfeasibleError("smote needs at least 2 training rows of a class to add to, got 1.")
    return min(k_neighbors, rarest - 1)


def _interpolated(part: Rows, wanted: dict[int, int], k: int, seed: int) -> Resampled:
    made, classes = [], []
    for c, size in wanted.items():
        own = part.encoded.take(np.flatnonzero(part.y == c))
        find = partial(neighbours, own, min(_MOST_NEIGHBOURS, own.n_rows - 1))
        near = part.once(("smote", c), find)[:, :k]
        made.append(new_rows(own, size - own.n_rows, near=near, seed=seed))
        classes.append(np.full(made[-1].n_rows, c, dtype=np.int64))
    return Resampled(np.arange(len(part.y)), reduce(Encoded.concat, made), np.concatenate(classes))


@RESAMPLING.option(strength=Float(0.3, 1.0), sizes=under_counts)
def random_under(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Keep random rows of the larger classes."""
    random = np.random.default_rng(seed)
    classes, counts = _present(part.y)
    kept = [
        random.choice(np.flatnonzero(part.y == c), n, replace=False)
        for c, n in zip(classes, under_counts(counts, strength))
    ]
    return _selection(np.concatenate(kept))


@RESAMPLING.option(
    minority_at_least(6),
    _RARE,
    strength=Float(0.3, 1.0),
    version=OneOf((1, 2, 3)),
    n_neighbors=Int(2, 8),
    exact=False,
    sizes=under_counts,
)
def near_miss(
    part: Rows, *, strength: float, version: int, n_neighbors: int, seed: int
) -> Resampled:
    """Keep the rows of the larger classes that are nearest to the rarest (Mani & Zhang, 2003)."""
    from imblearn.under_sampling import NearMiss

    del seed  # the method draws nothing
    _, counts = _present(part.y)
    wanted = _targets(part.y, under_counts(counts, strength))
    k = min(n_neighbors, int(counts.min()))
    sampler = NearMiss(sampling_strategy=wanted, version=version, n_neighbors=k, n_neighbors_ver3=k)
    with warnings.catch_warnings():  # version 3 may find fewer rows than wanted, and keeps those
        warnings.simplefilter("ignore", UserWarning)
        return _sampled_rows(sampler, part, "near_miss")


@RESAMPLING.option(
    _CLUSTERS,
    minority_at_least(6),
    strength=Float(0.6, 1.0),
    exact=False,
    sizes=under_counts,
)
def cluster_centroids(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Keep, of the larger classes, the real row nearest to each k-means centre."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import pairwise_distances_argmin

    classes, counts = _present(part.y)
    space, kept = neighbour_space(part.encoded), []
    for c, had, n in zip(classes, counts, under_counts(counts, strength)):
        rows = np.flatnonzero(part.y == c)
        if n < had:
            distinct = min(int(n), len(np.unique(space[rows], axis=0)))
            means = MiniBatchKMeans(
                distinct, n_init=1, max_iter=20, random_state=seed, batch_size=4096
            )
            means.fit(space[rows])
            nearest = np.unique(pairwise_distances_argmin(means.cluster_centers_, space[rows]))
            rows = _filled(rows, nearest, int(n), np.random.default_rng(seed))
        kept.append(rows)
    return _selection(np.concatenate(kept))


def _filled(
    rows: np.ndarray, chosen: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """Fill up with random rows where two centres share their nearest row."""
    rest = np.setdiff1d(np.arange(len(rows)), chosen)
    more = random.choice(rest, count - len(chosen), replace=False)
    return np.asarray(rows[np.concatenate([chosen, more])])


@RESAMPLING.option(_NEIGHBOURS, strength=Float(0.3, 1.0), exact=False)
def tomek_links(part: Rows, *, strength: float, seed: int) -> Resampled:
    """Drop rows of the larger classes whose nearest neighbour is of another class (Tomek, 1976)."""
    from imblearn.under_sampling import TomekLinks

    sampler = TomekLinks(sampling_strategy="auto")
    kept = part.once(("tomek_links",), lambda: _sampled_rows(sampler, part, "tomek_links").rows)
    return _selection(_softened(kept, len(part.y), strength, seed))


@RESAMPLING.option(
    minority_at_least(6),
    _MAKES,
    _NEIGHBOURS,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, _MOST_NEIGHBOURS, log=True),
    cleaning=Float(0.3, 1.0),
    exact=False,
    sizes=over_counts,
)
def smote_enn(
    part: Rows, *, strength: float, k_neighbors: int, cleaning: float, seed: int
) -> Resampled:
    """SMOTE, then drop rows whose neighbours disagree with them (Batista et al., 2004)."""
    from imblearn.under_sampling import EditedNearestNeighbours

    grown = smote(part, strength=strength, k_neighbors=k_neighbors, seed=seed)
    return _cleaned(grown, part, EditedNearestNeighbours(sampling_strategy="all"), cleaning, seed)


@RESAMPLING.option(
    minority_at_least(6),
    _MAKES,
    _NEIGHBOURS,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, _MOST_NEIGHBOURS, log=True),
    cleaning=Float(0.3, 1.0),
    exact=False,
    sizes=over_counts,
)
def smote_tomek(
    part: Rows, *, strength: float, k_neighbors: int, cleaning: float, seed: int
) -> Resampled:
    """SMOTE, then drop both rows of every Tomek link (Batista et al., 2003)."""
    from imblearn.under_sampling import TomekLinks

    grown = smote(part, strength=strength, k_neighbors=k_neighbors, seed=seed)
    return _cleaned(grown, part, TomekLinks(sampling_strategy="all"), cleaning, seed)


def _sampled_rows(sampler: Any, part: Rows, name: str) -> Resampled:
    """Run an imbalanced-learn sampler that selects rows; every class must survive it."""
    sampler.fit_resample(neighbour_space(part.encoded), part.y)
    rows = np.asarray(sampler.sample_indices_)
    _check_survivors(part.y[rows], part.y, name)
    return _selection(rows)


def _check_survivors(kept: np.ndarray, before: np.ndarray, name: str) -> None:
    lost = np.setdiff1d(before, kept)
    if len(lost):
        raise InfeasibleError(f"{name} would drop every training row of class number {lost[0]}.")


def _softened(kept: np.ndarray, n: int, strength: float, seed: int) -> np.ndarray:
    """Give back all but the fraction `strength` of the rows that were dropped."""
    dropped = np.setdiff1d(np.arange(n), kept)
    random = np.random.default_rng([seed, 1])
    back = random.permutation(dropped)[round(strength * len(dropped)) :]
    return np.sort(np.concatenate([kept, back]))


def _cleaned(grown: Resampled, part: Rows, cleaner: Any, cleaning: float, seed: int) -> Resampled:
    real, new = part.encoded.take(grown.rows), grown.synthetic
    whole = real if new is None else real.concat(new)
    y = np.concatenate([part.y[grown.rows], grown.synthetic_y])
    cleaner.fit_resample(neighbour_space(whole), y)
    kept = _softened(np.asarray(cleaner.sample_indices_), len(y), cleaning, seed)
    _check_survivors(y[kept], y, "cleaning")
    n = len(grown.rows)
    rows, fresh = grown.rows[kept[kept < n]], kept[kept >= n] - n
    synthetic = None if new is None else new.take(fresh)
    return Resampled(rows, synthetic, grown.synthetic_y[fresh])
