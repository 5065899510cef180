"""``groups=``: rows that belong together are never parted, and errors are those of whole groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from autoimb import AutoImbClassifier, dry_run
from autoimb.data.folds import duel_folds, plan_folds, stratified
from autoimb.data.forward import plan_forward
from autoimb.data.groups import group_codes
from autoimb.data.times import Times
from autoimb.errors import InputError, OptionError, SchemaError
from autoimb.policy import DEFAULT_POLICY, Folds, SearchPolicy
from autoimb.search.untouched import held_out
from tests.data.test_times import payments
from tests.support import tables
from tests.training import test_law1 as law1

ONE_TRIAL = tables.ONE_TRIAL | {"cv": 2}

pytestmark = pytest.mark.usefixtures("minimal_work")


def visits(n_rows: int = 240, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Generate rows of customers, four each on average, and labels."""
    frame, y = payments(n_rows, seed=seed)
    return frame.drop(columns="date"), y


# --- splitting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_parts", [2, 5, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_groups_are_dealt_as_evenly_as_scikit_learn_deals_them(n_parts: int, seed: int) -> None:
    frame, labels = visits(800, seed=seed)
    y, cluster = (labels == "yes").astype(np.int64), group_codes("customer", frame)
    assert cluster is not None
    part = stratified(y, n_parts, np.random.default_rng(seed), cluster)
    theirs = np.empty(len(y), dtype=np.int64)
    splitter = StratifiedGroupKFold(n_parts, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(frame, y, cluster)):
        theirs[test] = number
    assert all(len(np.unique(part[cluster == one])) == 1 for one in np.unique(cluster))
    for rows in (y == 0, y == 1):
        ours = np.bincount(part[rows], minlength=n_parts)
        others = np.bincount(theirs[rows], minlength=n_parts)
        assert ours.std() <= others.std() + 2.0


def test_no_fold_parts_a_group() -> None:
    frame, labels = visits(1_200)
    y, cluster = (labels == "yes").astype(np.int64), group_codes("customer", frame)
    assert cluster is not None
    plan = plan_folds(y, random_state=0, cluster=cluster)
    duels = duel_folds(
        y,
        plan,
        random_state=1,
        policy=DEFAULT_POLICY,
        cluster=cluster,
    )
    assert duels is not None
    hold_out = plan_folds(
        y, eval_rows=np.flatnonzero(cluster > 200), random_state=0, cluster=cluster
    )
    folds = [*plan.folds, *duels.folds, *hold_out.folds]
    assert len(folds) > 20
    for fold in folds:
        groups = [set(cluster[rows].tolist()) for rows in (fold.train, fold.score, fold.choose)]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
        assert set(np.unique(y[fold.score])) == {0, 1}


def test_there_are_no_more_folds_than_groups_that_hold_a_class() -> None:
    y, cluster = np.zeros(60, dtype=np.int64), np.arange(60) // 2
    y[:6] = 1  # in three groups
    plan = plan_folds(y, random_state=0, cluster=cluster)
    assert len(plan.folds) == 3
    with pytest.raises(OptionError, match="number of groups that hold the scarcest class, 3"):
        plan_folds(y, cv=5, random_state=0, cluster=cluster)
    with pytest.raises(OptionError, match=r"occurs in 1 group of the 30; .* at least 2"):
        plan_folds((cluster == 0).astype(np.int64), random_state=0, cluster=cluster)


def test_a_split_that_parts_a_group_is_refused() -> None:
    y, cluster = np.arange(20) % 2, np.arange(20) // 4
    splits = [(np.arange(10), np.arange(10, 20)), (np.arange(10, 20), np.arange(10))]
    with pytest.raises(OptionError, match=r"split 0 of cv parts 1 groups .* row 10 is of such"):
        plan_folds(y, cv=splits, random_state=0, cluster=cluster)
    assert (
        len(plan_folds(y, cv=StratifiedGroupKFold(2), random_state=0, cluster=cluster).folds) == 2
    )


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_whole_groups_are_held_out(share: float) -> None:
    frame, labels = visits(1_200)
    cluster = group_codes("customer", frame)
    assert cluster is not None
    held = held_out(labels, share, random_state=0, cluster=cluster)
    assert not set(cluster[held]) & set(cluster[~held])
    for label in ("yes", "no"):
        assert held[labels == label].mean() == pytest.approx(share, abs=0.02)


# --- reading --------------------------------------------------------------------------------------


def test_groups_are_columns_or_an_array() -> None:
    frame = pd.DataFrame({"a": ["x", "x", "y", "y"], "b": [1, 2, 1, 1]})
    assert group_codes("a", frame).tolist() == [0, 0, 1, 1]
    assert group_codes(["a", "b"], frame).tolist() == [0, 1, 2, 2]
    assert group_codes(np.array(list("ppqq")), frame).tolist() == [0, 0, 1, 1]
    further = pd.DataFrame({"a": ["y", "z"]})
    assert group_codes("a", frame, further).tolist() == [0, 0, 1, 1, 1, 2]
    assert group_codes([7, 7, 8, 8], frame, further).tolist() == [0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("groups", "error", "words"),
    [
        ("costumer", SchemaError, "Did you mean 'customer'"),
        ([1, 2, 3], OptionError, "groups has 3 values and the table 10 rows"),
        ([1.0] * 9 + [np.nan], OptionError, "has no value in 1 rows, the first is row 9"),
        (["a"] * 10, SchemaError, "'a'"),
        (np.array(["a"] * 10), OptionError, "all 10 rows are of one group, 'a'"),
    ],
)
def test_what_names_no_groups(groups: object, error: type[InputError], words: str) -> None:
    frame, _ = visits()
    with pytest.raises(error, match=words):
        group_codes(groups, frame[:10])


# --- no leak --------------------------------------------------------------------------------------


@pytest.fixture(params=["groups", "groups and times"])
def grouped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the rows of the leak tests groups of four, and folds of whole groups."""
    plain = law1.base_dataset()
    random = np.random.default_rng(3)
    cluster = random.permutation(len(plain.y)) // 4
    dataset = replace(plain, cluster=cluster)
    folds = plan_folds(plain.y, cv=law1.FOLDS, random_state=0, cluster=cluster)
    if request.param == "groups and times":
        times = Times(random.integers(0, 40, len(plain.y)).astype(float), dated=False)
        dataset = replace(dataset, times=times)
        policy = SearchPolicy(folds=Folds(rare_rows_per_block=4))
        folds = plan_forward(plain.y, times, random_state=0, cluster=cluster, policy=policy)
        number = len(folds.folds)
        monkeypatch.setattr(law1, "FOLDS", number)
        monkeypatch.setattr(law1, "FOLD", number - 2)  # the last one that scores
        monkeypatch.setattr(law1, "SCRIPT", random.normal(size=(50, number)))
    monkeypatch.setattr(law1, "base_dataset", lambda: dataset)
    monkeypatch.setattr(law1, "folds_of", lambda: folds)


def rows_of_held_out_groups() -> np.ndarray:
    cluster = law1.base_dataset().cluster
    assert cluster is not None
    return np.flatnonzero(np.isin(cluster, cluster[law1.scored_rows()]))


@pytest.mark.usefixtures("grouped")
def test_a_held_out_group_reaches_nothing_that_predicts_it() -> None:
    rows = rows_of_held_out_groups()
    observe = law1.observed_fold(tables.strategy_with())
    law1.assert_blind(observe, law1.base_dataset(), law1.all_changes(rows))


@pytest.mark.usefixtures("grouped")
@pytest.mark.parametrize("metric", ["f1", "average_precision"])
@pytest.mark.parametrize("number", [0, 1])
def test_its_labels_reach_neither_calibrator_nor_rule(number: int, metric: str) -> None:
    rows = rows_of_held_out_groups()
    strategy = law1.calibrated_strategies()[number]
    labels = {"labels of the group": law1.changed(rows, label=True)}
    law1.assert_blind(law1.observed_judgement(strategy, metric), law1.base_dataset(), labels)


# --- the faces ------------------------------------------------------------------------------------


def test_fit_and_predict_with_and_without_the_columns() -> None:
    frame, y = visits()
    apart, array = frame.drop(columns="customer"), frame["customer"].to_numpy()
    inputs = ((frame, "customer"), (frame, ["customer"]), (apart, array))
    models = [AutoImbClassifier(**ONE_TRIAL).fit(X, y, groups=groups) for X, groups in inputs]
    probabilities = models[0].predict_proba(apart)
    for model, (X, _) in zip(models, inputs):
        named = "new groups" if X is apart else "new groups (customer)"
        assert model.feature_names_in_.tolist() == ["amount", "shop"]
        assert f"Expected average precision on {named}: " in model.facts_.result_lines[1]
        assert model.inspect()["info"]["estimate"] == named
        assert model.columns_apart_ == (() if X is apart else ("customer",))
        assert [column.name for column in model.pipeline_.schema.columns] == ["amount", "shop"]
        for rows in (X, apart):
            assert (model.predict_proba(rows) == probabilities).all()
            assert (model.pipeline_.predict_proba(rows) == probabilities).all()


def test_the_other_arguments_of_fit_go_with_groups() -> None:
    frame, y = visits(480)
    later = frame["customer"].isin([f"c{number}" for number in range(90, 120)]).to_numpy()
    model = AutoImbClassifier(**ONE_TRIAL, holdout=0.2)
    weight = np.where(np.arange(len(y)) % 11 == 0, 0.0, 1.0)
    model.fit(frame, y, sample_weight=weight, groups="customer")
    assert model.facts_.test["rows"] > 0
    chosen = AutoImbClassifier(**ONE_TRIAL | {"cv": None})
    chosen.fit(frame[~later], y[~later], eval_set=(frame[later], y[later]), groups="customer")
    with pytest.raises(OptionError, match="the evaluation set parts"):
        chosen.fit(frame[:200], y[:200], eval_set=(frame[:200], y[:200]), groups="customer")
    counts = {"yes": int((y == "yes").sum()), "no": 3 * int((y == "no").sum())}
    AutoImbClassifier(**ONE_TRIAL).fit(frame, y, class_counts=counts, groups="customer")
    assert "customer" not in dry_run(model, frame, y, groups="customer").columns
