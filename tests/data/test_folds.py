import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from autoimb.data.folds import plan_folds
from autoimb.errors import OptionError

LABELS = np.array([0] * 40 + [1] * 10)


@pytest.mark.parametrize(
    ("rows", "minority", "folds"),
    [(14_999, 5_000, 5), (15_000, 150, 3), (15_000, 149, 5), (60_000, 20_000, 3), (3, 1, 3)],
)
def test_folds_follow_rows_and_minority_rows(rows, minority, folds):
    y = (np.arange(rows) < minority).astype(np.int64)
    assert len(plan_folds(y, random_state=0).folds) == folds


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    cv=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_every_row_is_scored_once_and_classes_are_spread(counts, cv, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    cv = min(cv, len(y))
    plan = plan_folds(y, cv=cv, random_state=seed)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([fold.score for fold in plan.folds])), np.arange(len(y))
    )
    for number, fold in enumerate(plan.folds):
        np.testing.assert_array_equal(np.union1d(fold.train, fold.score), np.arange(len(y)))
        assert len(fold.train) + len(fold.score) == len(y)
        assert not len(fold.choose)
        assert (plan.group[fold.score] == number).all()
    per_class = np.array([np.bincount(y[fold.score], minlength=len(counts)) for fold in plan.folds])
    # of a class with fewer rows than folds each fold has one row or none
    assert (np.ptp(per_class, axis=0) <= 1).all()
    assert np.ptp(per_class.sum(axis=1)) <= 1
    assert (per_class.max(axis=0) > 0).all()


def test_one_seed_one_plan():
    first, again, other = (plan_folds(LABELS, random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.group, again.group)
    assert (first.group != other.group).any()


@pytest.mark.parametrize("splitter", [KFold(4), StratifiedKFold(4, shuffle=True, random_state=0)])
def test_splitters_are_obeyed(splitter):
    plan = plan_folds(LABELS, cv=splitter, random_state=0)
    for fold, (train, test) in zip(plan.folds, splitter.split(LABELS[:, None], LABELS)):
        np.testing.assert_array_equal(fold.train, np.sort(train))
        np.testing.assert_array_equal(fold.score, np.sort(test))
    assert len(plan.scored) == len(LABELS)


def test_rows_that_nothing_scores_have_no_group():
    plan = plan_folds(LABELS, cv=TimeSeriesSplit(4), random_state=0)
    assert len(plan.folds) == 4
    np.testing.assert_array_equal(plan.scored, np.arange(10, 50))
    assert (plan.group[:10] == -1).all()


def test_masks_and_numbers_are_the_same():
    test = np.arange(50) % 5 == 0
    masks = plan_folds(LABELS, cv=[(~test, test), (test, ~test)], random_state=0)
    rows = [np.flatnonzero(~test), np.flatnonzero(test)]
    numbers = plan_folds(LABELS, cv=iter([rows, rows[::-1]]), random_state=0)
    np.testing.assert_array_equal(masks.group, numbers.group)


def test_pairs_of_rows_refer_to_the_table_before_rows_were_dropped():
    test = np.arange(50) % 5 == 0
    rows = [np.flatnonzero(~test), np.flatnonzero(test)]
    retained = np.arange(50) != 7
    plan = plan_folds(LABELS[retained], cv=[rows, rows[::-1]], random_state=0, retained=retained)
    np.testing.assert_array_equal(plan.folds[0].score, np.flatnonzero(test[retained]))
    np.testing.assert_array_equal(plan.folds[0].train, np.flatnonzero(~test[retained]))
    whole = plan_folds(LABELS[retained], cv=KFold(4), random_state=0, retained=retained)
    assert len(whole.scored) == 49


@pytest.mark.parametrize(
    "plan",
    [
        plan_folds(LABELS, cv=[(np.arange(0, 50, 2), np.arange(1, 50, 2))], random_state=0),
        plan_folds(LABELS, cv=ShuffleSplit(1, test_size=25, random_state=0), random_state=0),
        plan_folds(LABELS, random_state=0, eval_rows=np.arange(1, 50, 2)),
    ],
    ids=["pair", "splitter", "eval_rows"],
)
def test_a_hold_out_half_chooses_and_half_scores(plan):
    (fold,) = plan.folds
    test = np.union1d(fold.score, fold.choose)
    assert len(fold.score) + len(fold.choose) == len(test) == 25
    assert abs(len(fold.score) - len(fold.choose)) <= 1
    assert not np.intersect1d(fold.train, test).size
    spread = [np.bincount(LABELS[rows], minlength=2) for rows in (fold.score, fold.choose)]
    assert (np.abs(spread[0] - spread[1]) <= 1).all()
    np.testing.assert_array_equal(plan.scored, fold.score)
    assert set(plan.group[fold.score]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "cv=1 folds: must be between 2 and the number of rows, 50"),
        (True, "cv=True can't split this table: .* got n_splits=1"),
        ([], "holds no splits"),
        (ShuffleSplit(3, test_size=0.5), "rows twice"),
        (GroupKFold(3), "can't split this table: .*takes those of groups="),
        ([(np.arange(40), np.arange(39, 50))], "split 0 of cv: 1 rows train and score.* row 39"),
        ([(np.arange(40), np.arange(40, 51))], "names row 50; the table has rows 0 to 49"),
        ([(np.arange(40), np.array([-1, 41]))], "names row -1"),
        ([(np.arange(40), np.array([0.5, 41]))], "must hold row numbers or a mask of 50 rows"),
        ([(np.arange(40), np.array([41, 41]))], "names a row twice; rows are never copied"),
        ([(np.arange(40), np.array([], dtype=int))], "both sides need rows; 40 train, 0 score"),
        ([(np.arange(40), np.array([41]))], "A hold-out needs 2 rows"),
    ],
)
def test_bad_plans(cv, message):
    with pytest.raises(OptionError, match=message):
        plan_folds(LABELS, cv=cv, random_state=0)
