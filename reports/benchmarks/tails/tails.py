"""Whether a rung scores better after a cosine tail than by the mean of its weights.

``run`` trains some of the first networks on 70 % of a table with a quarter of the planned work and
with all of it, each as planned (a constant rate and the mean of the weights), with the last
eighth or quarter of the steps along a cosine to zero and no mean, and along a cosine from the
beginning; and scores the other 30 % by average precision. The work is the same.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import cos, pi
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from autoimb.space.option import Choice
from autoimb.training import fit
from autoimb.training.schedule import Schedule
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "network", "rung", "seed"))
TABLES = (
    "hmeq",
    "lending_club",
    "churn_mlc",
    "adult",
    "hr_job_change",
    "credit_default_tw",
    "mammography",
    "thyroid_sick",
    "us_crime",
    "ibm_attrition",
)
NETWORKS = (0, 1, 4)  # of the list that a search starts with
RUNGS = (0.25, 1.0)
PLANNED, WHOLE = "mean of weights", "cosine"
TAILS = {"tail of 1/8": 1 / 8, "tail of 1/4": 1 / 4}
KINDS = (PLANNED, *TAILS, WHOLE)


@dataclass(frozen=True)
class Tailed(Schedule):
    """A constant rate that ends along a cosine.

    Attributes
    ----------
    share : float
        Of the steps of the rung.
    """

    share: float = 0.0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        total = self.checkpoints * self.steps
        begin = int(total * (1 - self.share))
        along = max(step - begin, 0) / max(total - begin, 1)
        constant = replace(self, kind="constant")
        return Schedule.rate(constant, step) * 0.5 * (1 + cos(pi * along))


def tailed(plan: Callable[..., Schedule], share: float) -> Callable[..., Schedule]:
    """Return the planning of schedules, of which the constant ones end so."""

    def planned(*sizes: Any, **named: Any) -> Schedule:
        own = plan(*sizes, **named)
        if own.kind != "constant":
            return own
        values = {one.name: getattr(own, one.name) for one in fields(own)}
        return Tailed(**values | {"kind": "cosine"}, share=share)  # which takes no mean

    return planned


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.set_defaults(only=",".join(TABLES))
    parser.add_argument("--seed", type=int, default=cases.SEED)


def run(options: Namespace) -> None:
    """Train what is missing."""
    known = ROWS.known(again=options.again)
    for path in sorted(cases.paths(options)):
        train, test = cases.split(path, options.seed)
        table = train.drop(columns="target"), train["target"]
        planned = project.Planned.of(table, budget=cases.MINUTE, seed=options.seed)
        for number in NETWORKS:
            for rung in RUNGS:
                row: Row = {"data": path.stem, "network": number, "rung": rung}
                row["seed"] = options.seed
                if ROWS.key(row) in known:
                    continue
                one = project.first_networks()[number]
                row |= {kind: scored(planned, one, rung, kind, test) for kind in KINDS}
                ROWS.append([row])
                print(*row.values(), file=sys.stderr, flush=True)


def scored(
    planned: project.Planned, one: project.Strategy, rung: float, kind: str, test: pd.DataFrame
) -> float | None:
    """Train from the beginning; score test rows: macro average precision, of the rarer of two."""
    how = "cosine" if kind == WHOLE else "constant"
    params = ((name, how if name == "schedule" else own) for name, own in one.network.params)
    strategy = replace(one, network=Choice(one.network.name, tuple(params)))
    fresh = replace(planned)
    plan = tailed(fit.plan_schedule, TAILS[kind]) if kind in TAILS else fit.plan_schedule
    with patch.object(fit, "plan_schedule", plan):
        outcome = fresh.trial(strategy, rung=rung)
    if not isinstance(outcome, project.Scored):
        return None
    proba = fresh.predict([outcome], test.drop(columns="target"))[0]
    return cases.average_precision(test["target"].to_numpy(), proba, fresh.classes)


def render(rows: list[Row]) -> str:
    """Write each table's mean over the networks, and the paired differences."""
    lines = ["# A tail, or the mean of weights", ""]
    for rung, own in pd.DataFrame(rows).dropna().groupby("rung"):
        scores = own.groupby("data")[list(KINDS)].mean()
        cells = [[name, *(f"{value:.4f}" for value in row)] for name, row in scores.iterrows()]
        lines += [
            f"Test average precision with {rung:g} of the work that a search of "
            f"{cases.MINUTE:g} s plans, mean of {own['network'].nunique()} networks:",
            "",
            *written.table(["table", *KINDS], cells),
            "",
            "Differences over tables, with 95 % intervals:",
            "",
        ]
        for kind in (*TAILS, WHOLE):
            gap = scores[kind] - scores[PLANNED]
            low, high = written.interval(gap)
            lines.append(f"- {kind} − {PLANNED}: {gap.mean():+.4f} ({low:+.4f} to {high:+.4f})")
        lines.append("")
    return "\n".join([*lines[:-1], *foot("tails", rows)])
