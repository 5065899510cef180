"""SMOTE and its variants, which differ in the rows that new ones start from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.errors import InfeasibleError
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
    targets,
)
from autoimb.space.resampling.interpolation import neighbours, new_rows
from autoimb.space.resampling.nearest import nearest

__all__ = ["adasyn", "borderline_smote", "kmeans_smote", "smote", "svm_smote"]

_BORDER = 10  # neighbours among all rows that say whether a row is on the border
_FEWEST = 6  # rows of the rarest class

Chance = Callable[[int, np.ndarray], np.ndarray]


@RESAMPLING.option(
    minority_at_least(_FEWEST),
    MAKES,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, MOST_NEIGHBOURS, log=True),
    exact=False,
    sizes=over_counts,
)
def smote(part: Rows, *, strength: float, k_neighbors: int, random_state: int) -> Resampled:
    """Interpolate new rows between near neighbours: SMOTE, SMOTENC or SMOTEN by column kinds.

    Chawla et al., 2002. The neighbours are searched within each class of the training rows, with
    at most as many as the smallest sampled class has others.
    """
    if part.encoded.numbers.shape[1] == 0:
        return _of_categories(part, strength, k_neighbors, random_state)
    return _interpolated(part, strength, k_neighbors, random_state)


def _of_categories(part: Rows, strength: float, k_neighbors: int, random_state: int) -> Resampled:
    from imblearn.over_sampling import SMOTEN
    from sklearn.utils import check_random_state

    wanted = targets(part.y, over_counts(present(part.y)[1], strength))
    if not wanted:
        return Resampled(np.arange(len(part.y)))
    k = _allowed_neighbours(part, k_neighbors, wanted)
    sampler = SMOTEN(k_neighbors=k, sampling_strategy=wanted, random_state=random_state)
    n = len(part.y)
    codes, classes = (np.asarray(a)[n:] for a in sampler.fit_resample(part.encoded.codes, part.y))
    no_numbers = np.empty((len(codes), 0), dtype=np.float32)
    synthetic = Encoded(no_numbers, codes.astype(np.int32), part.encoded.cardinalities)
    bases = []
    for (
        c,
        size,
    ) in wanted.items():  # it draws the row whose neighbours vote from the same random_state
        own = np.flatnonzero(part.y == c)
        bases.append(own[check_random_state(random_state).choice(len(own), size - len(own))])
    base = np.concatenate(bases)
    return Resampled(
        np.arange(n), synthetic, classes.astype(np.int64), np.stack([base, base], axis=1)
    )


def _allowed_neighbours(part: Rows, k_neighbors: int, wanted: dict[int, int]) -> int:
    rarest = min(int((part.y == c).sum()) for c in wanted)
    if rarest < 2:
        raise InfeasibleError("smote needs at least 2 training rows of a class to add to, got 1.")
    return min(k_neighbors, rarest - 1)


def _interpolated(
    part: Rows,
    strength: float,
    k_neighbors: int,
    random_state: int,
    *,
    chance: Chance | None = None,
    cluster: np.ndarray | None = None,
) -> Resampled:
    """Grow every smaller class by rows between a drawn one and one of its neighbours.

    `chance` takes a class and its rows, and gives how likely each is to be drawn, not summing to
    one; a class of which it gives none any chance stays as it is. With `cluster`, (n,), the
    neighbours of a row are rows of its own cluster.
    """
    wanted = targets(part.y, over_counts(present(part.y)[1], strength))
    if not wanted:
        return Resampled(np.arange(len(part.y)))
    k = _allowed_neighbours(part, k_neighbors, wanted)
    made, classes, parents = [], [], []
    for c, size in wanted.items():
        rows = np.flatnonzero(part.y == c)
        likely = None if chance is None else chance(c, rows)
        if likely is not None and not likely.any():
            continue
        own = part.encoded.take(rows)
        if cluster is None:
            find = partial(neighbours, own, min(MOST_NEIGHBOURS, own.n_rows - 1))
            near = part.once(("smote", c), find)[:, :k]
        else:
            near = _within(own, cluster[rows], k)
        new, pair = new_rows(
            own,
            size - own.n_rows,
            near=near,
            random_state=random_state,
            chance=None if likely is None else likely / likely.sum(),
        )
        made.append(new)
        classes.append(np.full(new.n_rows, c, dtype=np.int64))
        parents.append(rows[pair])
    if not made:
        raise InfeasibleError("No row of a smaller class is one that new rows may start from.")
    return Resampled(
        np.arange(len(part.y)),
        reduce(Encoded.concat, made),
        np.concatenate(classes),
        np.concatenate(parents),
    )


def _within(own: Encoded, cluster: np.ndarray, k: int) -> np.ndarray:
    """Find the k nearest others of each row in its cluster, (n, k); fewer come more than once."""
    near = np.empty((own.n_rows, k), dtype=np.int64)
    for label in np.unique(cluster):
        rows = np.flatnonzero(cluster == label)
        if len(rows) == 1:
            near[rows] = rows  # it has none
            continue
        some = neighbours(own.take(rows), min(k, len(rows) - 1))
        near[rows] = rows[some[:, np.arange(k) % some.shape[1]]]
    return near


def _others(part: Rows) -> np.ndarray:
    """Return the share of other classes among each row's neighbours of all classes, (n,)."""

    def share() -> np.ndarray:
        space = neighbour_space(part.encoded)
        near = nearest(space, min(_BORDER, len(space) - 1))
        return np.asarray((part.y[near] != part.y[:, None]).mean(axis=1))

    return part.once(("others",), share)


_by_the_border = RESAMPLING.option(
    minority_at_least(_FEWEST),
    MAKES,
    NEIGHBOURS,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, MOST_NEIGHBOURS, log=True),
    exact=False,
    sizes=over_counts,
    searched=False,
)


@_by_the_border
def borderline_smote(
    part: Rows, *, strength: float, k_neighbors: int, random_state: int
) -> Resampled:
    """SMOTE from the rows on the border: half to nearly all of their neighbours are others.

    Han, Wang & Mao, 2005 (borderline-1), with ten neighbours among all rows.
    """
    share = _others(part)

    def chance(_: int, rows: np.ndarray) -> np.ndarray:
        return np.asarray((share[rows] >= 0.5) & (share[rows] < 1.0), dtype=np.float64)

    return _interpolated(part, strength, k_neighbors, random_state, chance=chance)


@_by_the_border
def adasyn(part: Rows, *, strength: float, k_neighbors: int, random_state: int) -> Resampled:
    """SMOTE from each row in proportion to how many of its neighbours are others.

    ADASYN (He et al., 2008), with ten neighbours among all rows, and the sizes of the other
    methods instead of rounded shares of them.
    """
    share = _others(part)
    return _interpolated(
        part, strength, k_neighbors, random_state, chance=lambda _, rows: share[rows]
    )


@_by_the_border
def svm_smote(part: Rows, *, strength: float, k_neighbors: int, random_state: int) -> Resampled:
    """SMOTE from the support vectors of a class, but for those among others only.

    Nguyen, Cooper & Kamei, 2011, interpolating only.
    """
    share = _others(part)

    def supports() -> np.ndarray:
        from sklearn.svm import SVC

        space, found = neighbour_space(part.encoded), np.zeros(len(part.y))
        found[SVC(gamma="scale").fit(space, part.y).support_] = 1.0
        return found

    support = part.once(("supports",), supports)
    return _interpolated(
        part,
        strength,
        k_neighbors,
        random_state,
        chance=lambda _, rows: support[rows] * (share[rows] < 1.0),
    )


@RESAMPLING.option(
    minority_at_least(_FEWEST),
    MAKES,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, MOST_NEIGHBOURS, log=True),
    clusters=Int(4, 32, log=True),
    exact=False,
    sizes=over_counts,
    searched=False,
)
def kmeans_smote(
    part: Rows, *, strength: float, k_neighbors: int, clusters: int, random_state: int
) -> Resampled:
    """SMOTE within the clusters where a class is commoner than in the table.

    After Last, Douzas & Bacao, 2018: sparse clusters get more, in proportion to the mean distance
    of a class's rows there from their middle. Both parents of a row are of one cluster.
    """
    from sklearn.cluster import MiniBatchKMeans

    space = neighbour_space(part.encoded)
    means = MiniBatchKMeans(
        min(clusters, len(np.unique(space, axis=0))),
        n_init=1,
        random_state=random_state,
        batch_size=4096,
    )
    label = means.fit_predict(space)
    sizes = np.bincount(label)

    def chance(c: int, rows: np.ndarray) -> np.ndarray:
        own = np.bincount(label[rows], minlength=len(sizes))
        common = (own > sizes * (part.y == c).mean()) & (own > 1)
        distance = np.linalg.norm(space[rows] - means.cluster_centers_[label[rows]], axis=1)
        spread = np.bincount(label[rows], distance, minlength=len(sizes)) / np.maximum(own, 1)
        each = common * spread / np.maximum(own, 1)
        return np.asarray(each[label[rows]])

    return _interpolated(part, strength, k_neighbors, random_state, chance=chance, cluster=label)
