"""The counts of a table: what feasibility, planning and the report look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from autoimb.data.schema import Schema
from autoimb.data.target import Target
from autoimb.data.values import text_of

__all__ = ["Profile", "profile"]

FEW_ROWS = 30  # of the rarest class: every score has a wide interval


@dataclass(frozen=True)
class Profile:
    """Counts of a table; of one that was sampled, what the sample says of the whole.

    Attributes
    ----------
    n_rows, n_classes, minority_count : int
        Rows, classes, rows of the rarest class.
    n_numbers, n_categories : int
        Numbers (with the parts of dates) and category columns that are learned from.
    class_counts : tuple of int
        Rows per class, by code.
    class_names : tuple of str
        The labels as text, by code.
    positive : int
        Code of the positive class.
    kinds : dict of str to int
        Columns per kind, dropped ones too.
    missing : dict of str to int
        Missing cells of each column that is learned from and misses any; of a sample each cell
        counts as many as its row stands for.
    cardinality : dict of str to int
        Levels of each category column, in the rows that were read.
    notices : tuple of str
        What the user should know about the table.
    operations : float or None
        Floating-point operations that a trial is planned to be; None where nothing was planned.
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
    notices: tuple[str, ...] = ()
    operations: float | None = None


def profile(
    frame: pd.DataFrame, schema: Schema, target: Target, *, notices: tuple[str, ...] = ()
) -> Profile:
    """Count what is in a table.

    Parameters
    ----------
    frame : DataFrame
        All rows that were read.
    schema : Schema
        Its columns.
    target : Target
        Its classes.
    notices : tuple of str, optional
        Notices of the schema, put before those of the target.

    Returns
    -------
    Profile
    """
    kept = schema.kept
    categories = [column.name for column in kept if column.kind == "categorical"]
    stands_for = (1.0 / target.sampled)[target.codes]
    missing = {column.name: round(stands_for[frame[column.name].isna()].sum()) for column in kept}
    counts = tuple(int(count) for count in target.counts)
    few: tuple[str, ...] = ()
    if min(counts) < FEW_ROWS:
        few = (f"The rarest class has {min(counts)} rows: expect wide intervals.",)
    return Profile(
        n_rows=sum(counts),
        n_classes=len(counts),
        minority_count=min(counts),
        n_numbers=sum(len(column.numbers) for column in kept),
        n_categories=len(categories),
        class_counts=counts,
        class_names=tuple(text_of(label) for label in target.classes),
        positive=target.positive,
        kinds=dict(Counter(column.kind for column in schema.columns)),
        missing={name: count for name, count in missing.items() if count},
        cardinality={name: int(frame[name].nunique()) for name in categories},
        notices=(*notices, *target.notices, *few),
    )
