"""What gains where rows of the rarest class are fewer than a hundred.

``run`` evaluates seventeen strategies on splits of tables that were named before anything was
measured, as a search of a minute confirms them: ten networks, four imbalance methods on the best of
them, and the partners. From what they predict out of fold each way of `ways` chooses or mixes, and
is scored on the test rows. Beside it stand networks on the columns that each fold keeps.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.few_rare_rows import columns
from reports.benchmarks.few_rare_rows.evaluating import NAMED, THINNED, Evaluated, evaluated
from reports.benchmarks.few_rare_rows.ways import MOST, TODAY, merits, predicted, shrunk
from reports.benchmarks.project import row_log_loss
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "seed", "part"))
CACHE = Path(tempfile.gettempdir()) / "few_rare_rows"
SPLITS = (0, 1, 2)
RANKINGS = {"": False, " and log-loss": True}  # by what strategies are ranked


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.set_defaults(only=",".join(NAMED + THINNED))
    parser.add_argument("--seeds", default=",".join(map(str, SPLITS)), help="of the split: 0,1")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of predictions")


def run(options: Namespace) -> None:
    """Train on all columns and fewer what is missing; then compare the ways on all splits."""
    known, seeds = ROWS.known(again=options.again), list(map(int, options.seeds.split(",")))
    for seed in seeds:
        for name in (*columns.PUBLIC, *columns.GENERATED):
            row: Row = {"data": name, "seed": seed, "part": "columns"}
            if ROWS.key(row) not in known:
                train, test = columns.table(name, seed, options.data)
                ROWS.append([row | columns.screened(train, test, seed)])
                print(name, seed, "columns", file=sys.stderr, flush=True)
    splits = {}
    for seed in seeds:
        for path in sorted(cases.paths(options)):
            splits[path.stem, seed] = evaluated(path, seed, options.cache)
            print(path.stem, seed, "strategies", file=sys.stderr, flush=True)
    ROWS.append(_compared(splits))


def _compared(splits: dict[tuple[str, int], Evaluated]) -> Iterator[Row]:
    """Score each way on the test rows of each split."""
    measured = {
        (*at, words): merits(one, likelihood=likelihood)
        for at, one in splits.items()
        for words, likelihood in RANKINGS.items()
    }
    for (name, seed), one in splits.items():
        rankings, family = {}, cases.family_of(name)
        for words in RANKINGS:
            own = measured[name, seed, words]
            others = [m for (n, _, w), m in measured.items() if w == words and n not in family]
            rankings[f"CV{words}"] = own["merit"]
            rankings[f"empirical Bayes{words}"] = shrunk(own, others)
        mixtures = predicted(one, rankings)
        yield {
            "data": name,
            "seed": seed,
            "part": "ways",
            "score": {
                way: cases.average_precision(one.y, proba, np.arange(proba.shape[1]))
                for way, proba in mixtures.items()
            },
            "log_loss": {
                way: float(row_log_loss(one.y, proba).mean()) for way, proba in mixtures.items()
            },
        }


def render(rows: list[Row]) -> str:
    """Write the ways beside today's blend, then the columns."""
    lines = [
        "# Few rare rows",
        "",
        f"Seventeen strategies on {len(NAMED)} tables, and on samples of {len(THINNED)} more with "
        "60 rows of the rarest class, confirmed as in a search of a minute. What is mixed in each "
        "way on test rows, less what today's blend gives: average precision (more is better) and "
        "log-loss (less is), the mean over tables and its error. *k by* is the mean of the best k "
        "networks, with or without an imbalance method; *trees* is the share of the mean of the "
        f"three partners; *uniform* is the share of the mean of the best {MOST} of all.",
        "",
        *_against_blend(rows),
        "",
        "## Columns",
        "",
        f"Average precision on test rows of networks {', '.join(map(str, columns.NETWORKS))} of "
        "the first ones (their mean score, and the score of their mean) where each fold keeps all "
        "columns, or so many numbers and one-hot columns. In the last line: difference from all "
        "columns, mean over tables and its error.",
        "",
        *_by_columns(rows),
    ]
    return "\n".join([*lines, *foot("few_rare_rows", rows)])


def _means(rows: Sequence[Row], part: str, value: str) -> pd.DataFrame:
    """Return each table's mean over its splits, a column for each way."""
    own = [{"data": row["data"]} | row[value] for row in rows if row["part"] == part]
    return pd.DataFrame(own).groupby("data").mean()


def _against_blend(rows: Sequence[Row]) -> list[str]:
    scores, losses = (_means(rows, "ways", value) for value in ("score", "log_loss"))
    gains, more = (means.sub(means[TODAY], axis=0) for means in (scores, losses))
    named, samples = (gains[gains.index.isin(group)] for group in (NAMED, THINNED))
    head = ["way", "all tables", "up on", "named", "samples", "log-loss"]
    cells = (
        [
            way,
            written.paired(gains[way]),
            f"{(gains[way] > 0).sum()} of {len(gains)}",
            written.paired(named[way]),
            written.paired(samples[way]),
            written.paired(more[way]),
        ]
        for way in gains.columns
        if way != TODAY
    )
    return written.table(head, cells)


def _by_columns(rows: Sequence[Row]) -> list[str]:
    told = {"score": "mean score", "mixed": "mean"}
    means = {value: _means(rows, "columns", value) for value in told}
    cells = [
        [name, *(f"{score:.4f}" for value in told for score in means[value].loc[name])]
        for name in means["score"].index
    ]
    gained = [
        "" if kept == columns.ALL else written.paired(own[kept] - own[columns.ALL])
        for own in means.values()
        for kept in own
    ]
    head = ["table", *(f"{kept}: {name}" for name in told.values() for kept in columns.KEPT)]
    return written.table(head, [*cells, ["gain", *gained]])
