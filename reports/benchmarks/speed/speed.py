"""Seconds for a complete trial, against one written by hand and against another checkout.

``run`` (``pip install skorch``) evaluates ten strategies on five folds of simulated tables, one
thread, in one process: through autoimb as a search of a minute on two workers plans them, and as a
practitioner writes it. Architecture, resampling, weights, rows and folds are the same; each ends by
its own stopping rule. ``run --against PATH`` evaluates them in this checkout and in another one
instead, in turn, and reports the ratios of that run (``against.jsonl``); with ``--steps`` it does
so for the training steps of twelve frozen networks (``steps.jsonl``). ``run --two`` asks how much
two of them slow each other (``two.jsonl``), beside nothing else.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot
from reports.benchmarks.speed import against, steps, two
from reports.benchmarks.speed.strategies import RATE, STRATEGIES, Trials, name_of, simulated

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("rows", "strategy"))
SIZES = (1_000, 10_000, 50_000)
SHOWN = ("seconds", "by_hand", "score", "by_hand_score")


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES, help="of the tables")
    parser.add_argument("--against", type=Path, help="another checkout, instead of by hand")
    parser.add_argument("--steps", action="store_true", help="with --against: training steps")
    parser.add_argument("--two", action="store_true", help="training steps side by side")
    parser.add_argument("--repeats", type=int, default=3, help="with --against and --two")


def run(options: Namespace) -> None:
    """Compare with another checkout, or with trials by hand on the sizes that are missing."""
    if options.steps and not options.against:
        raise SystemExit("--steps compares two checkouts: name the other one with --against")
    if options.two:
        two.run(options.rows, repeats=options.repeats)
        return
    if options.against:
        compared = steps.run if options.steps else against.run
        compared(options.rows, options.against, repeats=options.repeats)
        return
    known = ROWS.known(again=options.again)
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            if (rows, name_of(STRATEGIES[-1])) not in known:
                ROWS.append(both_ways(rows, Path(folder)))


def both_ways(rows: int, folder: Path) -> Iterator[Row]:
    """Run all strategies both ways on a table of so many rows."""
    from reports.benchmarks.speed.by_hand import by_hand

    path = simulated(rows, folder)
    frame, target = cases.with_target(path)
    y = (target == "yes").to_numpy().astype(np.int64)
    trials = Trials(path)
    for one in STRATEGIES:
        seconds, score = trials.evaluate(one)
        start = time.perf_counter()
        theirs = by_hand(one, frame, y, trials.table.folds)
        row = {"rows": rows, "strategy": name_of(one), "seconds": seconds}
        row |= {"by_hand": time.perf_counter() - start, "score": score, "by_hand_score": theirs}
        print(row, file=sys.stderr, flush=True)
        yield row


def cells(rows: list[Row]) -> Iterator[list[str]]:
    """Write each strategy, and the mean of the ten on each table."""
    for size in dict.fromkeys(row["rows"] for row in rows):
        own = [row for row in rows if row["rows"] == size]
        mean = {key: float(np.mean([row[key] for row in own])) for key in SHOWN}
        for row in [*own, {"strategy": "**mean of the ten**"} | mean]:
            ratio = f"{row['by_hand'] / row['seconds']:.1f}"
            ratio = ratio if row in own else f"**{ratio}**"
            begin = [f"{size:,}", row["strategy"], f"{row['seconds']:.2f}", f"{row['by_hand']:.2f}"]
            yield [*begin, ratio, f"{row['score']:.4f}", f"{row['by_hand_score']:.4f}"]


def render(rows: list[Row]) -> str:
    """Write the seconds and scores."""
    head = ["rows", "strategy", "autoimb s", "by hand s", "ratio", "AP autoimb", "AP by hand"]
    lines = [
        "# Seconds for a complete trial",
        "",
        f"Ten strategies on five folds of simulated tables, {RATE:.0%} positive; average precision "
        "over all held-out rows.",
        "",
        *written.table(head, cells(rows)),
        *foot("speed", rows)[:-1],
    ]
    return "\n".join([*lines, *against.render(), *steps.render(), *two.render(), ""])
