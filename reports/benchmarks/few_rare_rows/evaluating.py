"""The tables, and what each of some strategies predicts on splits of them.

Public tables are split into 70 % that trains and 30 % that is tested. Of larger ones a stratified
sample with 60 rows of the rarest class trains, and what it leaves out is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from reports.benchmarks import cases
from reports.benchmarks.project import (
    Judge,
    Planned,
    Scored,
    Strategy,
    first_methods,
    first_networks,
    partners,
)

__all__ = ["NAMED", "THINNED", "Evaluated", "evaluated", "split"]

NAMED = (
    *("arrhythmia", "ecoli", "glass", "yeast_me2", "oil_spill", "solar_flare_m0"),
    *("car_eval_4", "soybean"),
)
THINNED = (
    *("thyroid_sick", "us_crime", "churn_mlc", "mammography", "wine_quality", "hmeq"),
    "ibm_attrition",
)
NETWORKS, METHODS = range(10), (0, 1, 3, 4)  # of the first ones of a search, no ensemble
_Placed = dict[str, Strategy]  # by stage and place in its list
RARE_ROWS, MOST_ROWS, MOST_TESTED = 60, 2_000, 5_000


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What strategies predict of a split.

    Attributes
    ----------
    judge : Judge
        Of the training rows, by average precision.
    results : dict of str to Scored
        By the place of a strategy: out of fold, without its networks.
    tested : dict of str to float64 array of shape (m, C)
        Probabilities of the test rows.
    y : int64 array of shape (m,)
        Class codes of the test rows.
    """

    judge: Judge
    results: dict[str, Scored]
    tested: dict[str, np.ndarray]
    y: np.ndarray

    @property
    def partners(self) -> list[str]:
        """The places of the partners."""
        return [place for place in self.results if place.startswith("partner")]

    @property
    def networks(self) -> list[str]:
        """The places of the strategies of a network, with an imbalance method or without."""
        return [place for place in self.results if not place.startswith("partner")]


def split(path: Path, seed: int) -> list[pd.DataFrame]:
    """Return training rows and test rows with their ``target``."""
    if path.stem not in THINNED:
        return cases.split(path, seed)
    rows = pd.read_parquet(path)
    labels = rows["target"].astype(str)
    size = min(round(RARE_ROWS / labels.value_counts().min() * len(rows)), MOST_ROWS)
    train, test = train_test_split(rows, stratify=labels, train_size=size, random_state=seed)
    return [train, cases.sample(test, MOST_TESTED, seed)]


def evaluated(path: Path, seed: int, cache: Path) -> Evaluated:
    """Evaluate the strategies on a split, or read what they gave."""
    file = cache / f"{path.stem}.{seed}.joblib"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        joblib.dump(_evaluated(*split(path, seed), seed), file)
    found: Evaluated = joblib.load(file)
    return found


def _evaluated(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Evaluated:
    table = train.drop(columns="target"), train["target"]
    planned = Planned.of(table, budget=cases.MINUTE, seed=seed)
    networks = _placed("network", first_networks(), NETWORKS)
    results = _confirmed(planned, networks)
    best = max(results, key=lambda place: results[place].score.utility)
    methods = _placed("method", first_methods(networks[best]), METHODS)
    trees = _placed("partner", partners(), range(len(partners())))
    results |= _confirmed(planned, methods | trees)
    tested = planned.predict(list(results.values()), test.drop(columns="target"))
    light = {place: replace(one, fitted=_without_networks(one)) for place, one in results.items()}
    y = pd.Categorical(test["target"], categories=planned.classes).codes
    return Evaluated(planned.judge, light, dict(zip(results, tested)), y.astype(np.int64))


def _placed(stage: str, strategies: Sequence[Strategy], places: Iterable[int]) -> _Placed:
    return {f"{stage}.{place}": strategies[place] for place in places}


def _confirmed(planned: Planned, strategies: _Placed) -> dict[str, Scored]:
    """Evaluate strategies on the folds of all repeats; those that can't be are left out."""
    outcomes = {place: planned.trial(one, confirm=True) for place, one in strategies.items()}
    return {place: one for place, one in outcomes.items() if isinstance(one, Scored)}


def _without_networks(one: Scored) -> object:
    return None if one.fitted is None else replace(one.fitted, packs=(), trees=())
