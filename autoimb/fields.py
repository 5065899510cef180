"""What the values and arrays of a file must be, said field by field in tables.

A check is called with a value and its name, and raises `FieldError` where the value is not what the
check was made for. Checks are put together from smaller ones, so a table of them is the schema.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.errors import ArtifactError

__all__ = [
    "Array",
    "Check",
    "FieldError",
    "among",
    "check_arrays",
    "each",
    "fields",
    "flag",
    "integer",
    "list_of",
    "nothing_or",
    "number",
    "plain",
    "text",
]

Check = Callable[[Any, str], None]

_LARGEST = sys.float_info.max  # what is larger is infinite
_DEPTH = 8  # of plain values
_SHOWN = 60  # characters of a value in a sentence


class FieldError(ArtifactError):
    """A value or an array is not what its field holds."""

    def __init__(self, name: str, wanted: str, got: object) -> None:
        said = repr(got)
        shown = said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."
        super().__init__(f"{name} must be {wanted}, got {shown}.")


# --- plain values --------------------------------------------------------------------------------


def flag(value: Any, name: str) -> None:
    """Check true or false."""
    if type(value) is not bool:
        raise FieldError(name, "true or false", value)


def number(low: float = -_LARGEST, high: float = _LARGEST, *, undefined: bool = False) -> Check:
    """Make the check of a number from `low` to `high`; also NaN and infinity if `undefined`."""

    def check(value: Any, name: str) -> None:
        if type(value) not in (int, float):
            raise FieldError(name, "a number", value)
        if not low <= value <= high and not (undefined and not np.isfinite(value)):
            raise FieldError(name, f"from {low:g} to {high:g}", value)

    return check


def integer(low: int, high: int) -> Check:
    """Make the check of a whole number from `low` to `high`."""

    def check(value: Any, name: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise FieldError(name, f"a whole number from {low} to {high}", value)

    return check


def text(most: int = 100_000) -> Check:
    """Make the check of a text of whole characters, at most so many."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise FieldError(name, f"a text of at most {most} characters", value)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise FieldError(name, "a text of whole characters", value) from error

    return check


def among(names: Collection[Any]) -> Check:
    """Make the check of one of some texts."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, str) or value not in names:
            raise FieldError(name, f"one of {', '.join(map(str, names))}", value)

    return check


def nothing_or(own: Check) -> Check:
    """Make the check of null, or of what another check takes."""

    def check(value: Any, name: str) -> None:
        if value is not None:
            own(value, name)

    return check


def list_of(own: Check, *, least: int = 0, most: int | None = None) -> Check:
    """Make the check of a list of so many values."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            raise FieldError(name, f"a list of at least {least}", value)
        if most is not None and len(value) > most:
            raise FieldError(name, f"a list of at most {most}", value)
        for place, one in enumerate(value):
            own(one, f"{name}[{place}]")

    return check


def each(own: Check, *, most: int) -> Check:
    """Make the check of an object whose keys are free, at most so many."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise FieldError(name, f"an object of at most {most} keys", value)
        for key, one in value.items():
            text()(key, f"a key of {name}")
            own(one, f"{name}.{key}")

    return check


def fields(table: Mapping[str, Check]) -> Check:
    """Make the check of an object with these keys and no others."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise FieldError(name, "an object", value)
        missing, unknown = table.keys() - value.keys(), value.keys() - table.keys()
        if missing or unknown:
            what = "with" if missing else "without"
            keys = ", ".join(sorted(map(repr, missing or unknown)))
            raise FieldError(name, f"an object {what} {keys}", sorted(value))
        for key, one in value.items():
            table[key](one, f"{name}.{key}")

    return check


def plain(value: Any, name: str, depth: int = _DEPTH) -> None:
    """Check values of any kind that JSON has, also NaN, nested at most eight deep."""
    if depth == 0:
        raise FieldError(name, f"nested at most {_DEPTH} deep", value)
    if isinstance(value, list):
        for one in value:
            plain(one, name, depth - 1)
    elif isinstance(value, dict):
        for key, one in value.items():
            plain(key, name, depth - 1)
            plain(one, name, depth - 1)
    elif isinstance(value, str):
        text()(value, name)


# --- arrays --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """What an array must be.

    Attributes
    ----------
    dtype : str
        As numpy names it.
    ndim : int or None
        Number of axes; None for any.
    low, high : float
        What every number lies between, both included; so none is NaN.
    undefined : bool
        Whether NaN and infinity may stand there as well.
    """

    dtype: str
    ndim: int | None = 1
    low: float = -_LARGEST
    high: float = _LARGEST
    undefined: bool = False

    def __call__(self, values: NDArray[Any], name: str) -> None:
        """Check an array."""
        if values.dtype != np.dtype(self.dtype):
            raise FieldError(name, f"of {self.dtype}", values.dtype.name)
        if self.ndim is not None and values.ndim != self.ndim:
            raise FieldError(name, f"of {self.ndim} axes", values.shape)
        if self.undefined:
            values = values[np.isfinite(values)]
        if not values.size:
            return
        least, most = float(values.min()), float(values.max())
        if not (least >= self.low and most <= self.high):
            raise FieldError(name, f"numbers from {self.low:g} to {self.high:g}", (least, most))


def check_arrays(table: Mapping[str, Array], arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Check that arrays are those of a table and no others.

    Parameters
    ----------
    table : mapping of str to Array
        By name; ``state.*`` stands for any number of arrays whose names begin so.
    arrays : mapping of str to ndarray
    name : str
        Of what the arrays belong to.

    Raises
    ------
    FieldError
    """
    for own in table.keys() - arrays.keys():
        if not own.endswith(".*"):
            raise FieldError(name, f"with an array {own!r}", sorted(arrays))
    for own, values in arrays.items():
        check = table.get(own) or table.get(re.sub(r"\..*", ".*", own))
        if check is None:
            raise FieldError(name, f"without an array {own!r}", sorted(arrays))
        check(values, f"{name}.{own}")
