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
from collections.abc import Callable, Sequence
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


class Rows:
    """A table in two: rows to train on, by folds or all of them, and rows to predict."""

    def __init__(self, path: Path) -> None:
        frame = pd.read_parquet(path)
        if len(frame) > MOST_ROWS:
            frame = split(frame, train_size=MOST_ROWS)[0]
        self.train, test = split(frame, test_size=0.3)
        xs, ys = zip(
            *((part.drop(columns="target"), part["target"]) for part in (self.train, test))
        )
        request = Request(target="target", time_budget=BUDGET, n_jobs=2, random_state=0)
        first = prepare(Table(xs[0], ys[0]), request)
        every = prepare(Table(xs[0], ys[0], None, (xs[1], ys[1])), request, schema=first.schema)
        self._folds, self._all = (planned(one, time_budget=BUDGET) for one in (first, every))
        whole, data = self._all[1].folds.folds[0], self._all[0].dataset
        new = np.sort(np.concatenate([whole.choose, whole.score]))
        self._columns, self._y, self._metric = data.columns.take(new), data.y[new], first.metric
        self._encoders = fit_encoders(self._folds[0].dataset, self._folds[1].folds.every)
        self._encoder = fit_encoders(data, [whole])

    def score(self, proba: np.ndarray) -> float:
        """Score predictions of the new rows by average precision."""
        return float(self._metric(self._y, proba, None))

    def predicted(
        self, strategy: Strategy, *, work: int = 1, ways: Sequence[str] = ("steps", "epochs")
    ) -> dict[str, list[np.ndarray]]:
        """Predict the new rows by the networks of the folds, and by as many that saw all rows.

        Networks in turn are told when to end by their rows alone: they keep those of the folds.
        """
        (_, plan), (_, once) = self._folds, self._all
        once = once if plan.folds.further else once.times(work)
        seeds = len(plan.folds.folds)
        plans: list[Schedule] = []

        def remembered(*given: Any, **named: Any) -> Schedule:
            plans.append(plan_schedule(*given, **named))
            return plans[-1]

        with mock.patch.object(training, "plan_schedule", remembered):
            kept = run(self._folds[0], plan.times(work), strategy)
        assert kept.fitted is not None
        found = {"folds": [kept.fitted.predict_proba(self._columns, self._encoders)]}
        tick = int(np.median(kept.epochs))
        for way in ways:
            times = seeds / (seeds - 1) if way == "epochs" else 1.0
            same = replace(plans[-1], steps=round(times * plans[-1].steps))
            found[way] = []
            if len(kept.fitted.packs) > plan.times(work).deals:
                found[way] = seeds * found["folds"]
                continue
            with (
                mock.patch.object(trials, "_measure", until(tick)),
                mock.patch.object(training, "plan_schedule", lambda *_, same=same, **__: same),
            ):
                for seed in range(seeds):
                    again = run(self._all[0], replace(once, seed=seed), strategy).fitted
                    assert again is not None
                    again = replace(again, calibrator=kept.fitted.calibrator)
                    found[way].append(again.predict_proba(self._columns, self._encoder))
        return found


def run(prepared: Prepared, plan: Plan, strategy: Strategy) -> trials.Outcome:
    """Evaluate a strategy without a limit."""
    data, metric = prepared.dataset, prepared.metric
    return trials.evaluate(strategy, data, plan, metric=metric, deadline=Deadline())


def compared(path: Path) -> list[dict[str, Any]]:
    """Score the networks of the folds, and those that saw all rows."""
    torch.set_num_threads(1)
    rows, table = [], Rows(path)
    for strategy in NETWORKS:
        found = table.predicted(strategy)
        row: dict[str, Any] = {"data": path.stem, "network": strategy.network.name}
        row |= {"rows": len(table.train), "folds": table.score(found.pop("folds")[0])}
        for name, refits in found.items():
            row[f"as many {name}"] = table.score(np.mean(refits, axis=0))
            row[f"as many {name}, one"] = np.mean([table.score(one) for one in refits])
        rows.append(row)
    return rows


def split(frame: pd.DataFrame, **size: float) -> list[pd.DataFrame]:
    """Deal rows in two, stratified."""
    found: list[pd.DataFrame] = train_test_split(
        frame, stratify=frame["target"].astype(str), random_state=0, **size
    )
    return found


def against_folds(what: str, scores: pd.DataFrame) -> list[str]:
    """Write rows of a table: the mean of each way, and its gain on the first, of the folds."""
    lines = [f"| {what} | folds | {scores['folds'].mean():.4f} | | |"]
    for name in scores.columns[1:]:
        gap = scores[name] - scores["folds"]
        lines.append(
            f"| {what} | {name} | {scores[name].mean():.4f} "
            f"| {gap.mean():+.4f} ± {gap.sem():.4f} | {(gap > 0).sum()} of {len(gap)} |"
        )
    return lines


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
            lines += against_folds(f"{network} | {size}", own[how])
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
