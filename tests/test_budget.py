from __future__ import annotations

import math
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoimb.budget import MIN_BUDGET, Budget, Deadline, check_budget, processor_turns
from autoimb.errors import BudgetError, DeadlineExceeded
from autoimb.policy import DEFAULT_POLICY


def test_no_deadline_never_expires():
    deadline = Deadline.after(None)
    assert deadline.left() == math.inf
    assert not deadline.finite
    assert not deadline.expired
    deadline.check()
    assert not deadline.sooner(5.0).finite
    assert not deadline.fraction(0.5).finite
    assert Budget.start(None).reserve == 0.0
    assert not Budget.start(None).deadline.finite


def test_deadline_counts_down_and_then_raises():
    deadline = Deadline.after(0.05)
    assert 0.0 < deadline.left() <= 0.05
    deadline.check()
    time.sleep(0.06)
    assert deadline.expired
    with pytest.raises(DeadlineExceeded, match="passed"):
        deadline.check()


def test_parts_of_a_deadline():
    deadline = Deadline.after(100.0)
    assert deadline.sooner(40.0).left() == pytest.approx(60.0, abs=0.5)
    assert deadline.fraction(0.25).left() == pytest.approx(25.0, abs=0.5)
    assert deadline.within(10.0).left() == pytest.approx(10.0, abs=0.5)
    assert deadline.within(1000.0) == deadline
    assert deadline.within(None) is deadline


def test_parts_share_what_is_left_of_a_deadline():
    assert not any(each.finite for each in Deadline().shared(3))
    left = [each.left() for each in Deadline.after(90.0).shared(3)]
    assert left == pytest.approx([30.0, 45.0, 90.0], abs=10.0)  # nobody took any of it


@given(st.floats(MIN_BUDGET, 1e6))
def test_the_search_ends_early_enough_to_finish(total):
    budget = Budget.start(total, started=1000.0)
    assert budget.deadline == Deadline(1000.0 + total)
    assert 2.0 <= budget.reserve <= min(60.0, 0.9 * total)


def cells_of(seconds):
    return round(seconds / DEFAULT_POLICY.reserves.cell_seconds)


@pytest.mark.parametrize(("seconds", "reserve"), [(0.0, 7.2), (4.0, 7.2), (20.0, 20.0)])
def test_many_scored_rows_and_classes_are_kept_time_for(seconds, reserve):
    budget = Budget(60.0, 0.0, cells=cells_of(seconds))
    assert budget.reserve == pytest.approx(reserve, rel=1e-4)
    assert Budget(60.0, 0.0, cells=10**9).reserve == 30.0  # and no more than that


@pytest.mark.parametrize(
    ("turns", "pace", "reserve"),
    [((3, 0), 1.0, 8.0), ((2, 1), 1.5, 12.0), ((1, 9), 5.0, 30.0), ((0, 0), 1.0, 8.0)],
)
def test_beside_other_programs_more_time_is_kept(turns, pace, reserve, monkeypatch):
    monkeypatch.setattr("autoimb.budget.processor_turns", lambda: (50, 60))
    begun = replace(Budget.start(60.0), cells=cells_of(8.0))
    monkeypatch.setattr("autoimb.budget.processor_turns", lambda: (50 + turns[0], 60 + turns[1]))
    budget = begun.at_its_pace()
    assert budget.pace == pytest.approx(pace)
    assert budget.reserve == pytest.approx(reserve, rel=1e-4)
    few = replace(budget, cells=cells_of(0.08))
    assert few.reserve == pytest.approx(max(7.2, 3.0 * pace))
    assert replace(few, total=10.0).reserve == pytest.approx(3.0)  # a quarter is less


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing counts them")
def test_the_turns_of_a_thread_are_counted():
    ran, waited = processor_turns()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    again, later = processor_turns()
    assert again - ran >= 4e7
    assert later >= waited


def test_a_budget_that_has_ended_says_before_what():
    Budget.start(60.0).check("the study was planned")
    Budget.start(None).check("the study was planned")
    with pytest.raises(BudgetError, match=r"The 20 seconds ended before the study was planned: "):
        Budget.start(20.0, started=time.monotonic() - 21.0).check("the study was planned")


@pytest.mark.parametrize(
    ("seconds", "n_trials", "words"),
    [
        *(
            (bad, None, "time_budget must be at least 5")
            for bad in (0, -1, 4.9, math.nan, math.inf)
        ),
        *((None, bad, "n_trials must be a whole num") for bad in (0, -3, 1.5, math.nan, math.inf)),
        (None, None, "both None"),
    ],
)
def test_limits_that_no_search_can_keep(seconds, n_trials, words):
    with pytest.raises(BudgetError, match=words):
        check_budget(seconds, n_trials)
    check_budget(None, 1)
    check_budget(MIN_BUDGET, None)
