"""Groups of rows that belong together: rows of one customer, patient or batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.data.conversion import as_column
from autoimb.errors import OptionError, SchemaError, choices
from autoimb.text import shown

__all__ = ["column_names", "group_codes", "values_of_rows", "without"]


def column_names(given: object) -> tuple[str, ...]:
    """Return the columns that an argument names; none where it is an array of n rows, or None."""
    if isinstance(given, str):
        return (given,)
    if isinstance(given, list | tuple) and given and all(isinstance(n, str) for n in given):
        return tuple(given)
    return ()


def values_of_rows(argument: str, given: object, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the values that an argument gives each row, by the name of their column.

    Parameters
    ----------
    argument : str
        Its name, for errors, and that of values that came as an array.
    given : str, list of str or array-like of shape (n,)
        Names of columns, or the values themselves.
    frame : DataFrame of n rows

    Raises
    ------
    SchemaError
        On a column that the table does not have.
    OptionError
        On another number of values than rows.
    """
    names = column_names(given)
    for name in names:
        if name not in frame.columns:
            raise SchemaError(choices(f"column of {argument}", name, frame.columns))
    if names:
        return {name: frame[name] for name in names}
    values = as_column(given, argument)
    if len(values) != len(frame):
        raise OptionError(f"{argument} has {len(values)} values and the table {len(frame)} rows.")
    return {argument: values}


def without(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a table without the columns that are no features, whether it has them or not."""
    return frame.drop(columns=[name for name in names if name in frame.columns])


def group_codes(
    groups: object, frame: pd.DataFrame, further: pd.DataFrame | None = None
) -> NDArray[np.int64] | None:
    """Return the number of each row's group.

    Parameters
    ----------
    groups : str, list of str, array-like of shape (n,) or None
        Names of columns, whose values together are the group, or the groups themselves.
    frame : DataFrame of n rows
    further : DataFrame of m rows or None
        Rows of an evaluation set. Where they lack the columns, or the groups are an array, each of
        them is a group of its own.

    Returns
    -------
    ndarray of int64, shape (n + m,), or None
        From 0, by first appearance; None where there are no groups.

    Raises
    ------
    SchemaError
        On a column that the table does not have.
    OptionError
        On missing groups, on another number of them than rows, and on one group only.
    """
    if groups is None:
        return None
    names, columns = column_names(groups), values_of_rows("groups", groups, frame)
    codes = np.zeros(len(frame), dtype=np.int64)
    for name, values in columns.items():
        number, _ = pd.factorize(values)
        if (number < 0).any():
            row = int(np.flatnonzero(number < 0)[0])
            raise OptionError(
                f"groups: {name} has no value in {int((number < 0).sum())} rows, the first is row "
                f"{row}; each row needs a group, a row that stands alone one of its own."
            )
        pair = codes * (number.max(initial=0) + 1) + number
        codes = pd.factorize(pair)[0].astype(np.int64)
    if len(frame) and codes.max() == 0:
        value = shown(next(iter(columns.values())).iloc[0])
        raise OptionError(f"groups: all {len(frame)} rows are of one group, {value}; 2 are needed.")
    if further is None:
        return codes
    if names and all(name in further.columns for name in names):
        both = pd.concat([frame[list(names)], further[list(names)]], ignore_index=True)
        return group_codes(names, both)
    return np.concatenate([codes, codes.max() + 1 + np.arange(len(further))])
