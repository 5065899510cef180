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
    selection,
    under_counts,
)
from autoimb.space.resampling.neighbours import neighbour_space

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

    classes, counts = np.unique(part.y, return_counts=True)
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
            chosen = np.unique(pairwise_distances_argmin(means.cluster_centers_, space[rows]))
            # Random rows are added if several centres have the same nearest row.
            rest = np.setdiff1d(np.arange(had), chosen)
            random = stream(Purpose.CENTROID_ROWS, random_state)
            additional = random.choice(rest, n - len(chosen), replace=False)
            rows = rows[np.concatenate([chosen, additional])]
        selected.append(rows)
    return selection(np.concatenate(selected))
