"""What a scikit-learn user gives as rows, as tables with named columns."""

from __future__ import annotations

from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, validate_data

from autoimb.data.table import read_table
from autoimb.data.target import label_array

__all__ = ["further_rows", "named_frame"]


def named_frame(estimator: BaseEstimator, X: Any, *, reset: bool) -> pd.DataFrame:
    """Return a table with one name a column; ``x0, x1, ...`` where `X` has no names.

    Parameters
    ----------
    estimator : BaseEstimator
        It learns the columns, or says which they must be.
    X : DataFrame or array-like of shape (n, p)
    reset : bool
        Whether the columns are learned.
    """
    if isinstance(X, pd.DataFrame):
        read_table(X)  # repeated names and no rows, in our words
        validate_data(estimator, X, skip_check_array=True, reset=reset)
        frame = X
    else:
        kept = object if isinstance(X, (list, tuple)) else None  # a list may mix kinds
        array = validate_data(
            estimator,
            X,
            dtype=kept,
            reset=reset,
            ensure_all_finite=False,  # the schema names the infinite column
            ensure_min_samples=2 if reset else 1,
        )
        frame = pd.DataFrame(array).infer_objects()
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        names = [f"x{position}" for position in range(frame.shape[1])]
    return frame.set_axis(list(names), axis=1)


def further_rows(
    estimator: BaseEstimator, given: tuple[Any, Any] | None
) -> tuple[pd.DataFrame, NDArray[Any]] | None:
    """Return further rows (X, y) with the columns of the table; None where there are none."""
    if given is None:
        return None
    frame, labels = named_frame(estimator, given[0], reset=False), label_array(given[1])
    check_consistent_length(frame, labels)
    return frame, labels
