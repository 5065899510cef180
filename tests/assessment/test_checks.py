"""Each check sees what was planted, and nothing on a clean table, with two classes and with three.

The last tests are of whole searches: what was seen stands in the estimator, the report, the JSON
and on the command line.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier
from autoimb.assessment.checks import (
    CHANGED_LABELS,
    CHECKS,
    REFERENCE_ERRORS,
    SEVERITIES,
    Finding,
    run_checks,
)
from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.evidence import Repeats, ResultEvidence, TableEvidence, label_changes
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.structure import Structure
from autoimb.assessment.uncertainty import Reported
from autoimb.budget import Deadline
from autoimb.cli import main
from autoimb.data.folds import FoldPlan, plan_folds
from tests.support.tables import ONE_TRIAL, calibrated_rows, dataset_of

SHARES = {2: (0.85, 0.15), 3: (0.6, 0.25, 0.15)}
N_ROWS = 1000

classes = pytest.mark.parametrize("n_classes", [2, 3])


def clean(n_classes: int, n_rows: int = N_ROWS) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of which none is there twice, and columns that say something each."""
    random = np.random.default_rng(0)
    y = np.searchsorted(np.cumsum(SHARES[n_classes]), random.random(n_rows)).astype(np.int64)
    frame = pd.DataFrame(
        {
            "a": y + random.normal(size=n_rows),
            "b": np.where(random.random(n_rows) < 0.2, np.nan, random.normal(size=n_rows)),
            "c": random.choice(["x", "y", "z"], n_rows),
        }
    )
    return frame, y


def seen(
    frame: pd.DataFrame,
    y: np.ndarray,
    *,
    metric: str = "average_precision",
    folds: FoldPlan | None = None,
) -> dict[str, Finding]:
    """What the checks see before a search, by code."""
    dataset = dataset_of(frame, y)
    n_classes = dataset.n_classes
    evidence = TableEvidence(
        dataset,
        folds or plan_folds(y, random_state=0),
        metric=get_metric(metric, n_classes=n_classes, positive=dataset.positive),
        names=tuple("abc"[:n_classes]),
        structure=Structure(),
    )
    return {finding.code: finding for finding in run_checks(evidence)}


# --- the table ------------------------------------------------------------------------------------


def test_codes_are_sorted_and_given_once() -> None:
    codes = [check.code for check in CHECKS]
    assert codes == sorted(set(codes))
    assert all(check.title and check.advice for check in CHECKS)
    assert {check.severity for check in CHECKS} <= set(SEVERITIES)


def test_a_finding_survives_json_and_knows_how_grave_it_is() -> None:
    finding = Finding("AIMB001", "warning", "Title.", "Seen.", "Do.")
    assert Finding(**json.loads(json.dumps(finding.to_json()))) == finding
    assert [finding.is_at_least(severity) for severity in SEVERITIES] == [True, True, False]
    assert str(finding) == "warning AIMB001: Seen. Do."


# --- before the search ----------------------------------------------------------------------------


@classes
def test_a_clean_table_is_seen_as_one(n_classes: int) -> None:
    assert seen(*clean(n_classes)) == {}


def test_the_words_of_too_few_rare_rows() -> None:
    """The error of a share is 1 / (2 √n); of a mean over two classes 1 / 4 √(1/n + 1/m)."""
    frame, y = clean(2)
    rows = np.concatenate([np.flatnonzero(y == 0)[:400], np.flatnonzero(y == 1)[:25]])
    few, labels = frame.iloc[rows].reset_index(drop=True), y[rows]
    assert seen(few, labels)["AIMB001"].evidence == (
        "average precision rests on 25 scored rows of class b: such a share has a standard error "
        "of up to 0.100; 100 rows of class b bring that to 0.05."
    )
    assert seen(few, labels, metric="balanced_accuracy")["AIMB001"].evidence == (
        "balanced accuracy rests on 25 scored rows of class b: such a share has a standard error "
        "of up to 0.052; 50 rows of each class bring that to 0.05."
    )


def leaked(y: np.ndarray, how: str) -> object:
    """A column that gives the class away."""
    random = np.random.default_rng(1)
    text = np.array(["no", "yes", "maybe"])[y]
    return {
        "number": y + random.uniform(0, 0.5, len(y)),
        "falling number": -y - random.uniform(0, 0.5, len(y)),
        "code": np.array([3, 1, 2])[y],
        "code out of order": np.where(y > 0, y, random.choice([0, 7], len(y))),
        "text": text,
        "missing unless": np.where(y == y.max(), random.normal(size=len(y)), np.nan),
    }[how]


@classes
@pytest.mark.parametrize("how", ["number", "falling number", "code", "code out of order", "text"])
def test_a_perfect_column(n_classes: int, how: str) -> None:
    frame, y = clean(n_classes)
    finding = seen(frame.assign(leak=leaked(y, how)), y)["AIMB002"]
    assert "'leak' (1.0000)" in finding.evidence
    assert "'a'" not in finding.evidence
    assert finding.severity == "error"
    once = frame.assign(leak=leaked(y, "missing unless"))  # filled in for one class only
    assert ("AIMB002" in seen(once, y)) == (n_classes == 2)


def test_a_column_that_parts_two_classes_of_three_is_not_a_perfect_one() -> None:
    frame, y = clean(3)
    for code in range(3):
        parts = np.where(y == code, 9.0, np.random.default_rng(1).normal(size=len(y)))
        assert "AIMB002" not in seen(frame.assign(parts=parts), y)


@classes
def test_a_strong_column_is_not_a_perfect_one(n_classes: int) -> None:
    frame, y = clean(n_classes)
    blurred = 4 * y + np.random.default_rng(2).normal(size=len(y))
    many = pd.Series(np.arange(len(y)) // 2).astype(str) + "x"  # a level says nothing of others
    assert seen(frame.assign(strong=blurred, many=many), y) == {}


@classes
def test_rows_in_several_folds(n_classes: int) -> None:
    frame, y = clean(n_classes)
    random = np.random.default_rng(3)
    copies = random.choice(np.flatnonzero(y == n_classes - 1), 400)
    rows = np.concatenate([np.arange(len(y)), copies])
    finding = seen(frame.iloc[rows].reset_index(drop=True), y[rows])["AIMB003"]
    assert "Keeping equal rows in one fold would change that." in finding.evidence


def test_grouped_rows_are_not_in_several_folds() -> None:
    frame, y = clean(2)
    rows = np.repeat(np.arange(len(y)), 2)
    twice, labels = frame.iloc[rows].reset_index(drop=True), y[rows]
    assert "AIMB003" in seen(twice, labels)
    part = (rows * 7919) % 5
    splits = [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(5)]
    folds = plan_folds(labels, cv=splits, random_state=0)
    assert "AIMB003" not in seen(twice, labels, folds=folds)


def test_equal_rows_are_counted_by_fold_and_class() -> None:
    """Rows 0 to 3 are one row, 4 and 5 another, all others alone; each fold scores every other."""
    same = np.array([0, 0, 0, 0, 1, 1, *range(2, 12)], dtype=np.float64)
    y = np.array([0, 0, 1, 1, 0, 0, 0, *np.ones(9)], dtype=np.int64)
    even = np.arange(0, 16, 2)
    folds = plan_folds(y, cv=[(even + 1, even), (even, even + 1)], random_state=0)
    assert Repeats.of(dataset_of(pd.DataFrame({"a": same}), y), folds) == Repeats(
        scored=16,
        copied=6,
        rarer=5,
        given_away=2,  # rows 4 and 5; of rows 0 and 1 half of the equal training rows differ
        contradicted=2,  # rows 0 and 1
        largest=4,
        max_fold_rows=8,
    )


@classes
def test_common_rows_that_are_repeated_give_nothing_away(n_classes: int) -> None:
    """Few values repeat by themselves: where labels differ among equal rows none is looked up."""
    frame, y = clean(n_classes)
    common = np.flatnonzero(y == 0)
    rows = np.concatenate([np.arange(len(y)), common, common])
    assert seen(frame.iloc[rows].reset_index(drop=True), y[rows]) == {}


@classes
def test_the_same_features_under_different_classes(n_classes: int) -> None:
    frame, y = clean(n_classes)
    rare = np.flatnonzero(y == n_classes - 1)[:80]
    rows = np.concatenate([np.arange(len(y)), rare])
    labels = np.concatenate([y, np.zeros(len(rare), dtype=np.int64)])
    finding = seen(frame.iloc[rows].reset_index(drop=True), labels)["AIMB004"]
    assert finding.evidence.startswith(f"80 of the {(labels > 0).sum()} rows")
    assert finding.severity == "info"


# --- after the search -----------------------------------------------------------------------------

REPORTED = Reported(0.5, 0.05, 0.4, 0.6, 0.52, 0.02, 200, True)
GOOD = ResultEvidence(
    "average_precision",
    REPORTED,
    prior=0.1,
    references={"logistic regression": (-0.1, 0.02), "trees": (0.01, 0.02)},
    label_changes=0.05,
)


TREES_AHEAD = GOOD.references | {"trees": (0.05, 0.02)}
LOSS = {"metric": "log_loss", "reported": replace(REPORTED, greater_is_better=False)}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"prior": 0.4}, "AIMB005"),
        ({"prior": np.nan}, "AIMB005"),
        (LOSS | {"prior": 0.7}, None),
        (LOSS | {"prior": 0.6}, "AIMB005"),
        ({"label_changes": CHANGED_LABELS}, None),
        ({"label_changes": 0.4}, "AIMB006"),
        ({"label_changes": None}, None),
        ({"references": {"trees": (REFERENCE_ERRORS * 0.02, 0.02)}}, None),
        ({"references": {"trees": (0.05, np.nan)}}, None),
        ({"references": TREES_AHEAD}, "AIMB007"),
    ],
)
def test_checks_of_a_result(changes: dict[str, object], code: str | None) -> None:
    codes = [finding.code for finding in run_checks(replace(GOOD, **changes))]
    assert codes == ([] if code is None else [code])


def test_findings_name_the_numbers() -> None:
    chance, ahead = run_checks(replace(GOOD, prior=0.5, references=TREES_AHEAD))
    assert "new data is 0.500 (95 % interval 0.400 to 0.600), and the" in chance.evidence
    assert "the partners' trees (by 0.0500 ± 0.0200)" in ahead.evidence


@pytest.mark.parametrize(("prior", "seed"), [((0.98, 0.02), 0), ((0.96, 0.02, 0.02), 3)])
def test_another_sample_of_few_rows_changes_labels(prior: tuple[float, ...], seed: int) -> None:
    def changes(n_rows: int, spread: float, **changed: object) -> float | None:
        y, proba = calibrated_rows(n_rows, prior, spread=spread, seed=seed)
        metric = get_metric("mcc", n_classes=len(prior), positive=len(prior) - 1)
        judge = Judge(metric, y, stratified_groups(y, 5))
        asked = {"rule": judge.fit_rule(proba), "replicates": 5, "deadline": Deadline()} | changed
        return label_changes(judge, proba, **asked)

    few, many = changes(120, 1.0), changes(2000, 2.0)
    assert few is not None
    assert many is not None
    assert few > CHANGED_LABELS > many
    assert changes(120, 1.0) == few
    assert changes(120, 1.0, rule=DecisionRule()) is None
    assert changes(120, 1.0, deadline=Deadline.after(-1)) is None


# --- whole searches -------------------------------------------------------------------------------


@pytest.mark.usefixtures("minimal_work")
@classes
def test_what_was_seen_is_said_everywhere(
    n_classes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, y = clean(n_classes, 300)
    frame = frame.assign(leak=leaked(y, "text"))
    model = AutoImbClassifier(**ONE_TRIAL | {"cv": 2}).fit(frame, y)
    codes = {finding.code for finding in model.checks_}
    assert "AIMB002" in codes
    assert model.facts_.checks == [finding.to_json() for finding in model.checks_]
    page = model.report(tmp_path / "report.html").read_text("utf-8")
    assert all(code in page for code in codes)
    data, run = tmp_path / "data.csv", tmp_path / "run"
    frame.assign(state=y).to_csv(data, index=False)
    words = ["search", str(data), "--target", "state", "--n-trials", "1", "--n-jobs", "1"]
    words += ["--cv", "2", "--network", "mlp", "--partners", "none", "--out", str(run)]
    assert main([*words, "--fail-on", "error"]) == 3
    out, err = capsys.readouterr()
    assert "error AIMB002: " in err.partition("trial 0")[0]  # before the first trial
    assert "error AIMB002: " in out
    written = json.loads((run / "run.json").read_text())["results"]["checks"]
    assert codes == {row["code"] for row in written}
    assert (run / "pipeline.autoimb").is_file()
    assert main([*words, "--resume", "--quiet"]) == 0
    assert main([*words, "--resume", "--quiet", "--fail-on", "grave"]) == 2
    assert "Unknown severity 'grave'" in capsys.readouterr().err


def test_the_command_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{check.code} {check.severity}: {check.title}" in printed for check in CHECKS)
