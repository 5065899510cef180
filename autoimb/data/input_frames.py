"""Conversion of the input of scikit-learn methods to tables with named columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from autoimb.data.groups import without
from autoimb.data.table import (
    check_lengths,
    frame_of,
    has_names,
    in_pandas,
    read_table,
    table_of_rows,
)
from autoimb.data.target import label_array
from autoimb.errors import SchemaError

__all__ = ["further_rows", "named_frame"]


def named_frame(
    estimator: BaseEstimator, X: Any, *, reset: bool, apart: Sequence[str]
) -> pd.DataFrame:
    """Return a table with the columns of the estimator, ``x0, x1, ...`` where `X` has no names.

    Parameters
    ----------
    estimator : BaseEstimator
        Estimator that records the columns (`reset`) or against which they are checked.
    X : DataFrame or array-like of shape (n, p)
        Rows; also a table of pyarrow, polars and other libraries that
        `autoimb.data.table.frame_of` accepts. A fitted estimator also accepts a dict, a Series or
        a list of dicts, with names in any order.
    reset : bool
        Whether the estimator records the columns; otherwise they are checked.
    apart : sequence of str
        Columns that are neither recorded nor required; the result has them where `X` does.

    Raises
    ------
    TableError
        If `X` is not a table.
    SchemaError
        If the columns differ from those that the estimator recorded.
    """
    fitted_names = None if reset else getattr(estimator, "feature_names_in_", None)
    table = in_pandas(X if reset else _ordered_rows(X, fitted_names), "X")
    # Repeated names and empty tables are refused here, before scikit-learn does.
    frame = read_table(frame_of(table, fitted_names))
    features = without(frame, apart)
    numbered = features.set_axis(range(features.shape[1]), axis=1)
    named = features if has_names(table) else numbered
    try:
        validate_data(estimator, named, skip_check_array=True, reset=reset)
    except ValueError as error:
        raise SchemaError(str(error)) from None
    return frame


def _ordered_rows(X: Any, names: NDArray[Any] | None) -> Any:
    """Return dicts and Series as a table with its columns in the order of the names."""
    table = table_of_rows(X)
    if table is X or names is None:
        return table
    rank = {name: place for place, name in enumerate(names)}
    return table[sorted(table.columns, key=lambda name: rank.get(name, len(rank)))]


def further_rows(
    estimator: BaseEstimator, rows: tuple[Any, Any] | None, apart: Sequence[str]
) -> tuple[pd.DataFrame, NDArray[Any]] | None:
    """Return additional rows (X, y) with the columns of the fitted table; None for None."""
    if rows is None:
        return None
    frame = named_frame(estimator, rows[0], reset=False, apart=apart)
    labels = label_array(rows[1])
    check_lengths(frame, labels)
    return frame, labels
