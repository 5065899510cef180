"""Codes of levels, which are values of a column or whole rows; those with few rows are one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from autoimb.data.schema import Columns
from autoimb.errors import ArtifactError

__all__ = [
    "FIRST_LEVEL",
    "MISSING",
    "OTHER",
    "RARE",
    "category_codes",
    "coded",
    "frequent",
    "levels_of_arrays",
    "levels_to_arrays",
    "row_hashes",
]

RARE = 3  # levels with fewer training rows are coded as "other"
OTHER, MISSING, FIRST_LEVEL = 0, 1, 2

Number = TypeVar("Number", np.float64, np.uint64)


def frequent(numbers: NDArray[Number]) -> NDArray[Number]:
    """Return the values that at least 3 rows have, rising."""
    values, counts = np.unique(numbers, return_counts=True)
    often: NDArray[Number] = values[(counts >= RARE) & ~np.isnan(values)]
    return often


def coded(numbers: NDArray[Number], values: NDArray[Number]) -> NDArray[np.int64]:
    """Return each number's place among the values, from 2 on; 0 for others, 1 where missing."""
    codes = np.full(len(numbers), OTHER, dtype=np.int64)
    if len(values):
        place = np.minimum(np.searchsorted(values, numbers), len(values) - 1)
        known = values[place] == numbers
        codes[known] = FIRST_LEVEL + place[known]
    codes[np.isnan(numbers)] = MISSING
    return codes


def row_hashes(numbers: NDArray[np.float64], codes: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Hash whole rows, the same on every machine: equal rows have equal hashes.

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
        # the golden ratio of 2^64 spreads bits upwards, the shift downwards
        hashes = (hashes ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _bits(numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Bits of numbers, of which there are one NaN and one zero, (n,)."""
    return (np.where(np.isnan(numbers), np.nan, numbers) + 0.0).view(np.uint64)


def category_codes(columns: Columns, levels: Sequence[Sequence[str]]) -> NDArray[np.int32]:
    """Code the category columns by the levels of each, whatever its vocabulary, (n, q)."""
    codes = np.empty((columns.n_rows, len(levels)), dtype=np.int32)
    for j, (own, vocabulary) in enumerate(zip(levels, columns.vocabularies)):
        known = {level: FIRST_LEVEL + position for position, level in enumerate(own)}
        # the last place answers code -1
        lookup = np.array([*(known.get(level, OTHER) for level in vocabulary), MISSING])
        codes[:, j] = lookup[columns.codes[:, j]]
    return codes


def levels_to_arrays(levels: Sequence[Sequence[str]]) -> dict[str, NDArray[Any]]:
    """Give the levels of columns as arrays, which `levels_of_arrays` reads.

    Parameters
    ----------
    levels : sequence of q sequences of str

    Returns
    -------
    dict of str to ndarray
        ``level_counts``, int64 of shape (q,): how many each column has; ``level_ends``, int64 of
        shape (L,): where each ends in ``level_text``, uint8, the levels in UTF-8 one after the
        other. Half a character, which UTF-8 has no place for, is kept as it is.
    """
    texts = [level.encode(errors="surrogatepass") for own in levels for level in own]
    return {
        "level_counts": np.array([len(own) for own in levels], dtype=np.int64),
        "level_ends": np.cumsum([len(text) for text in texts], dtype=np.int64),
        "level_text": np.frombuffer(b"".join(texts), dtype=np.uint8),
    }


def levels_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> tuple[tuple[str, ...], ...]:
    """Undo `levels_to_arrays`.

    Raises
    ------
    ArtifactError
        Where the arrays are no levels: of whole texts, all different and sorted.
    """
    counts, ends, text = (arrays[f"level_{name}"] for name in ("counts", "ends", "text"))
    starts = np.concatenate([[0], ends])
    rising = bool((np.diff(starts) >= 0).all()) and int(starts[-1]) == len(text)
    # a count may be anything, so their sum may overflow
    if not rising or sum(map(int, counts)) != len(ends):
        raise ArtifactError("The ends of levels don't fit their text.")
    whole = text.tobytes()
    texts = [
        whole[start:end].decode(errors="surrogatepass") for start, end in pairwise(starts.tolist())
    ]
    last = np.cumsum(counts).tolist()
    levels = tuple(tuple(texts[end - count : end]) for end, count in zip(last, counts.tolist()))
    if not all(one < other for own in levels for one, other in pairwise(own)):
        raise ArtifactError("The levels of a column must be sorted, and all of them different.")
    return levels
