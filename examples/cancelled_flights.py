"""Find the departures that will be cancelled: search, report, export, and load again.

Whole days are held out, because the departures of a day share its weather.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold

from autoimb import AutoImbClassifier, load

TABLE = Path(__file__).parent / "data" / "flights" / "flights.csv.gz"


def main() -> None:
    """Train on four fifths of the days and judge on the rest."""
    flights = pd.read_csv(TABLE)
    held_out = pd.Series(flights["date"].unique()).sample(frac=0.2, random_state=0)
    is_new = flights["date"].isin(held_out)
    old, new = flights[~is_new], flights[is_new]

    by_day = GroupKFold(3, shuffle=True, random_state=0)
    folds = list(by_day.split(old, groups=old["date"]))
    clf = AutoImbClassifier(time_budget=60, n_jobs=2, cv=folds, random_state=0, verbose=1)
    clf.fit(old.drop(columns="cancelled"), old["cancelled"])
    clf.report("flights.html")
    clf.export("flights.autoimb")

    pipeline = load("flights.autoimb")
    rows, truth = new.drop(columns="cancelled"), new["cancelled"] == "yes"
    proba = pipeline.predict_proba(rows)[:, 1]
    print(f"winner: {clf.best_strategy_.describe()}")
    print(f"average precision on new days: {average_precision_score(truth, proba):.3f}")
    print(f"share of cancelled departures: {np.mean(truth):.3f}")


if __name__ == "__main__":
    main()
