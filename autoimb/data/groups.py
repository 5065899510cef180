"""Groups of dependent rows, such as the rows of one customer, patient or batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.data.table import as_column
from autoimb.errors import OptionError, SchemaError, check_choice
from autoimb.text import shown

__all__ = ["column_names", "group_codes", "values_of_rows", "without"]


def column_names(argument: object) -> tuple[str, ...]:
    """Return the column names that an argument consists of; none for an array or None."""
    if isinstance(argument, str):
        return (argument,)
    if (
        isinstance(argument, list | tuple)
        and argument
        and all(isinstance(name, str) for name in argument)
    ):
        return tuple(argument)
    return ()


def values_of_rows(
    name: str, argument: object, frame: pd.DataFrame, *, need: str
) -> dict[str, pd.Series]:
    """Return the values of an argument that assigns one or more values to each row.

    Parameters
    ----------
    name : str
        Name of the argument. It appears in errors and is the key of values passed as an array.
    argument : str, list of str or array-like of shape (n,)
        Names of columns, or the values themselves.
    frame : DataFrame of n rows
    need : str
        What each row needs, for errors.

    Returns
    -------
    dict of str to Series
        Values of the rows by column name.

    Raises
    ------
    SchemaError
        If the table lacks a named column.
    OptionError
        If the number of values differs from the number of rows, or a value is missing.
    """
    names = column_names(argument)
    for column in names:
        check_choice(f"column of {name}", column, frame.columns, SchemaError)
    columns = {column: frame[column] for column in names} or {name: as_column(argument, name)}
    for column, values in columns.items():
        if len(values) != len(frame):
            raise OptionError(f"{name} has {len(values)} values and the table {len(frame)} rows.")
        missing = values.isna().to_numpy()
        if missing.any():
            raise OptionError(
                f"{name}: {column} has no value in {int(missing.sum())} rows, the first is row "
                f"{int(missing.argmax())}; each row needs {need}."
            )
    return columns


def without(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a table without some columns; names that it does not have are ignored."""
    return frame.drop(columns=list(names), errors="ignore")


def group_codes(
    groups: object, frame: pd.DataFrame, further: pd.DataFrame | None = None
) -> NDArray[np.int64] | None:
    """Return the group number of each row.

    Parameters
    ----------
    groups : str, list of str, array-like of shape (n,) or None
        Names of columns whose combined values define the groups, or the groups themselves.
    frame : DataFrame of n rows
    further : DataFrame of m rows or None
        Rows of an evaluation set. Each of them is a separate group if they lack the columns or if
        the groups are an array.

    Returns
    -------
    ndarray of int64, shape (n + m,), or None
        Group numbers from 0 in the order of first appearance; None without groups.

    Raises
    ------
    SchemaError
        If the table lacks a named column.
    OptionError
        If a row has no group, if the number of groups differs from the number of rows, or if all
        rows belong to one group.
    """
    if groups is None:
        return None
    need = "a group, and a row without related rows a separate one"
    names, columns = column_names(groups), values_of_rows("groups", groups, frame, need=need)
    codes = np.zeros(len(frame), dtype=np.int64)
    for values in columns.values():
        number, _ = pd.factorize(values)
        # Combine the groups of the previous columns with this one, and number them consecutively.
        pair = codes * (number.max(initial=0) + 1) + number
        codes = pd.factorize(pair)[0].astype(np.int64)
    if len(frame) and codes.max() == 0:
        value = shown(next(iter(columns.values())).iloc[0])
        raise OptionError(f"groups: all {len(frame)} rows are of one group, {value}; 2 are needed.")
    if further is None:
        return codes
    if names and all(name in further.columns for name in names):
        combined = pd.concat([frame[list(names)], further[list(names)]], ignore_index=True)
        return group_codes(names, combined)
    return np.concatenate([codes, codes.max() + 1 + np.arange(len(further))])
