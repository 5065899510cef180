"""AIMB008 and AIMB009: rows that share a day or a value, which random folds give away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier, dry_run
from autoimb.assessment.checks import Finding

N_ROWS = 3000


def rows_of(
    *, customer: float = 0.0, day: float = 0.0, n_classes: int = 2, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw rows of customers and days, in no order, with effects of so many log-odds on the class.

    The date, the customer's number, a category of many levels, an age and a number are columns.
    """
    random = np.random.default_rng(seed)
    customers, days = random.integers(N_ROWS // 6, size=N_ROWS), random.integers(150, size=N_ROWS)
    age, number = random.integers(18, 80, N_ROWS), random.normal(size=N_ROWS)
    logits = number + 0.02 * age + customer * random.normal(size=N_ROWS)[customers]
    logits += day * random.normal(size=N_ROWS)[days]
    noisy = logits + random.logistic(size=N_ROWS)
    cuts = np.quantile(noisy, np.linspace(0.8, 0.95, n_classes - 1))
    frame = pd.DataFrame(
        {
            "bought on": (np.datetime64("2024-01-01") + days).astype(str),
            "customer": 7_000 + random.permutation(N_ROWS)[customers],
            "branch": [f"b{level}" for level in random.integers(60, size=N_ROWS)],
            "age": age,
            "number": number,
        }
    )
    return frame, np.searchsorted(cuts, noisy)


def findings(frame: pd.DataFrame, y: np.ndarray, **parameters: object) -> dict[str, Finding]:
    """Return what the checks find before a search, by code."""
    run = dry_run(AutoImbClassifier(random_state=0, **parameters), frame, y)
    return {finding.code: finding for finding in run.findings}


def test_independent_rows_are_silent() -> None:
    assert findings(*rows_of()) == {}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("effect", "held_out", "advice"),
    [
        ("customer", "whole values of 'customer'", 'Add groups="customer" (--groups customer).'),
        ("day", "whole days of 'bought on'", "Add time=\"bought on\" (--time 'bought on')."),
    ],
)
def test_rows_of_a_customer_or_a_day(
    n_classes: int, effect: str, held_out: str, advice: str
) -> None:
    frame, y = rows_of(n_classes=n_classes, **{effect: 3.0})
    minute = np.random.default_rng(1).integers(24 * 60, size=N_ROWS).astype("timedelta64[m]")
    instants = frame["bought on"].to_numpy(dtype="datetime64[m]") + minute
    finding = findings(frame.assign(**{"bought on": instants}), y)["AIMB008"]
    assert finding.severity == "error"
    assert f"with {held_out} held out together" in finding.evidence
    assert advice in finding.evidence


def test_many_rows_are_thinned_whatever_the_budget() -> None:
    """The most frequent class within days first, then whole days."""
    frame, y = rows_of(day=2.0)
    assert "AIMB008" in findings(frame, y, time_budget=5)
    repeated = pd.concat([frame.assign(number=frame["number"] + shift) for shift in range(4)])
    assert "AIMB008" in findings(repeated, np.tile(y, 4), time_budget=30)


def test_declared_groups_own_folds_and_one_fold_are_left_alone() -> None:
    frame, y = rows_of(customer=3.0)
    estimator = AutoImbClassifier(random_state=0)
    splits = [(np.arange(0, N_ROWS, 2), np.arange(1, N_ROWS, 2))]
    both = [*splits, splits[0][::-1]]
    for run in (
        dry_run(estimator, frame, y, groups=frame["customer"]),
        dry_run(estimator, frame, y, eval_set=(frame[:500], y[:500])),
        dry_run(AutoImbClassifier(random_state=0, cv=splits), frame, y),
        dry_run(AutoImbClassifier(random_state=0, cv=both), frame, y),
    ):
        assert not {"AIMB008", "AIMB009"} & {finding.code for finding in run.findings}


def test_a_class_of_a_single_customer_is_not_compared() -> None:
    frame, y = rows_of()
    customer = np.where(y == 1, 1, frame["customer"])
    assert "AIMB008" not in findings(frame.assign(customer=customer), y)


def test_wide_tables_and_numbers_at_the_ends_of_the_floats() -> None:
    frame, y = rows_of(customer=3.0)
    random = np.random.default_rng(0)
    wide = pd.DataFrame(random.normal(size=(N_ROWS, 150)), columns=[f"w{j}" for j in range(150)])
    wide["w0"] *= 1e308 / wide["w0"].abs().max()
    wide.loc[np.flatnonzero(random.random(N_ROWS) < 0.999), "w1"] = np.nan
    joined = pd.concat([frame.rename(columns={"customer": "customer_id"}), wide], axis=1)
    assert "'customer_id'" in findings(joined, y)["AIMB008"].evidence


# --- the order of the file ------------------------------------------------------------------------


def test_rows_sorted_by_a_date_are_an_info() -> None:
    frame, y = rows_of()
    order = np.argsort(frame["bought on"], kind="stable")
    for rows in (order, order[::-1]):
        finding = findings(frame.iloc[rows], y[rows])["AIMB009"]
        assert finding.severity == "info"
        assert finding.evidence == "The rows are sorted by the date 'bought on'."


def test_alike_neighbours_are_an_info_but_blocks_of_classes_are_not() -> None:
    frame, y = rows_of()
    random = np.random.default_rng(0)
    waves = np.argsort(y * random.uniform(size=N_ROWS) + (random.random(N_ROWS) < 0.5))
    assert "outside the most frequent class follow one" in (
        findings(frame.iloc[waves], y[waves])["AIMB009"].evidence
    )
    blocks = np.argsort(y, kind="stable")
    assert "AIMB009" not in findings(frame.iloc[blocks], y[blocks])
