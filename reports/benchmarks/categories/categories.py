"""What statistics of levels are worth: the same networks on rows that are encoded in other ways.

``run`` trains four of the first networks on up to 10,000 of a table's training rows, in each way,
with the same folds, seed and operations and no clock, and scores the mean over the folds on the
test rows by average precision. Tables were named before anything was measured on them.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.project import ENCODINGS, Planned, Scored
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "seed", "encoding", "network"))
BEFORE = "embeddings"  # the encoding that others are held against
NETWORKS = (0, 1, 3, 11)  # of the first ones: a perceptron, TabM, RealMLP, a perceptron with bins
SEEDS = (0, 1)
BUDGET, FOLDS, MOST_ROWS = 40.0, 3, 10_000

NAMED = [
    *("diabetes130", "hr_job_change", "travel_insurance", "churn_mlc", "adult", "lending_club"),
    *("covid_testing", "car_eval_4", "soybean", "ibm_attrition", "thyroid_sick"),
    *("solar_flare_m0", "hmeq"),
]
REPEATED = ["covid_testing", "mammography", "wine_quality", "solar_flare_m0", "travel_insurance"]
TOLD = {
    "statistics": "columns of many levels by statistics and no vectors, and integers as well",
    "beside": "the same beside a learned vector for each level of these columns",
    "categories": "columns of many levels by statistics and no vectors, integers not",
    "rows": "vectors, and statistics of repeated rows, however few there are",
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="of the split: 0,1")
    parser.add_argument("--encodings", default=",".join(ENCODINGS), help="of them: a,b")


def run(options: Namespace) -> None:
    """Train on every table in every way that is missing."""
    known = ROWS.known(again=options.again)
    for seed in map(int, options.seeds.split(",")):
        for path in reversed(cases.paths(options)):
            left = [
                name
                for name in options.encodings.split(",")
                if (path.stem, seed, name, NETWORKS[0]) not in known
            ]
            if left:
                ROWS.append(scored(path, left, seed))
                print(path.stem, seed, *left, file=sys.stderr, flush=True)


def scored(path: Path, encodings: Sequence[str], seed: int) -> list[Row]:
    """Score the networks on the test rows of a table, with its rows encoded in these ways."""
    train, test = cases.split(path, seed)
    train = cases.sample(train, MOST_ROWS, seed)
    table = train.drop(columns="target"), train["target"]
    planned = Planned.of(table, budget=BUDGET, seed=seed, cv=FOLDS)
    measured: dict[str, dict[int, float]] = {}  # by layout: of two that are equal one is trained
    rows: list[Row] = []
    for name in encodings:
        own = planned.encoded(name)
        layout = str(own.dataset.layout)
        if layout not in measured:
            measured[layout] = networks_scored(own, test)
        rows += [
            {"data": path.stem, "seed": seed, "encoding": name, "network": number, "score": value}
            for number, value in measured[layout].items()
        ]
    return rows


def networks_scored(planned: Planned, test: pd.DataFrame) -> dict[int, float]:
    """Train the networks, and score each on test rows."""
    networks = project.first_networks()
    outcomes = {number: planned.trial(networks[number]) for number in NETWORKS}
    complete = {n: one for n, one in outcomes.items() if isinstance(one, Scored)}
    predicted = planned.predict(list(complete.values()), test.drop(columns="target"))
    y = test["target"].to_numpy()
    return {
        n: cases.average_precision(y, proba, planned.classes)
        for n, proba in zip(complete, predicted)
    }


def against(scores: pd.DataFrame, tables: Sequence[str], names: Sequence[str]) -> list[str]:
    """Write each encoding's gain over learned vectors, by table."""
    own = scores[scores.index.get_level_values("data").isin(tables)]
    names = [name for name in names if own[name].notna().any()]
    gaps = own[names].sub(own[BEFORE], axis=0)
    means = gaps.groupby("data").mean()
    errors = gaps.groupby("data").sem()

    def cells() -> Iterator[list[str]]:
        for table in means.index:
            shown = (
                "" if np.isnan(mean) else f"{mean:+.4f} ± {error:.4f}"
                for mean, error in zip(means.loc[table], errors.loc[table])
            )
            yield [table, f"{own[BEFORE].loc[table].mean():.4f}", *shown]
        yield ["all", "", *(written.paired(means[name].dropna()) for name in names)]
        up = (means[name].dropna() for name in names)
        yield ["up on", "", *(f"{(one > 0).sum()} of {len(one)}" for one in up)]

    return written.table(["table", BEFORE, *names], cells())


def render(rows: list[Row]) -> str:
    """Write the gains on the tables that were named, on repeated rows, and on all others."""
    frame = pd.DataFrame(rows)
    index = ["data", "seed", "network"]
    scores = frame.pivot_table(index=index, columns="encoding", values="score")
    others = sorted(set(frame["data"]) - set(NAMED))
    lines = [
        "# Statistics of levels",
        "",
        f"Average precision on test rows of networks {', '.join(map(str, NETWORKS))} of the first "
        f"ones, each trained on up to {MOST_ROWS:,} rows with the same folds, seed and operations; "
        "difference from learned vectors for each level of a column of more than 24 levels, and "
        "its error over networks and splits. In the last lines: mean over tables and its error.",
        "",
        *(f"- {name}: {sentence}" for name, sentence in TOLD.items() if name in scores),
    ]
    of_levels = [name for name in TOLD if name in scores and name != "rows"]
    for title, tables, names in (
        ("Tables that were named", NAMED, of_levels),
        ("Other tables", others, of_levels),
        ("Tables of repeated rows that were named", REPEATED, ["rows"]),
    ):
        lines += ["", f"## {title}", "", *against(scores, tables, names)]
    return "\n".join([*lines, *foot("categories", rows)])
