"""Whether the probabilities of what is deployed can be taken at their word.

``run`` searches simulated tables, in two ways: a number of strategies, and some seconds, of which
the last half confirms; and public ones in the first. Each pipeline predicts the test rows
twice: as it is, and without its calibrator, as pipelines were before they had one. The slope and
the intercept are those of a logistic regression of the labels on the logit (Cox, 1958): 1 and 0
where probabilities are right; the intercept is fitted at slope 1.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import root
from scipy.special import expit, logit
from sklearn.metrics import log_loss

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(
    Path(__file__).with_suffix(".jsonl"), by("data", "kind", "rows", "rate", "signal", "seed")
)
TABLES = (  # rows, share of the positive class, signal
    (2_000, 0.01, 1.0),
    (2_000, 0.05, 1.0),
    (4_000, 0.05, 1.0),
    (10_000, 0.03, 1.0),
    (20_000, 0.02, 1.0),
    (20_000, 0.1, 1.0),
    (2_000, 0.05, 0.0),
    (4_000, 0.03, 0.0),
)
PUBLIC = (
    "car_eval_4",
    "churn_mlc",
    "covid_testing",
    "hmeq",
    "mammography",
    "thyroid_sick",
    "us_crime",
    "wine_quality",
)
KINDS: dict[str, dict[str, Any]] = {
    "strategies": {"n_trials": 12},
    "seconds": {"time_budget": 60.0, "partners": project.SMALL.suggestions.partners},
}
TEST_ROWS = 50_000
LEAST_RARE = 100  # rows of the positive class, from which on the slope is asked for
ERRORS = ("slope", "intercept", "log_loss", "expected_error")
BINS = 20


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.set_defaults(only=",".join(PUBLIC))
    parser.add_argument("--seeds", default="0,1,2", help="of tables and searches: a,b")
    kinds = ",".join([*KINDS, "public"])
    parser.add_argument("--kinds", default=kinds, help="of searches: a,b")


def run(options: Namespace) -> None:
    """Search what is missing."""
    known = ROWS.known(again=options.again)
    kinds = options.kinds.split(",")
    public = cases.paths(options) if "public" in kinds else []
    for seed in map(int, options.seeds.split(",")):
        for kind in sorted(KINDS.keys() & set(kinds)):
            for rows, rate, signal in TABLES:
                asked = {"kind": kind, "rows": rows, "rate": rate, "signal": signal, "seed": seed}
                if ROWS.key(asked) not in known:
                    row = asked | searched(asked)
                    ROWS.append([row])
                    print(*row.values(), file=sys.stderr, flush=True)
        for path in public:
            named: Row = {"data": path.stem, "kind": "public", "seed": seed}
            if ROWS.key(named) not in known:
                row = named | searched_public(path, seed)
                ROWS.append([row])
                print(*row.values(), file=sys.stderr, flush=True)


def searched(asked: Row) -> Row:
    """Search a table, and measure its pipeline on test rows with and without the calibrator."""
    rows, seed = asked["rows"], asked["seed"]
    with tempfile.TemporaryDirectory() as folder:
        path = cases.simulated(
            rows + TEST_ROWS,
            Path(folder),
            rate=asked["rate"],
            signal=asked["signal"],
            seed=seed,
        )
        frame, labels = cases.with_target(path)
    y = (labels == "yes").to_numpy()
    pipeline = project.small_search(
        (frame[:rows], labels[:rows]), policy=project.SMALL, seed=seed, **KINDS[asked["kind"]]
    ).pipeline
    packs = [pack for one in pipeline.strategies for pack in one.packs]
    found: Row = {
        "rare": int(y[:rows].sum()),
        "strategies": len(pipeline.strategies),
        "networks": sum(len(np.unique(pack.fold)) for pack in packs),
        "prior": float(log_loss(y[rows:], np.full(TEST_ROWS, y[:rows].mean()))),
    }
    for name, proba in both_ways(pipeline, frame[rows:]).items():
        measured = scored(y[rows:], proba[:, pipeline.positive])
        found |= {f"{name}_{error}": value for error, value in measured.items()}
    return found


def searched_public(path: Path, seed: int) -> Row:
    """Search a public table, and measure the log-loss of its test rows in both ways."""
    train, test = cases.split(path, seed)
    table = train.drop(columns="target"), train["target"]
    found = project.small_search(table, policy=project.SMALL, seed=seed, **KINDS["strategies"])
    pipeline = found.pipeline
    labels = list(pipeline.classes)
    return {
        f"{name}_log_loss": float(log_loss(test["target"], proba, labels=labels))
        for name, proba in both_ways(pipeline, test.drop(columns="target")).items()
    }


def both_ways(pipeline: project.FittedPipeline, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Predict rows without the pipeline's calibrator, and with it."""
    identity = pipeline.calibrator.identity(len(pipeline.classes))
    plain = replace(pipeline, calibrator=identity)
    return {"before": plain.predict_proba(frame), "now": pipeline.predict_proba(frame)}


def scored(y: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Measure probabilities (n,) of labels (n,): see `ERRORS`."""
    own = logit(np.clip(proba, 1e-9, 1 - 1e-9))
    design = np.column_stack([own, np.ones(len(own))])
    slope = root(lambda line: design.T @ (expit(design @ line) - y) / len(y), [1.0, 0.0]).x[0]
    intercept = root(lambda b: np.mean(expit(own + b) - y), 0.0).x[0]
    bins = np.array_split(np.argsort(proba, kind="stable"), BINS)
    expected = sum(abs(proba[rows].sum() - y[rows].sum()) for rows in bins) / len(y)
    values = slope, intercept, log_loss(y, proba), expected
    return dict(zip(ERRORS, map(float, values)))


def render(rows: list[Row]) -> str:
    """Write medians by kind of search and table, and the paired differences in log-loss."""
    found = pd.DataFrame([row for row in rows if row["kind"] != "public"])
    public = pd.DataFrame([row for row in rows if row["kind"] == "public"])
    gap = 1e4 * (public["now_log_loss"] - public["before_log_loss"])
    found["group"] = np.where(
        found["signal"] == 0.0,
        "no signal",
        np.where(found["rare"] < LEAST_RARE, f"below {LEAST_RARE} rare rows", "the others"),
    )
    cells = []
    for (group, kind), own in found.groupby(["group", "kind"]):
        pairs = [
            f"{own[f'before_{error}'].median():.3f} → {own[f'now_{error}'].median():.3f}"
            for error in ERRORS[:2]
        ]
        gain = 1e4 * (own["now_log_loss"] - own["before_log_loss"])
        over = 1e4 * (own["now_log_loss"] - own["prior"])
        error = 1e3 * own[["before_expected_error", "now_expected_error"]].median()
        cells.append(
            [
                f"{group}, {kind}",
                len(own),
                *pairs,
                f"{error.iloc[0]:.2f} → {error.iloc[1]:.2f}",
                with_error(gain),
                with_error(over),
            ]
        )
    return "\n".join(
        [
            "# Probabilities of what is deployed",
            "",
            f"Whole searches of simulated tables, {TEST_ROWS:,} test rows each: medians without "
            "the calibrator of the pipeline → with it, and mean differences in log-loss with "
            "their errors over searches.",
            "",
            *written.table(
                [
                    "tables, search",
                    "searches",
                    "slope",
                    "intercept",
                    "expected error, thousandths",
                    "log-loss, with − without, 1e-4",
                    "log-loss − the prior's, 1e-4",
                ],
                cells,
            ),
            "",
            f"Public tables, {len(public)} searches of {KINDS['strategies']['n_trials']} "
            f"strategies: log-loss of the test rows, with − without, {with_error(gap)} "
            f"(1e-4), lower in {(gap < 0).sum()}.",
            *foot("calibration", rows),
        ]
    )


def with_error(values: pd.Series) -> str:
    """Write a mean and its error over searches."""
    return f"{values.mean():+.1f} ± {values.sem():.1f}"
