"""Networks of the folds kept, or as many trained again on all rows: which predicts new rows better.

``python reports/benchmarks/refit.py --data DATA`` splits every Parquet file of DATA (last column
``target``) into 70 % and 30 %, evaluates two networks on the folds of the 70 % as a trial of a
minute's search does, and trains each again on all of the 70 %, as many times as there are folds, up
to the median of the ticks that the folds chose: with as many steps, and with as many epochs. It
scores the 30 % and writes ``refit.md``.
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
from autoimb.training import run as training
from autoimb.training.schedule import Schedule, plan_schedule

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
        planned_as: list[Schedule] = []

        def remembered(*given: Any, seen: list[Schedule] = planned_as, **named: Any) -> Schedule:
            seen.append(plan_schedule(*given, **named))
            return seen[-1]

        with mock.patch.object(training, "plan_schedule", remembered):
            kept = run(*folds, strategy)
        assert kept.fitted is not None
        encoders = fit_encoders(folds[0].dataset, folds[1].folds.folds)
        proba = kept.fitted.predict_proba(columns, encoders)
        row: dict[str, Any] = {"data": path.stem, "network": strategy.network.name}
        row["rows"] = len(train)
        row["folds"] = score(metric, y, proba)
        tick, seeds = int(np.median(kept.epochs)), len(encoders)
        encoders = fit_encoders(data, [fold])
        for name, times in (("steps", 1.0), ("epochs", seeds / (seeds - 1))):
            same = replace(planned_as[-1], steps=round(times * planned_as[-1].steps))
            refits = []
            with (
                mock.patch.object(trials, "_measure", until(tick)),
                mock.patch.object(training, "plan_schedule", lambda *_, same=same, **__: same),
            ):
                for seed in range(seeds):
                    outcome = run(once[0], replace(once[1], seed=seed), strategy)
                    assert outcome.fitted is not None
                    refits.append(outcome.fitted.predict_proba(columns, encoders))
            row[f"as many {name}"] = score(metric, y, np.mean(refits, axis=0))
            row[f"as many {name}, one"] = np.mean([score(metric, y, one) for one in refits])
        rows.append(row)
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
    how = list(frame.columns[3:])
    lines = [
        "# Networks of the folds, or trained again on all rows",
        "",
        "Average precision on the 30 % of each table that none of them saw: of the folds' networks "
        "together; of as many networks that saw all of the 70 %, with as many steps and with as "
        "many epochs; and of one of them alone. *less folds*: mean and error over tables.",
        "",
        "| network | rows | trained | mean | less folds | better than folds on |",
        "|---|---|---|---|---|---|",
    ]
    sizes = {"below 3,000": frame["rows"] < 3000, "from 3,000 on": frame["rows"] >= 3000}
    for network in frame["network"].unique():
        for size, inside in sizes.items():
            own = frame[inside & (frame["network"] == network)]
            lines.append(f"| {network} | {size} | folds | {own['folds'].mean():.4f} | | |")
            for name in how[1:]:
                gap = own[name] - own["folds"]
                lines.append(
                    f"| {network} | {size} | {name} | {own[name].mean():.4f} "
                    f"| {gap.mean():+.4f} ± {gap.sem():.4f} | {(gap > 0).sum()} of {len(gap)} |"
                )
    lines += [
        "",
        f"| table | network | rows | {' | '.join(how)} |",
        f"|---|{'---|' * (2 + len(how))}",
    ]
    for one in frame.to_dict("records"):
        cells = " | ".join(f"{one[name]:.4f}" for name in how)
        lines.append(f"| {one['data']} | {one['network']} | {one['rows']:,} | {cells} |")
    text = "\n".join([*lines, "", "`python reports/benchmarks/refit.py`.", ""])
    Path(__file__).resolve().with_name("refit.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
