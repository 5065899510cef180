"""Networks on the columns that each fold keeps, and on all, on tables of a hundred and more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

from reports.benchmarks import cases
from reports.benchmarks.few_rare_rows.evaluating import split
from reports.benchmarks.project import Planned, Scored, first_networks

__all__ = ["ALL", "GENERATED", "KEPT", "NETWORKS", "PUBLIC", "screened", "table"]

PUBLIC = ("arrhythmia", "us_crime")
GENERATED = {  # training rows, columns of which 10 matter, rows of the rarer class
    "generated_300x200": (300, 200, 30),
    "generated_600x500": (600, 500, 40),
    "generated_1000x200": (1_000, 200, 80),
    "generated_1000x500": (1_000, 500, 50),
}
INFORMATIVE, TESTED = 10, 4_000
ALL = "all"
KEPT = {ALL: None, "20": 20, "50": 50}  # numbers, and one-hot columns, of a fold
NETWORKS = (0, 1, 4, 7)  # of the first ones: a perceptron, TabM, RealMLP, a ResNet


def table(name: str, seed: int, folder: Path) -> list[pd.DataFrame]:
    """Return training rows and test rows with their ``target``."""
    if name in PUBLIC:
        return split(folder / f"{name}.parquet", seed)
    rows, columns, rare = GENERATED[name]
    x, y = make_classification(
        rows + TESTED,
        columns,
        n_informative=INFORMATIVE,
        n_redundant=0,
        weights=[1 - rare / rows],
        random_state=seed,
    )
    frame = pd.DataFrame(x, columns=[f"c{j}" for j in range(columns)]).assign(target=y)
    return [frame.iloc[:rows], frame.iloc[rows:]]


def screened(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, dict[str, float]]:
    """Train the networks; return the mean of their scores, and the score of their mean."""
    planned = Planned.of(
        (train.drop(columns="target"), train["target"]), budget=cases.MINUTE, seed=seed
    )
    y = test["target"].to_numpy()
    found: dict[str, dict[str, float]] = {"score": {}, "mixed": {}}
    for kept, most in KEPT.items():
        own = planned.screened(most)
        outcomes = [own.trial(first_networks()[number]) for number in NETWORKS]
        scored = [one for one in outcomes if isinstance(one, Scored)]
        proba = own.predict(scored, test.drop(columns="target"))
        values = [cases.average_precision(y, one, own.classes) for one in proba]
        found["score"][kept] = float(np.mean(values))
        found["mixed"][kept] = cases.average_precision(y, np.mean(proba, axis=0), own.classes)
    return found
