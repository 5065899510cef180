"""What a scikit-learn user gives as rows, as tables with named columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from autoimb.data.conversion import in_pandas
from autoimb.data.groups import without
from autoimb.data.table import (
    check_lengths,
    frame_of,
    has_names,
    read_table,
    table_of_rows,
)
from autoimb.data.target import label_array
from autoimb.errors import SchemaError

__all__ = ["further_rows", "named_frame", "plain_frame"]


def plain_frame(X: Any) -> pd.DataFrame:
    """Return a table with all its columns; ``x0, x1, ...`` where `X` has no names.

    Raises
    ------
    TableError
        What is no table.
    """
    return read_table(frame_of(in_pandas(X, "X"), None))


def named_frame(
    estimator: BaseEstimator,
    X: Any,
    *,
    reset: bool,
    apart: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> pd.DataFrame:
    """Return a table with one name a column; ``x0, x1, ...`` where `X` has no names.

    Parameters
    ----------
    estimator : BaseEstimator
        It learns the columns, or says which they must be.
    X : DataFrame or array-like of shape (n, p)
        Also a table of pyarrow, polars and others that `autoimb.data.table.frame_of` takes; where
        the columns are known a dict, a Series or a list of dicts, their names in any order.
    reset : bool
        Whether the columns are learned.
    apart : sequence of str
        Columns that are none of the names to learn, and need not be there.
    optional : sequence of str
        Those of them that are returned where they are there; the others are left out.

    Raises
    ------
    TableError
        What is no table.
    SchemaError
        Other columns than those that were learned.
    """
    known = None if reset else getattr(estimator, "feature_names_in_", None)
    table = in_pandas(X if reset else _ordered_rows(X, known), "X")
    frame = read_table(frame_of(table, known))  # repeated names and no rows, in our words
    whole, frame = frame, without(frame, apart)
    numbered = frame.set_axis(range(frame.shape[1]), axis=1)
    try:
        validate_data(
            estimator, frame if has_names(table) else numbered, skip_check_array=True, reset=reset
        )
    except ValueError as error:
        raise SchemaError(str(error)) from None
    return without(whole, [name for name in apart if name not in optional])


def _ordered_rows(X: Any, names: NDArray[Any] | None) -> Any:
    """Return dicts and Series as a table with its columns in the order of the names."""
    table = table_of_rows(X)
    if table is X or names is None:
        return table
    rank = {name: place for place, name in enumerate(names)}
    return table[sorted(table.columns, key=lambda name: rank.get(name, len(rank)))]


def further_rows(
    estimator: BaseEstimator,
    given: tuple[Any, Any] | None,
    apart: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> tuple[pd.DataFrame, NDArray[Any]] | None:
    """Return further rows (X, y) with the columns of the table; None where there are none."""
    if given is None:
        return None
    frame = named_frame(estimator, given[0], reset=False, apart=apart, optional=optional)
    labels = label_array(given[1])
    check_lengths(frame, labels)
    return frame, labels
