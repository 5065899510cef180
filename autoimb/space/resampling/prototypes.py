"""Representative rows of the larger classes, chosen by nearness, clusters or hardness."""

from __future__ import annotations

import warnings

import numpy as np

from autoimb.randomness import Purpose, stream
from autoimb.space.option import Float, Int, OneOf, minority_at_least
from autoimb.space.resampling.component import (
    CLUSTERS,
    RARE,
    RESAMPLING,
    Resampled,
    Rows,
    neighbour_space,
    present,
    sampled_rows,
    selection,
    survivors_checked,
    targets,
    under_counts,
)

__all__ = ["cluster_centroids", "instance_hardness", "near_miss"]


@RESAMPLING.option(
    minority_at_least(6),
    RARE,
    strength=Float(0.3, 1.0),
    version=OneOf((1, 2, 3)),
    n_neighbors=Int(2, 8),
    exact=False,
    sizes=under_counts,
    searched=False,
)
def near_miss(
    part: Rows, *, strength: float, version: int, n_neighbors: int, random_state: int
) -> Resampled:
    """Keep the rows of the larger classes that are nearest to the rarest (Mani & Zhang, 2003)."""
    from imblearn.under_sampling import NearMiss

    del random_state  # the method draws nothing
    _, counts = present(part.y)
    wanted = targets(part.y, under_counts(counts, strength))
    k = min(n_neighbors, int(counts.min()))
    sampler = NearMiss(sampling_strategy=wanted, version=version, n_neighbors=k, n_neighbors_ver3=k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # version 3 keeps what it finds, perhaps less
        rows = sampled_rows(sampler, part)
    survivors_checked(part.y[rows], part.y, "near_miss")
    return selection(rows)


@RESAMPLING.option(
    CLUSTERS,
    minority_at_least(6),
    strength=Float(0.6, 1.0),
    exact=False,
    sizes=under_counts,
)
def cluster_centroids(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Keep, of the larger classes, the real row nearest to each k-means centre."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import pairwise_distances_argmin

    classes, counts = present(part.y)
    space, kept = neighbour_space(part.encoded), []
    for c, had, n in zip(classes, counts, under_counts(counts, strength)):
        rows = np.flatnonzero(part.y == c)
        if n < had:
            distinct = min(int(n), len(np.unique(space[rows], axis=0)))
            means = MiniBatchKMeans(
                distinct, n_init=1, max_iter=20, random_state=random_state, batch_size=4096
            )
            means.fit(space[rows])
            nearest = np.unique(pairwise_distances_argmin(means.cluster_centers_, space[rows]))
            rows = _filled(rows, nearest, int(n), stream(Purpose.CENTROID_ROWS, random_state))
        kept.append(rows)
    return selection(np.concatenate(kept))


def _filled(
    rows: np.ndarray, chosen: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """Fill up with random rows where two centres share their nearest row."""
    rest = np.setdiff1d(np.arange(len(rows)), chosen)
    more = random.choice(rest, count - len(chosen), replace=False)
    return np.asarray(rows[np.concatenate([chosen, more])])


@RESAMPLING.option(
    minority_at_least(6),
    strength=Float(0.3, 1.0),
    exact=False,
    sizes=under_counts,
    searched=False,
)
def instance_hardness(part: Rows, *, strength: float, random_state: int) -> Resampled:
    """Keep the rows of the larger classes that a logistic regression finds easiest.

    Smith, Martinez & Giraud-Carrier, 2014: a row's hardness is one minus the probability of its
    class, of a model that was fitted without it, on other parts of the training rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    classes, counts = present(part.y)

    def own_probability() -> np.ndarray:
        model = LogisticRegression(max_iter=200)
        split = StratifiedKFold(3, shuffle=True, random_state=random_state)
        space = neighbour_space(part.encoded)
        proba = cross_val_predict(model, space, part.y, cv=split, method="predict_proba")
        return np.asarray(proba[np.arange(len(part.y)), np.searchsorted(classes, part.y)])

    easy = part.once(("hardness", random_state), own_probability)
    kept = []
    for c, n in zip(classes, under_counts(counts, strength)):
        rows = np.flatnonzero(part.y == c)
        kept.append(rows[np.argsort(-easy[rows], kind="stable")[:n]])
    return selection(np.concatenate(kept))
