"""Whether the score that a search reports is what its result gives on new rows.

``run`` searches simulated tables, each with twelve strategies and a tenth of a minute's work, and
scores the results on 100,000 further rows of the same kind. A table is searched by one metric, and
concluded by others too from the same trials (``searched.py``). Beside what is reported stands the
score of the rows that chose, which was reported before. Searches whose predictions are drawn
(``drawn.py``) are many more.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.reported import drawn
from reports.benchmarks.reported.searched import concluded
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("kind", "data", "metric", "by"))
TABLES, DRAWN = 40, 300
STRATEGIES = 12  # of a search
TEST_ROWS, MOST_ROWS, WIDTH = 100_000, 20_000, 8
BANDS = ((20, 70), (70, 250), (250, 900))  # rare rows, of the tables before the first of MANY
MANY, MANY_FROM = (900, 2_001), 200
RATES = (0.01, 0.1)
SIGNALS = (0.0, 0.6, 1.0, 1.6)
METRICS = ("average_precision", "balanced_accuracy", "average_precision", "balanced_accuracy", "f1")
F1_FROM = 3  # of five: tables that F1 is measured on too, 69 of 200
ERRORS = 1.96
KINDS = {
    "drawn": f"searches whose predictions are drawn, {drawn.STRATEGIES} strategies each",
    "searched": f"tables searched by {{by}}: {STRATEGIES} strategies, a tenth of a minute's "
    f"work; the truth is of {TEST_ROWS:,} further rows",
    "concluded": "results that other metrics chose from the trials of searches by {by}",
}


class Case(NamedTuple):
    """A simulated table: its number, rare rows, their rate, the signal, classes and a metric."""

    number: int
    rare: int
    rate: float
    signal: float
    classes: int
    metric: str

    @classmethod
    def of(cls, number: int) -> Case:
        """Draw what a table is like; every eleventh has three classes."""
        random = np.random.default_rng([cases.SEED, number])
        low, high = BANDS[number % len(BANDS)] if number < MANY_FROM else MANY
        rare = int(np.exp(random.uniform(np.log(low), np.log(high))))
        rate = max(float(np.exp(random.uniform(*np.log(RATES)))), rare / MOST_ROWS)
        signal = SIGNALS[number // len(BANDS) % len(SIGNALS)]
        metric = METRICS[number // len(BANDS) % len(METRICS)]
        if metric == "f1":  # of no signal its best labels are all alike
            signal = signal or SIGNALS[1]
        return cls(number, rare, rate, signal, 3 if number % 11 == 10 else 2, metric)

    def searched(self, by: str) -> list[Case]:
        """Return the table with each metric that its search is concluded by, its own first."""
        metrics = [by, "average_precision", "balanced_accuracy"]
        if self.signal and self.number // len(BANDS) % len(METRICS) >= F1_FROM:
            metrics.append("f1")
        return [self._replace(metric=metric) for metric in dict.fromkeys(metrics)]


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--first", type=int, default=0, help="number of the first table")
    parser.add_argument("--tables", type=int, default=TABLES, help="how many are searched")
    parser.add_argument("--by", choices=sorted(set(METRICS)), default=METRICS[0], help="metric")
    parser.add_argument("--drawn", type=int, default=DRAWN, help="how many are drawn")


def run(options: Namespace) -> None:
    """Measure the tables that are missing, of either kind."""
    known = ROWS.known(again=options.again)
    for number in range(options.first, options.first + options.drawn):
        case = Case.of(number)
        if ("drawn", number, case.metric, None) not in known:
            _keep("drawn", case, _drawn(case))
    for number in range(options.first, options.first + options.tables):
        own, *others = Case.of(number).searched(options.by)
        kinds = ["searched", *["concluded"] * len(others)]
        named = [(kind, number, c.metric, own.metric) for kind, c in zip(kinds, [own, *others])]
        if not known.issuperset(named):
            for kind, case, row in zip(kinds, [own, *others], searched([own, *others])):
                _keep(kind, case, {"by": own.metric} | row)


def _keep(kind: str, case: Case, row: Row) -> None:
    ROWS.append([{"kind": kind, "data": case.number} | case._asdict() | row])
    print(kind, *case, file=sys.stderr, flush=True)


def _drawn(case: Case) -> Row:
    shared = {name: getattr(case, name) for name in ("rare", "rate", "signal", "metric")}
    return {"classes": 2} | drawn.measured(case.number, **shared)


def simulated(
    case: Case,
) -> tuple[tuple[pd.DataFrame, np.ndarray], tuple[pd.DataFrame, np.ndarray]]:
    """Draw training rows with just so many rare ones, and further rows of the same kind."""
    random = np.random.default_rng([cases.SEED, case.number, 1])
    n_rows = round(case.rare / case.rate)
    x = random.normal(size=(TEST_ROWS + 2 * n_rows + 8_000, WIDTH))
    logit = 1.2 * x[:, 0] + 0.8 * x[:, 1] * x[:, 2] - 0.8 * np.abs(x[:, 3]) + 0.5 * x[:, 4]
    noisy = case.signal * logit + random.logistic(size=len(x))
    y = (noisy > np.quantile(noisy, 1 - case.rate)).astype(np.int64)
    if case.classes > 2:
        other = case.signal * x[:, 5] + random.logistic(size=len(x))
        y[(y == 0) & (other > np.quantile(other, 0.8))] = 2
    pool = np.arange(TEST_ROWS, len(x))
    rare = random.permutation(pool[y[pool] == 1])[: case.rare]
    rest = random.permutation(pool[y[pool] != 1])[: n_rows - len(rare)]
    train = random.permutation(np.concatenate([rare, rest]))
    frame = pd.DataFrame(x, columns=[f"n{j}" for j in range(WIDTH)])
    test = np.arange(TEST_ROWS)
    return (frame.iloc[train], y[train]), (frame.iloc[test], y[test])


def searched(cases_of: Sequence[Case]) -> Iterator[Row]:
    """Search a table, and score on the further rows what each metric concludes."""
    train, (frame, y) = simulated(cases_of[0])
    results = concluded(
        train,
        [case.metric for case in cases_of],
        policy=project.SMALLER,
        seed=cases_of[0].number,
        n_trials=STRATEGIES,
    )
    for result in results:
        selection = result.selection
        before = result.preparation.task.judge.score(selection.proba, selection.labels)
        yield drawn.as_row(selection.reported, before) | {
            "true": project.value_on(result, frame, y),
            "blend": selection.is_blend,
        }


def render(rows: list[Row]) -> str:
    """Write the mean errors and the coverage, over all tables and by metric and rare rows."""
    found = pd.DataFrame(rows)
    lines = [
        "# What is reported, and what new rows give",
        "",
        "`before` is the score of the rows that chose, which was reported before, with ± 1.96 of "
        "its errors.",
    ]
    for kind, told in KINDS.items():
        for searched_by, own in found[found["kind"] == kind].groupby("by", dropna=False):
            title = told if pd.isna(searched_by) else told.format(by=searched_by)
            lines += ["", f"## {len(own)} {title}", "", *_table(own)]
    gain = (found["true"] - found["one"]).dropna()
    lines += [
        "",
        f"Where predictions are drawn, the mean of {drawn.FOLDS} networks gives {gain.mean():+.4f} "
        "more than one of them. It is not in what is reported there, as nothing was trained whose "
        "networks could differ: out of fold one predicts each row. In the searches the estimate of "
        "it is in.",
    ]
    return "\n".join([*lines, *foot("reported", rows)])


def _table(found: pd.DataFrame) -> list[str]:
    parts = {"all": found} | dict(list(found.groupby("metric")))
    for low, high in (*BANDS, MANY):
        own = found[found["rare"].between(low, high - 1)]
        parts[f"{low} to {high - 1} rare rows"] = own
        parts |= {f"{name}, {low} to {high - 1}": each for name, each in own.groupby("metric")}
    parts["no signal"] = found[found["signal"] == 0]
    parts["three classes"] = found[found["classes"] > 2]
    return written.table(
        ["tables", "", "reported − true", "before − true", "covered", "covered before"],
        [[name, *_cells(own)] for name, own in parts.items() if len(own)],
    )


def _cells(own: pd.DataFrame) -> list[str]:
    gaps = [own[name] - own["true"] for name in ("reported", "before")]
    inside = own["true"].between(own["reported_low"], own["reported_high"])
    before = gaps[1].abs() <= ERRORS * own["before_error"]
    shown = [f"{gap.mean():+.4f} ± {gap.sem():.4f}" for gap in gaps]
    return [str(len(own)), *shown, f"{inside.mean():.0%}", f"{before.mean():.0%}"]
