"""Two scikit-learn baselines for the flights, searched at random with the same seconds."""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import loguniform, randint
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import ParameterSampler
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

__all__ = ["BASELINES", "Folds", "precision", "tune"]

Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]

SCHEDULE = ["day_of_year", "hour", "minute", "distance"]
WIND = ["wind_dir", "wind_speed", "wind_gust"]
NUMBERS = [*SCHEDULE, *WIND, "temp", "dewp", "humid", "precip", "pressure", "visib"]
STRINGS = ["carrier", "origin", "dest", "month", "weekday"]

BASELINES: dict[str, tuple[Any, dict[str, Any]]] = {
    "LogisticRegression": (
        LogisticRegression(max_iter=500),
        {
            "model__C": loguniform(1e-4, 1e2),
            "model__class_weight": [None, *({0: 1, 1: w} for w in (2, 4, 8, 16)), "balanced"],
            "prepare__strings__min_frequency": [3, 10, 30, 100],
        },
    ),
    "MLPClassifier": (
        MLPClassifier(n_iter_no_change=5),
        {
            "model__hidden_layer_sizes": [
                *((16,), (32,), (64,), (128,), (256,)),
                *((32, 32), (64, 32), (64, 64), (128, 64), (128, 128), (64, 64, 64)),
            ],
            "model__activation": ["relu", "relu", "tanh"],
            "model__alpha": loguniform(1e-5, 3e1),
            "model__learning_rate_init": loguniform(2e-4, 1e-2),
            "model__batch_size": [64, 128, 256, 512],
            "model__early_stopping": [False, False, True],
            "model__max_iter": randint(3, 41),
            "prepare__strings__min_frequency": [3, 10, 30, 100],
        },
    ),
}


def with_calendar(frame: pd.DataFrame) -> pd.DataFrame:
    """Replace the date by its day of the year, month and weekday."""
    date = pd.to_datetime(frame["date"])
    return frame.drop(columns="date").assign(
        day_of_year=date.dt.day_of_year, month=date.dt.month_name(), weekday=date.dt.day_name()
    )


def pipeline(model: Any, seed: int) -> Pipeline:
    """Put a baseline behind its column transformer."""
    numbers = make_pipeline(StandardScaler(), SimpleImputer(strategy="median", add_indicator=True))
    strings = OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False)
    columns = ColumnTransformer([("numbers", numbers, NUMBERS), ("strings", strings, STRINGS)])
    return Pipeline(
        [
            ("calendar", FunctionTransformer(with_calendar)),
            ("prepare", columns),
            ("model", clone(model).set_params(random_state=seed)),
        ]
    )


def fitted(model: Pipeline, X: pd.DataFrame, y: NDArray[np.bool_]) -> Pipeline:
    """Fit a baseline; the number of its epochs is tuned, so not to converge is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its epochs are tuned
        return model.fit(X, y)


def precision(model: Any, X: pd.DataFrame, y: NDArray[np.bool_]) -> float:
    """Average precision of a fitted model on some rows."""
    return float(average_precision_score(y, model.predict_proba(X)[:, 1]))


def validated(model: Pipeline, X: pd.DataFrame, y: NDArray[np.bool_], folds: Folds) -> float:
    """Mean average precision of a baseline over the validation folds."""
    scores = [
        precision(fitted(clone(model), X.iloc[train], y[train]), X.iloc[test], y[test])
        for train, test in folds
    ]
    return float(np.mean(scores))


def tune(
    name: str, X: pd.DataFrame, y: NDArray[np.bool_], folds: Folds, *, options: Namespace
) -> tuple[Pipeline, int]:
    """Search a baseline at random for the given seconds, and refit the best on all rows.

    Candidates that run when the time is up may finish; starting the worker processes and the refit
    are not counted.

    Returns
    -------
    tuple of Pipeline and int
        The fitted winner, and how many candidates were tried.
    """
    model, ranges = BASELINES[name]
    base = pipeline(model, options.seed)
    candidates = iter(ParameterSampler(ranges, n_iter=10**6, random_state=options.seed))
    tried: list[dict[str, Any]] = []
    with Parallel(options.jobs, pre_dispatch=options.jobs, batch_size=1) as parallel:
        parallel(delayed(time.sleep)(0.1) for _ in range(options.jobs))
        deadline = time.monotonic() + options.time

        def until_deadline() -> Iterator[Any]:
            while time.monotonic() < deadline:
                tried.append(next(candidates))
                yield delayed(validated)(clone(base).set_params(**tried[-1]), X, y, folds)

        scores = parallel(until_deadline())
    best = clone(base).set_params(**tried[int(np.argmax(scores))])
    return fitted(best, X, y), len(tried)
