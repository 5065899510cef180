"""Find the departures that will be cancelled: search, report, export, and load again.

The last two months are held out. The folds of the search go by time as well, because the departures
of a day share its weather.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from autoimb import AutoImbClassifier, load

TABLE = Path(__file__).parent / "data" / "flights" / "flights.csv.gz"


def main() -> None:
    """Train on ten months and judge on the rest."""
    flights = pd.read_csv(TABLE)
    is_new = flights["date"] >= "2013-11"
    old, new = flights[~is_new], flights[is_new]

    clf = AutoImbClassifier(time_budget=60, n_jobs=2, random_state=0, verbose=1)
    clf.fit(old.drop(columns="cancelled"), old["cancelled"], time="date")
    clf.report("flights.html")
    clf.export("flights.autoimb")

    pipeline = load("flights.autoimb")
    rows, truth = new.drop(columns="cancelled"), new["cancelled"] == "yes"
    proba = pipeline.predict_proba(rows)[:, 1]
    low, high = clf.score_interval_
    print(f"winner: {clf.best_strategy_.describe()}")
    print(f"expected of later rows: {clf.best_score_:.3f} ({low:.3f} to {high:.3f})")
    print(f"average precision on later rows: {average_precision_score(truth, proba):.3f}")
    print(f"share of cancelled departures: {np.mean(truth):.3f}")


if __name__ == "__main__":
    main()
