"""What a user is told of a request that is not wrong, but hardly meant."""

from __future__ import annotations

from collections.abc import Iterator

import joblib

from autoimb.data.target import Target
from autoimb.runtime.pool import LOCAL

__all__ = ["about_jobs", "about_metric", "about_sample"]


def about_metric(metric: object, n_classes: int) -> Iterator[str]:
    """Say so where one label for all rows is the best answer."""
    if metric == "recall" and n_classes == 2:
        yield (
            "The metric 'recall' is best when every row is called positive, so such labels are "
            "what it chooses; 'recall@precision:0.5' (the recall at a precision) and "
            "'average_precision' also count false alarms."
        )


def about_jobs(n_jobs: int, backend: str) -> Iterator[str]:
    """Say so where workers have to share the processors of this machine."""
    cores = joblib.cpu_count()
    if backend == LOCAL.name and n_jobs > cores:
        yield (
            f"n_jobs={n_jobs} is more than the {cores} processors that may be used: the workers "
            "slow each other down, and each has its own memory; -1 is as many as there are."
        )


def about_sample(target: Target) -> Iterator[str]:
    """Say so where the rows are a sample of a larger table."""
    whole, here = target.counts.sum(), len(target.codes)
    if here < whole:
        yield (
            f"{here:,} rows were drawn from the {whole:,} of the table, class by class, each "
            "standing for as many as its weight says: more would not fit the memory. What columns "
            "hold, and how much they miss, is what these rows show."
        )
