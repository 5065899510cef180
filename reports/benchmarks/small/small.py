"""Small tables: searches of two checkouts, and five perceptrons of scikit-learn.

``run`` trains both checkouts at the same time (``side_by_side.py``) on parts of the larger public
tables, whose other rows are the test, and on generated tables of whole numbers (``laws.py``). On
the same rows are trained five ``MLPClassifier`` with different seeds, whose probabilities are
averaged. All are scored by average precision.
"""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot
from reports.benchmarks.side_by_side import add_before, checkouts, commits, search_both
from reports.benchmarks.small import laws

ROWS = Rows(
    Path(__file__).with_suffix(".jsonl"), by("before", "after", "data", "size", "draw", "time")
)
TIME, SIZES, DRAWS = 15.0, (400, 1_000), 5
MIN_TABLE, MIN_RARE = 5_000, 200  # rows of a public table, and of its rarest class
MIN_CLASS = 12  # rows of each class in a part
TEST_ROWS = 20_000  # at most, of a part
NUMBERS = 20  # generated tables of a kind
PERCEPTRONS = 5
REQUIRED_SHARE = 0.7  # of the tables, on which the search should be ahead of the perceptrons
COUNTED = ("public", "smooth")  # kinds that the conditions are about

_large = (cases.TABLES["rows"] >= MIN_TABLE) & (cases.TABLES["minority_count"] >= MIN_RARE)
TABLES = {"public": list(cases.TABLES.index[_large])} | {
    kind: [f"{kind}_{number}" for number in range(NUMBERS)] for kind in laws.LAWS
}


class Case(NamedTuple):
    """A part of a public table, or a generated table: its training rows and the draw's seed."""

    kind: str
    data: str
    size: int
    draw: int


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    add_before(parser)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of a part")
    parser.add_argument("--draws", type=int, default=DRAWS, help="parts of a table and size")
    parser.add_argument("--kinds", nargs="+", choices=TABLES, default=COUNTED)
    parser.add_argument("--time", type=float, default=TIME, help="seconds of each search")


def run(options: Namespace) -> None:
    """Search with both checkouts, and train the perceptrons, on every part that is missing."""
    roots = checkouts(options)
    described = commits(roots)
    known = ROWS.known(again=options.again)
    # The perceptrons are equal for all checkouts and times: a part's score is measured once.
    scores = {} if options.again else {_case_of(row): row["mlp_score"] for row in ROWS.read()}
    for case in _cases(options):
        row: Row = {**described, **case._asdict(), "time": options.time}
        if ROWS.key(row) in known:
            continue
        train, test = _parts(case, options)
        row["rare"] = int(train["target"].value_counts().min())
        row |= search_both(
            roots, train, test, seconds=options.time, seed=case.draw, metric="average_precision"
        )
        row["mlp_score"] = scores[case] if case in scores else perceptron_score(train, test)
        ROWS.append([row])
        print(row, file=sys.stderr, flush=True)


def _case_of(row: Row) -> Case:
    return Case(*(row[field] for field in Case._fields))


def _cases(options: Namespace) -> Iterator[Case]:
    """List what the options name, first all tables of a kind, size and draw."""
    names = {kind: TABLES[kind] for kind in options.kinds}
    if options.only:
        unknown = set(options.only.split(",")).difference(*names.values())
        if unknown:
            choices = ", ".join(name for listed in names.values() for name in listed)
            raise SystemExit(
                f"--only={options.only}: no tables {', '.join(sorted(unknown))} of these kinds; "
                f"choose from {choices}."
            )
        chosen = options.only.split(",")
        names = {
            kind: [name for name in listed if name in chosen] for kind, listed in names.items()
        }
    for kind, listed in names.items():
        sizes = options.sizes if kind == "public" else [laws.TRAIN_ROWS]
        for size in sizes:
            for draw in range(options.draws if kind == "public" else 1):
                yield from (Case(kind, name, size, draw) for name in listed)


def _parts(case: Case, options: Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    if case.kind != "public":
        return laws.generate(case.kind, int(case.data.rpartition("_")[2]))
    (path,) = cases.paths(Namespace(data=options.data, only=case.data))
    return part_of(pd.read_parquet(path), case.size, case.draw)


def part_of(table: pd.DataFrame, size: int, draw: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw training rows by class, and test rows from the others.

    A class has its share of the training rows, but at least ``MIN_CLASS`` of them; the most
    frequent class fills up the part.
    """
    counts = table["target"].value_counts()  # the most frequent class first
    sizes = (size * counts / len(table)).round().astype(int).clip(lower=MIN_CLASS)
    sizes.iloc[0] = size - sizes.iloc[1:].sum()
    drawn = [
        rows.sample(sizes[label], random_state=draw) for label, rows in table.groupby("target")
    ]
    train = pd.concat(drawn).sample(frac=1.0, random_state=draw)
    return train, cases.sample(table.drop(index=train.index), TEST_ROWS, draw)


def perceptron_score(train: pd.DataFrame, test: pd.DataFrame) -> float:
    """Score the mean probability of perceptrons with different seeds on test rows.

    Their inputs are standardized numbers and one-hot categories, with medians in the place of
    missing numbers and a level for missing categories.
    """
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    numbers.set_params(simpleimputer__strategy="median")
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    labels = train["target"].astype(str)
    x = columns.fit_transform(train.drop(columns="target"))
    x_test = columns.transform(test.drop(columns="target"))
    networks = [MLPClassifier(max_iter=500, random_state=seed) for seed in range(PERCEPTRONS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some have not converged after 500 epochs
        probabilities = [network.fit(x, labels).predict_proba(x_test) for network in networks]
    y = test["target"].astype(str).to_numpy()
    return cases.average_precision(y, np.mean(probabilities, axis=0), networks[0].classes_)


def render(rows: list[Row]) -> str:
    """Write the differences by kind and size and by table, and whether the conditions hold."""
    lines = [
        "# Small tables",
        "",
        f"Average precision on other rows. Public: parts of the {len(TABLES['public'])} public "
        f"tables with at least {MIN_TABLE:,} rows, {MIN_RARE} of them of the rarest class; a class "
        f"has at least {MIN_CLASS} rows in a part, and up to {TEST_ROWS:,} rows are the test. "
        "Smooth, piecewise and mixed: generated tables of 12 to 20 correlated whole-number "
        f"columns, {laws.TRAIN_ROWS} rows to train on and {laws.TEST_ROWS:,} to test, "
        "log-odds by a law of this kind. Searches of both checkouts run at the same time, on one "
        f"core each. MLPs: mean probability of {PERCEPTRONS} `MLPClassifier(max_iter=500)` on "
        "standardized numbers and one-hot categories. Errors are those of the mean over tables, "
        "of each the mean of its parts.",
        "",
    ]
    if not rows:
        return "\n".join([*lines, "Nothing has been measured yet.", ""])
    for (before, after, seconds), measured in pd.DataFrame(rows).groupby(
        ["before", "after", "time"], sort=False
    ):
        measured = measured.assign(
            gain=measured["after_score"] - measured["before_score"],
            lead=measured["after_score"] - measured["mlp_score"],
        )
        lines += [f"## {before} and {after}, {seconds:g} s", ""]
        lines += [*_by_kind(measured), "", *_conditions(measured), "", *_by_table(measured), ""]
    return "\n".join([*lines, *foot("small", rows)])


def _by_kind(measured: pd.DataFrame) -> list[str]:
    groups = {
        f"{kind}, {size:,} rows": group
        for (kind, size), group in measured.groupby(["kind", "size"], sort=False)
    }
    counted = measured[measured["kind"].isin(COUNTED)]
    groups |= {" and ".join(counted["kind"].unique()): counted} if len(counted) else {}
    head = ["", "tables", "parts", "before", "after", "MLPs", "after − before", "after is ahead on"]
    return written.table(
        [*head, "after − MLPs", "after is ahead on"],
        [[name, *_cells(group)] for name, group in groups.items()],
    )


def _cells(group: pd.DataFrame) -> list[str]:
    tables = group.groupby("data")[["before_score", "after_score", "mlp_score", "gain", "lead"]]
    means = tables.mean()
    cells = [str(len(means)), str(len(group))]
    cells += [f"{means[name].mean():.4f}" for name in ("before_score", "after_score", "mlp_score")]
    for name in ("gain", "lead"):
        shares = f"{written.beaten(means[name]):.0%} of tables"
        shares += f", {written.beaten(group[name]):.0%} of parts"
        cells += [written.paired(means[name]), shares]
    return cells


def _conditions(measured: pd.DataFrame) -> list[str]:
    """Write whether the search before is beaten, and the perceptrons."""
    means = measured.groupby(["kind", "data"])[["gain", "lead"]].mean()
    counted = means[means.index.get_level_values("kind").isin(COUNTED)]
    smooth = means[means.index.get_level_values("kind") == "smooth"]
    gain, lead, ahead = counted["gain"], smooth["lead"], written.beaten(counted["lead"])
    conditions = []
    if len(gain) > 1:
        title = "more than two errors above before"
        conditions.append((title, gain.mean() > 2 * gain.sem(), written.paired(gain)))
    if len(lead) > 1:
        title = "not more than one error below the MLPs on smooth tables"
        conditions.append((title, lead.mean() >= -lead.sem(), written.paired(lead)))
    if len(counted):
        title = f"ahead of the MLPs on {REQUIRED_SHARE:.0%} of the tables"
        conditions.append((title, ahead >= REQUIRED_SHARE, f"{ahead:.0%}"))
    return [
        f"- {title}: **{'yes' if holds else 'no'}** ({measure})"
        for title, holds, measure in conditions
    ]


def _by_table(measured: pd.DataFrame) -> list[str]:
    def cells() -> Iterator[list[str]]:
        for (data, size), group in measured.groupby(["data", "size"], sort=False):
            scores = [f"{group[f'{name}_score'].mean():.4f}" for name in ("before", "after", "mlp")]
            gaps = [written.paired(group[name]) for name in ("gain", "lead")]
            rare = f"{group['rare'].mean():.0f}"
            yield [data, f"{size:,}", rare, str(len(group)), *scores, *gaps]

    head = ["table", "rows", "rare rows", "parts", "before", "after", "MLPs"]
    return written.table([*head, "after − before", "after − MLPs"], cells())
