"""Networks of the folds kept, or as many trained again on all rows: which predicts new rows better.

``python reports/benchmarks/refit.py --data DATA`` splits every Parquet file of DATA (last column
``target``) into 70 % and 30 %, evaluates two networks on the folds of the 70 % as a trial of a
minute's search does, and trains each again on all of the 70 %, as many times as there are folds,
with the same schedule up to the median of the ticks that the folds chose. It scores the 30 % and
writes ``refit.md``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from plain import TABM, plain
from sklearn.model_selection import train_test_split

from autoimb.assessment.metrics import Metric
from autoimb.search import evaluate as trials
from autoimb.search.budget import Deadline
from autoimb.search.planning import Plan
from autoimb.search.prepare import Prepared, Table, prepare
from autoimb.search.request import Request
from autoimb.search.search import fit_encoders, planned
from autoimb.space.strategy import Strategy

BUDGET = 60.0
MOST_ROWS = 60_000
REALMLP = plain(
    "realmlp",
    {
        "width": 77,
        "depth": 2,
        "dropout": 0.3,
        "activation": "selu",
        "embedding": "none",
        "learning_rate": 0.054,
        "weight_decay": 0.0023,
        "batch_factor": 0.5,
        "schedule": "coslog4",
    },
)
NETWORKS = (TABM, REALMLP)


def until(tick: int) -> Callable[..., Callable[..., float]]:
    """Stand in for what makes the measure of an epoch: the running mean of three is best there."""

    def make(*_: Any) -> Callable[..., float]:
        asked = [0]

        def measure(*_: Any) -> float:
            asked[0] += 1
            return -abs(asked[0] - 1 - max(tick - 1, 0))

        return measure

    return make


def run(prepared: Prepared, plan: Plan, strategy: Strategy) -> trials.Outcome:
    """Evaluate a strategy without a limit."""
    data, metric = prepared.dataset, prepared.metric
    return trials.evaluate(strategy, data, plan, metric=metric, deadline=Deadline())


def compared(path: Path) -> list[dict[str, Any]]:
    """Score the networks of the folds, and those that saw all rows."""
    torch.set_num_threads(1)
    frame = pd.read_parquet(path)
    if len(frame) > MOST_ROWS:
        frame = split(frame, train_size=MOST_ROWS)[0]
    train, test = split(frame, test_size=0.3)
    xs, ys = zip(*((part.drop(columns="target"), part["target"]) for part in (train, test)))
    request = Request(target="target", time_budget=BUDGET, n_jobs=2, random_state=0)
    first = prepare(Table(xs[0], ys[0]), request)
    all_rows = prepare(Table(xs[0], ys[0], None, (xs[1], ys[1])), request, schema=first.schema)
    folds, once = planned(first, time_budget=BUDGET), planned(all_rows, time_budget=BUDGET)
    fold = once[1].folds.folds[0]
    held_out = np.sort(np.concatenate([fold.choose, fold.score]))
    data, rows = once[0].dataset, []
    metric, columns, y = first.metric, data.columns.take(held_out), data.y[held_out]
    for strategy in NETWORKS:
        kept = run(*folds, strategy)
        assert kept.fitted is not None
        again = []
        with mock.patch.object(trials, "_measure", until(int(np.median(kept.epochs)))):
            for seed in range(len(folds[1].folds.folds)):
                outcome = run(once[0], replace(once[1], seed=seed), strategy)
                assert outcome.fitted is not None
                again.append(outcome.fitted)
        encoders = fit_encoders(folds[0].dataset, folds[1].folds.folds)
        proba = kept.fitted.predict_proba(columns, encoders)
        encoders = fit_encoders(data, [fold])
        refits = [network.predict_proba(columns, encoders) for network in again]
        rows.append(
            {
                "data": path.stem,
                "network": strategy.network.name,
                "folds": score(metric, y, proba),
                "all rows": score(metric, y, np.mean(refits, axis=0)),
                "one on all rows": np.mean([score(metric, y, one) for one in refits]),
            }
        )
    return rows


def split(frame: pd.DataFrame, **size: float) -> list[pd.DataFrame]:
    """Deal rows in two, stratified."""
    found: list[pd.DataFrame] = train_test_split(
        frame, stratify=frame["target"].astype(str), random_state=0, **size
    )
    return found


def score(metric: Metric, y: np.ndarray, proba: np.ndarray) -> float:
    """Score predictions by average precision."""
    return float(metric(y, proba, None))


def main() -> None:
    """Read the command line, compare, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    paths = sorted(options.data.glob("*.parquet"), key=lambda p: -p.stat().st_size)
    jobs = (delayed(compared)(path) for path in paths)
    for found in Parallel(n_jobs=-1, return_as="generator_unordered")(jobs):
        print(*found, file=sys.stderr, flush=True)
        rows += found
    frame = pd.DataFrame(rows).sort_values(["network", "data"])
    lines = [
        "# Networks of the folds, or trained again on all rows",
        "",
        "Average precision on the 30 % of each table that neither saw.",
        "",
        "| network | folds | as many on all rows | one on all rows | folds are better on "
        "| all rows less folds |",
        "|---|---|---|---|---|---|",
    ]
    for name, own in frame.groupby("network"):
        gap = own["all rows"] - own["folds"]
        lines.append(
            f"| {name} | {own['folds'].mean():.4f} | {own['all rows'].mean():.4f} "
            f"| {own['one on all rows'].mean():.4f} | {(gap < 0).sum()} of {len(gap)} "
            f"| {gap.mean():+.4f} ± {gap.sem():.4f} |"
        )
    lines += [
        "",
        "| table | network | folds | as many on all rows | one |",
        "|---|---|---|---|---|",
    ]
    for row in frame.itertuples(index=False):
        lines.append(f"| {row[0]} | {row[1]} | {row[2]:.4f} | {row[3]:.4f} | {row[4]:.4f} |")
    text = "\n".join([*lines, "", "`python reports/benchmarks/refit.py`.", ""])
    Path(__file__).resolve().with_name("refit.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
