"""Codes of levels, which are values of a column or whole rows; rare levels share a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from autoimb.arrays import Array
from autoimb.data.schema import Columns

__all__ = [
    "FIRST_LEVEL",
    "LEVEL_ARRAYS",
    "MISSING_LEVEL",
    "OTHER_LEVEL",
    "RARE",
    "category_codes",
    "coded",
    "frequent",
    "levels_memory",
    "levels_of_arrays",
    "levels_to_arrays",
    "row_hashes",
]

RARE = 3  # levels with fewer training rows are coded as "other"
OTHER_LEVEL, MISSING_LEVEL, FIRST_LEVEL = 0, 1, 2

# The arrays of `levels_to_arrays`.
LEVEL_ARRAYS = {"levels": Array("uint8")}

Number = TypeVar("Number", np.float64, np.uint64)


def frequent(numbers: NDArray[Number]) -> NDArray[Number]:
    """Return the values that occur in at least 3 rows, rising."""
    values, counts = np.unique(numbers, return_counts=True)
    frequent_values: NDArray[Number] = values[(counts >= RARE) & ~np.isnan(values)]
    return frequent_values


def coded(numbers: NDArray[Number], values: NDArray[Number]) -> NDArray[np.int64]:
    """Return the code of each number among sorted values: 2 and up, 0 for others, 1 for NaN."""
    codes = np.full(len(numbers), OTHER_LEVEL, dtype=np.int64)
    if len(values):
        # The values are sorted, so that the only candidate is the first one that is not smaller.
        place = np.minimum(np.searchsorted(values, numbers), len(values) - 1)
        is_level = values[place] == numbers
        codes[is_level] = FIRST_LEVEL + place[is_level]
    codes[np.isnan(numbers)] = MISSING_LEVEL
    return codes


def row_hashes(numbers: NDArray[np.float64], codes: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Hash whole rows in the same way on every machine; equal rows have equal hashes.

    Parameters
    ----------
    numbers : ndarray of float64, shape (n, p)
    codes : ndarray of integers, shape (n, q)

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    hashes = np.zeros(len(numbers), dtype=np.uint64)
    for bits in (*map(_bits, numbers.T), *codes.T.astype(np.uint64)):
        # The multiplication by the golden ratio of 2^64 spreads bits upwards, the shift downwards.
        hashes = (hashes ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _bits(numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the bits of numbers, (n,), with one representation of NaN and one of zero."""
    return (np.where(np.isnan(numbers), np.nan, numbers) + 0.0).view(np.uint64)


def category_codes(columns: Columns, levels: Sequence[Sequence[str]]) -> NDArray[np.int32]:
    """Return the codes of categorical columns by given levels, (n, q), for any vocabularies."""
    codes = np.empty((columns.n_rows, len(levels)), dtype=np.int32)
    for j, (column_levels, vocabulary) in enumerate(zip(levels, columns.vocabularies)):
        code_of = {level: FIRST_LEVEL + position for position, level in enumerate(column_levels)}
        # The last entry is that of code -1, a missing value.
        lookup = np.array(
            [*(code_of.get(level, OTHER_LEVEL) for level in vocabulary), MISSING_LEVEL]
        )
        codes[:, j] = lookup[columns.codes[:, j]]
    return codes


def levels_to_arrays(levels: Sequence[Sequence[str]]) -> dict[str, NDArray[np.uint8]]:
    """Convert the levels of columns to the bytes of their JSON, as one array."""
    return {"levels": np.frombuffer(msgspec.json.encode(levels), dtype=np.uint8)}


def levels_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> tuple[tuple[str, ...], ...]:
    """Return the levels of columns that `levels_to_arrays` converted.

    Raises
    ------
    MsgspecError
        If the bytes are not such JSON.
    """
    return msgspec.json.decode(arrays["levels"], type=tuple[tuple[str, ...], ...])


def levels_memory(levels: NDArray[np.uint8]) -> int:
    """Return the most bytes that the array of `levels_to_arrays` can take as Python's strings.

    A string takes 72 bytes and its characters, with its place in a tuple and in the list that the
    tuple is built from. If one character is beyond Latin-1, each of them takes up to 4 bytes,
    and one more while the string is decoded.
    """
    blocks = np.array_split(levels, 1 + levels.size // 2**20)  # comparisons take little memory
    quotes, commas, escapes = (
        sum(int(np.count_nonzero(block == ord(mark))) for block in blocks) for mark in '",\\'
    )
    width = 5 if escapes or levels.max(initial=0) >= 0xC4 else 2
    return quotes * 36 + commas * 20 + levels.size * width
