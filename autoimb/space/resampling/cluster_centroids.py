"""Under-sampling by the rows that are nearest to cluster centres."""

from __future__ import annotations

import numpy as np

from autoimb.randomness import Purpose, stream
from autoimb.space.option import Float, minority_at_least
from autoimb.space.resampling.component import (
    CLUSTERS,
    RESAMPLING,
    Resampled,
    Rows,
    neighbour_space,
    present,
    selection,
    under_counts,
)

__all__ = ["cluster_centroids"]


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
    space, selected = neighbour_space(part.encoded), []
    for c, had, n in zip(classes, counts, under_counts(counts, strength)):
        rows = np.flatnonzero(part.y == c)
        if n < had:
            # k-means needs at least as many distinct rows as clusters.
            distinct = min(int(n), len(np.unique(space[rows], axis=0)))
            means = MiniBatchKMeans(
                distinct, n_init=1, max_iter=20, random_state=random_state, batch_size=4096
            )
            means.fit(space[rows])
            nearest = np.unique(pairwise_distances_argmin(means.cluster_centers_, space[rows]))
            rows = _filled(rows, nearest, int(n), stream(Purpose.CENTROID_ROWS, random_state))
        selected.append(rows)
    return selection(np.concatenate(selected))


def _filled(
    rows: np.ndarray, chosen: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """Add random rows if several centres have the same nearest row."""
    rest = np.setdiff1d(np.arange(len(rows)), chosen)
    additional = random.choice(rest, count - len(chosen), replace=False)
    return np.asarray(rows[np.concatenate([chosen, additional])])
