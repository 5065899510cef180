"""Whether rows that belong together are detected, and independent rows are not.

``run`` compares random folds with folds of whole days and of whole values, as a search of a minute
does before its first trial, on simulated tables and on the public ones. Simulated rows are
independent, or share an effect of their customer or of their day.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("case", "data"))
FLIGHTS = cases.ROOT / "examples" / "data" / "flights" / "flights.csv.gz"
EFFECTS = {"independent": 0.0, "customers": 1.5, "days": 1.5}  # standard deviation, in log-odds
SMALLEST, LARGEST = 300, 20_000  # rows of a simulated table
RATES = (0.01, 0.20)  # of its positive rows


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    cases.add_data(parser)
    parser.add_argument("--independent", type=int, default=200, help="tables without structure")
    parser.add_argument("--tied", type=int, default=40, help="tables of customers, and of days")


def run(options: Namespace) -> None:
    """Compare the folds on what is missing."""
    known = ROWS.known(again=options.again)
    for case, data, frame, labels in _tables(options, known):
        row = {"case": case, "data": data, **project.structure_of(frame, labels, cases.MINUTE)}
        ROWS.append([row])
        print(case, data, row["undeclared"], file=sys.stderr, flush=True)


def _tables(
    options: Namespace, known: set[object]
) -> Iterator[tuple[str, str, pd.DataFrame, pd.Series]]:
    for case in EFFECTS:
        for seed in range(options.independent if case == "independent" else options.tied):
            if (case, str(seed)) not in known:
                yield case, str(seed), *simulated(case, seed)
    if ("public", "flights") not in known:
        flights = pd.read_csv(FLIGHTS)
        labels = flights.pop("cancelled")
        yield "public", "flights", flights, labels
    for path in cases.paths(options):
        if ("public", path.stem) not in known:
            yield "public", path.stem, *cases.with_target(path)


def simulated(case: str, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Draw a table with a date, a customer's number and a category of many levels.

    Of its numbers four are informative, among them whole numbers (an age and an amount). Rows,
    positive rate and levels are drawn as well.
    """
    random = np.random.default_rng([seed, list(EFFECTS).index(case)])
    rows = int(np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST))))
    rate = float(np.exp(random.uniform(*np.log(RATES))))
    day = random.integers(365, size=rows)
    customer = random.integers(max(rows // 5, 2), size=rows)
    level = random.integers(random.integers(50, 501), size=rows)
    age = np.clip(np.round(random.normal(45, 14, rows)), 18, 90)
    amount = np.round(np.exp(random.normal(4, 1, rows)))
    numbers = random.normal(size=(rows, 4))
    logits = numbers[:, 0] + 0.7 * numbers[:, 1] * (numbers[:, 2] > 0)
    logits += 0.03 * (age - 45) + 0.4 * (np.log1p(amount) - 4)
    tie = {"customers": customer, "days": day}.get(case, np.zeros(rows, dtype=np.int64))
    logits += EFFECTS[case] * random.normal(size=int(tie.max()) + 1)[tie]
    noisy = logits + random.logistic(size=rows)
    frame = pd.DataFrame(
        {
            "date": (np.datetime64("2023-01-01") + day).astype(str),
            "customer": 100_000 + random.permutation(int(customer.max()) + 1)[customer],
            "branch": [f"b{number:03d}" for number in level],
            "age": age.astype(np.int64),
            "amount": amount.astype(np.int64),
            **{f"n{number}": column for number, column in enumerate(numbers.T)},
        }
    )
    positive = noisy > np.quantile(noisy, 1 - max(rate, 5 / rows))
    return frame, pd.Series(np.where(positive, "yes", "no"))


def render(rows: list[Row]) -> str:
    """Write which tables were called structured, and with what scores."""
    lines = [
        "# Undeclared structure",
        "",
        "Random folds against folds of whole days or of whole values, by a quick model, as a "
        f"search of {cases.MINUTE:.0f} seconds does before its first trial (AIMB008). A simulated "
        f"table has {SMALLEST} to {LARGEST:,} rows, {RATES[0]:.0%} to {RATES[1]:.0%} of them "
        "positive, a date, a customer's number of about 5 rows, a category of 50 to 500 levels "
        "and six informative or meaningless numbers. Its rows are independent, or share an effect "
        f"of the customer or of the day (standard deviation {EFFECTS['days']} in log-odds).",
        "",
    ]
    head = ["tables", "number", "compared", "firing", "firing on", "seconds: median", "largest"]
    cells = []
    for case in (*EFFECTS, "public"):
        of_case = [row for row in rows if row["case"] == case]
        firing = [row for row in of_case if row["undeclared"]]
        first = pd.Series([row["undeclared"][0] for row in firing], dtype=object).value_counts()
        seconds = pd.Series([row["seconds"] for row in of_case], dtype=float)
        cells.append(
            [
                case,
                len(of_case),
                sum(bool(row["compared"]) for row in of_case),
                f"{len(firing)} ({len(firing) / max(len(of_case), 1):.1%})",
                ", ".join(f"{name} ({count})" for name, count in first.items()) or "–",
                f"{seconds.median():.1f}",
                f"{seconds.max():.1f}",
            ]
        )
    lines += [*written.table(head, cells), ""]
    null = np.array(
        [
            (each["random"] - each["whole"]) / each["error"]
            for row in rows
            if row["case"] == "independent"
            for each in row["compared"]
            if each["error"] > 0
        ]
    )
    if len(null):
        lines += [
            f"The {len(null):,} differences of the independent tables, in their errors: mean "
            f"{null.mean():+.2f}, standard deviation {null.std():.2f}, above 2 "
            f"{(null > 2).mean():.1%}, above 3 {(null > 3).mean():.2%}.",
            "",
        ]
    lines += ["## Public tables", ""]
    head = ["table", "column", "random folds", "whole days or values", "error", "fires"]
    cells = [
        [
            row["data"],
            each["column"],
            f"{each['random']:.3f}",
            f"{each['whole']:.3f}",
            f"{each['error']:.3f}",
            "yes" if each["column"] in row["undeclared"] else "",
        ]
        for row in rows
        if row["case"] == "public"
        for each in row["compared"]
    ]
    lines += written.table(head, cells)
    ordered = [row["data"] for row in rows if row["case"] == "public" and row["order"]]
    lines += ["", f"Ordered files (AIMB009 where AIMB008 does not fire): {', '.join(ordered)}."]
    return "\n".join([*lines, *foot("structure", rows)])
