"""A table of any length, made part by part from a known generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import expit

__all__ = ["COLUMNS", "PART", "make", "rows_of"]

COLUMNS = 30
PART = 500_000  # rows of a file
INTERCEPT = -7.55  # by which .5 % are positive


def rows_of(part: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the numbers of a part, float32, and whether each row is positive.

    A row is positive by the chance that a sum of two lines, a product and a kink of the first six
    columns gives; the other columns say nothing. The same part has the same rows.
    """
    random = np.random.default_rng([7, part])
    x = random.standard_normal((rows, COLUMNS), dtype=np.float32)
    logit = INTERCEPT + 1.3 * x[:, 0] + 0.8 * x[:, 1] + x[:, 2] * x[:, 3]
    logit += np.abs(x[:, 4]) * (x[:, 5] > 0)
    return x, random.random(rows) < expit(logit)


def make(folder: Path, rows: int, *, first: int = 0) -> float:
    """Write a table as Parquet files; return the share of its rows that are positive.

    Parameters
    ----------
    folder : Path
        Made, if need be.
    rows : int
    first : int
        Number of the first part: tables of other parts have other rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    positive = 0
    for number, start in enumerate(range(0, rows, PART)):
        x, y = rows_of(first + number, min(PART, rows - start))
        columns = {f"n{j:02}": pa.array(x[:, j]) for j in range(COLUMNS)}
        labels = pa.DictionaryArray.from_arrays(pa.array(y.astype(np.int8)), ["no", "yes"])
        table = pa.table({**columns, "target": labels.cast(pa.string())})
        path = folder / f"part-{number:04}.parquet"
        pq.write_table(table, path, use_dictionary=["target"])
        positive += int(y.sum())
    return positive / rows
