"""Counts of a table, which feasibility checks, planning and the report use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from autoimb.data.schema import Schema
from autoimb.data.target import Target
from autoimb.data.values import text_of

__all__ = ["Profile", "profile"]


@dataclass(frozen=True)
class Profile:
    """Counts of a table; for a sampled table, estimates of the counts of the whole table.

    Attributes
    ----------
    n_rows, n_classes, minority_count : int
        Number of rows, of classes, and of rows of the rarest class.
    n_numbers, n_categories : int
        Number of numeric features (including parts of dates) and of categorical features.
    class_counts : tuple of int
        Number of rows of each class, by code.
    class_names : tuple of str
        Class labels as text, by code.
    positive : int
        Code of the positive class.
    kinds : dict of str to int
        Number of columns of each kind, including dropped columns.
    missing : dict of str to int
        Number of missing cells of each feature that has any. In a sample each cell counts for as
        many rows as its row represents.
    cardinality : dict of str to int
        Number of levels of each categorical feature in the rows that were read.
    operations : float or None
        Planned number of floating-point operations of a trial; None without a plan.
    """

    n_rows: int
    n_classes: int
    minority_count: int
    n_numbers: int
    n_categories: int
    class_counts: tuple[int, ...]
    class_names: tuple[str, ...]
    positive: int
    kinds: Mapping[str, int]
    missing: Mapping[str, int]
    cardinality: Mapping[str, int]
    operations: float | None = None


def profile(frame: pd.DataFrame, schema: Schema, target: Target) -> Profile:
    """Count the rows, classes, columns and missing cells of a table.

    Parameters
    ----------
    frame : DataFrame
        All rows that were read.
    schema : Schema
        Its columns.
    target : Target
        Its classes.

    Returns
    -------
    Profile
    """
    features = schema.features
    categories = [column.name for column in features if column.kind == "categorical"]
    # A sampled row represents several rows of its class, and so do its missing cells.
    multiplicity = (1.0 / target.sampled)[target.codes]
    missing = {
        column.name: round(multiplicity[frame[column.name].isna()].sum()) for column in features
    }
    counts = tuple(int(count) for count in target.counts)
    return Profile(
        n_rows=sum(counts),
        n_classes=len(counts),
        minority_count=min(counts),
        n_numbers=sum(len(column.numbers) for column in features),
        n_categories=len(categories),
        class_counts=counts,
        class_names=tuple(text_of(label) for label in target.classes),
        positive=target.positive,
        kinds=dict(Counter(column.kind for column in schema.columns)),
        missing={name: count for name, count in missing.items() if count},
        cardinality={name: int(frame[name].nunique()) for name in categories},
    )
