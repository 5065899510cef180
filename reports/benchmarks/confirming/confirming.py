"""What a strategy gains by longer training, and by training on fresh folds that are more.

``run`` trains some of the first networks on 70 % of a table, as a search of a minute plans it, in
three ways: with the planned work, with up to four times that work on the same folds, and with the
planned work on the folds that confirm; and scores the other 30 % by average precision.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "network", "seed"))
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
NETWORKS = (1, 4, 5)  # of the list that a search starts with: a TabM and two RealMLPs
LONGER = 4.0
KINDS: dict[str, dict[str, Any]] = {
    "planned": {},
    "longer": {"rung": LONGER},
    "fresh": {"confirm": True},
}


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
        planned = None
        for number in NETWORKS:
            row: Row = {"data": path.stem, "network": number, "seed": options.seed}
            if ROWS.key(row) in known:
                continue
            table = train.drop(columns="target"), train["target"]
            planned = planned or project.Planned.of(table, budget=cases.MINUTE, seed=options.seed)
            one = project.first_networks()[number]
            for kind, how in KINDS.items():
                pipeline = planned.pipeline(one, **how)
                row[kind] = None if pipeline is None else scored(pipeline, test)
            ROWS.append([row])
            print(*row.values(), file=sys.stderr, flush=True)


def scored(pipeline: project.FittedPipeline, test: pd.DataFrame) -> float:
    """Score test rows: macro average precision, of the rarer class of two."""
    proba = pipeline.predict_proba(test.drop(columns="target"))
    return cases.average_precision(test["target"].to_numpy(), proba, pipeline.classes)


def render(rows: list[Row]) -> str:
    """Write each table's mean over the networks, and the paired differences."""
    scores = pd.DataFrame(rows).dropna().groupby("data")[list(KINDS)].mean()
    cells = [[name, *(f"{value:.4f}" for value in own)] for name, own in scores.iterrows()]
    lines = [
        "# Longer, or on fresh folds",
        "",
        f"Test average precision, mean of {len(NETWORKS)} networks, as a search of "
        f"{cases.MINUTE:g} s plans their work.",
        "",
        *written.table(["table", *KINDS], cells),
        "",
        "Differences over tables, with 95 % intervals:",
        "",
    ]
    for mine, theirs in (("longer", "planned"), ("fresh", "planned"), ("fresh", "longer")):
        gap = scores[mine] - scores[theirs]
        low, high = written.interval(gap)
        lines.append(f"- {mine} − {theirs}: {gap.mean():+.4f} ({low:+.4f} to {high:+.4f})")
    return "\n".join([*lines, *foot("confirming", rows)])
