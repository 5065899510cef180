"""Samplers of imbalanced-learn as resampling options, by instance and by class name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from imblearn import combine, over_sampling, under_sampling
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import (
    ADASYN,
    SMOTE,
    SMOTENC,
    SVMSMOTE,
    RandomOverSampler,
)
from imblearn.under_sampling import (
    ClusterCentroids,
    EditedNearestNeighbours,
    NearMiss,
    RandomUnderSampler,
    TomekLinks,
)
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from autoimb import AutoImbClassifier, dry_run, load
from autoimb.cli.options import listed
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.rows import Encoded
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.errors import InfeasibleError, OptionError
from autoimb.policy import Comparisons
from autoimb.search.request import restricted_components
from autoimb.space.draw import infeasible
from autoimb.space.option import Choice
from autoimb.space.reading import read_strategy
from autoimb.space.resampling.component import RESAMPLING, Resampled, Rows
from autoimb.space.resampling.samplers import read_sampler
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts
from tests.space.test_resampling import in_order, rows_of
from tests.support.searches import minimal_work
from tests.support.tables import ONE_TRIAL, PLAINEST, mixed_table, strategy_with
from tests.training.test_law1 import base_dataset, changed, few_changes, folds_of

SAMPLERS = [name for module in (over_sampling, under_sampling, combine) for name in module.__all__]
SELECTING = [name for name in under_sampling.__all__ if name != "ClusterCentroids"]
COUNTS = {2: (90, 24), 3: (80, 30, 22)}
SEED = 7


def type_name(sampler: object) -> str:
    return type(sampler).__name__


def mixed_part(n_classes: int = 2, *, numbers: int = 4) -> Rows:
    """Return rows of numbers and categories, or of categories alone."""
    return rows_of(COUNTS[n_classes], numbers, 2)


def numeric_part(n_classes: int = 2) -> Rows:
    """Return rows of numbers, of which one has an indicator of missing values."""
    part = rows_of(COUNTS[n_classes], 4, 0)
    missing = (np.random.default_rng(5).random((len(part.y), 1)) < 0.2).astype(np.int32)
    part.encoded.numbers[missing[:, 0] == 1, 0] = 0.0
    encoded = Encoded(part.encoded.numbers, missing, (2,))
    return replace(part, encoded=encoded, labels=("common", "rare", "rarer")[:n_classes])


def resampled(sampler: object, part: Rows, *, seed: int = SEED) -> Resampled:
    return RESAMPLING.make(Choice(read_sampler(sampler)), part, random_state=seed)


def classes_of(new: Resampled, part: Rows) -> np.ndarray:
    return np.concatenate([part.y[new.rows], new.synthetic_y])


def numbers_table(n_rows: int = 150) -> tuple[pd.DataFrame, np.ndarray]:
    frame, y = mixed_table("binary", n_rows)
    return frame[["amount", "count", "day"]], np.where(y == 1, "yes", "no")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "name"),
    [
        ("SVMSMOTE", "SVMSMOTE"),
        (SVMSMOTE(k_neighbors=np.int64(3)), "SVMSMOTE(k_neighbors=3)"),
        ("SVMSMOTE(out_step=.25,  k_neighbors=3)", "SVMSMOTE(k_neighbors=3, out_step=0.25)"),
        (SMOTE(sampling_strategy={1: 50}), "SMOTE(sampling_strategy={'1': 50})"),
        (TomekLinks(sampling_strategy=["a", "b"]), "TomekLinks(sampling_strategy=['a', 'b'])"),
        (SMOTENC(categorical_features="auto", k_neighbors=2), "SMOTENC(k_neighbors=2)"),
        (SMOTENC(categorical_features=None), "SMOTENC"),
    ],
)
def test_a_sampler_is_named_as_it_is_written(sampler: object, name: str) -> None:
    assert read_sampler(sampler) == name
    assert read_sampler(name) == name
    strategy = strategy_with(resampling=Choice(name))
    values = json.loads(json.dumps(strategy.to_json()))
    assert values["resampling"] == {"name": name, "params": {}}
    assert Strategy.from_json(values) == strategy
    assert read_strategy(values) == read_strategy(json.dumps(values)) == strategy
    row = {component: str(getattr(strategy, component)) for component in values}
    assert read_strategy(row) == strategy
    assert not strategy.exact
    assert not strategy.is_control


def test_options_class_names_and_instances_go_together() -> None:
    samplers = ["smote", "ADASYN", SVMSMOTE(k_neighbors=3)]
    ((component, names),) = restricted_components({"resampling": samplers})
    assert (component, names) == ("resampling", ("smote", "ADASYN", "SVMSMOTE(k_neighbors=3)"))
    assert restricted_components({"resampling": ADASYN()}) == (("resampling", ("ADASYN",)),)
    assert listed("smote, ADASYN(n_neighbors=3, random_state=1),none") == [
        "smote",
        "ADASYN(n_neighbors=3, random_state=1)",
        "none",
    ]
    classifier = AutoImbClassifier(resampling=["smote", SVMSMOTE(k_neighbors=3)])
    assert clone(classifier).resampling[1].k_neighbors == 3


class Subclass(SMOTE):
    """A sampler that imbalanced-learn does not export."""


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (SMOTE(k_neighbors=NearestNeighbors()), "k_neighbors of SMOTE must be .*NearestNeighbors"),
        (SMOTE(sampling_strategy=len), "sampling_strategy of SMOTE must be .*built-in"),
        (SMOTENC(categorical_features=[0]), r"categorical_features of SMOTENC .*got \[0\]"),
        (SMOTE(k_neighbors=-1), "'k_neighbors' parameter of SMOTE must be .*-1"),
        (Subclass(), "by class name: ADASYN, .*got Subclass"),
        (SVMSMOTE, "as instances or by class name.*got <class"),
        (7, "resampling takes none, .*got 7"),
        ("SVMSMOT", "'SVMSMOT'. Did you mean 'SVMSMOTE'.*Choices: none.*ADASYN.*class names"),
        ("FunctionSampler", "Unknown resampling option 'FunctionSampler'"),
        ("SMOTE(k=3)", "Unknown parameter of SMOTE 'k'"),
        ("SMOTE(k_neighbors=__import__('os').getpid())", "is written like SVMSMOTE"),
    ],
)
def test_what_is_refused(sampler: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        restricted_components({"resampling": ["none", sampler]})


@pytest.mark.parametrize("name", ["Popen", "SMOTEENN(smote=SMOTE())"])
@pytest.mark.parametrize("read", [read_strategy, Strategy.from_json])
def test_json_makes_nothing_but_samplers(read: Callable[[Any], Strategy], name: str) -> None:
    with pytest.raises(OptionError):
        read(strategy_with().to_json() | {"resampling": {"name": name, "params": {}}})


@pytest.mark.parametrize(
    "sampler",
    [SMOTE(sampling_strategy={"maybe": 9}), TomekLinks(sampling_strategy=["maybe"])],
    ids=type_name,
)
def test_a_label_that_the_target_lacks_is_refused(sampler: object) -> None:
    with pytest.raises(OptionError, match=r"class in the sampling_strategy of .* 'maybe'.*yes"):
        AutoImbClassifier(resampling=sampler, **ONE_TRIAL).fit(*numbers_table(40))


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "name"), list(enumerate(SAMPLERS)), ids=SAMPLERS)
def test_every_sampler_gives_valid_rows(number: int, name: str) -> None:
    n_classes = 2 + number % 2
    part = numeric_part(n_classes)
    if name in ("SMOTENC", "SMOTEN"):
        part = mixed_part(n_classes, numbers=0 if name == "SMOTEN" else 4)
    sampler = "InstanceHardnessThreshold(cv=2)" if name.startswith("Instance") else name
    new, repeated = resampled(sampler, part), resampled(sampler, part)
    np.testing.assert_array_equal(new.rows, repeated.rows)
    np.testing.assert_array_equal(new.synthetic_y, repeated.synthetic_y)
    assert (np.diff(new.rows) >= 0).all()
    assert 0 <= new.rows.min() <= new.rows.max() < len(part.y)
    assert set(classes_of(new, part)) == set(part.y)
    assert len(new.synthetic_y) == (0 if new.synthetic is None else new.synthetic.n_rows)
    if name in SELECTING or name == "RandomOverSampler":
        assert new.synthetic is None
    if new.synthetic is not None:
        assert new.synthetic.numbers.dtype == np.float32
        assert new.synthetic.codes.dtype == np.int32
        assert np.isfinite(new.synthetic.numbers).all()
        assert (new.synthetic.codes >= 0).all()
        assert (new.synthetic.codes < np.array(new.synthetic.cardinalities)).all()
        assert new.synthetic.cardinalities == part.encoded.cardinalities
    if name in over_sampling.__all__:
        assert set(new.rows) == set(range(len(part.y)))


@pytest.mark.parametrize(
    "sampler",
    [
        NearMiss(version=2),
        TomekLinks(),
        EditedNearestNeighbours(),
        RandomUnderSampler(random_state=1),
        RandomOverSampler(random_state=1),
        ClusterCentroids(voting="hard", random_state=1),
        SMOTE(random_state=1),
        SMOTETomek(random_state=1),
        SMOTEENN(random_state=1),
    ],
    ids=type_name,
)
def test_rows_are_those_of_imbalanced_learn(sampler: Any) -> None:
    part = numeric_part() if "SMOTE" in type_name(sampler) else mixed_part()
    new = resampled(sampler, part)
    space = part.encoded.matrix().astype(np.float64)
    x, y = clone(sampler).fit_resample(space, part.y)
    real = {row.tobytes() for row in space}
    is_real = np.array([row.tobytes() in real for row in x])
    np.testing.assert_array_equal(
        in_order(space[new.rows], part.y[new.rows]), in_order(x[is_real], y[is_real])
    )
    np.testing.assert_array_equal(new.synthetic_y, y[~is_real])
    if new.synthetic is not None:
        np.testing.assert_allclose(new.synthetic.numbers, x[~is_real, :4], rtol=1e-6)


def test_equal_rows_are_told_apart_by_their_class_and_order() -> None:
    part = numeric_part()
    rare, common = np.flatnonzero(part.y == 1), np.flatnonzero(part.y == 0)
    source = np.arange(len(part.y))
    source[[rare[1], common[0]]] = rare[0]
    new = resampled("SMOTE", replace(part, encoded=part.encoded.take(source)))
    np.testing.assert_array_equal(new.rows, np.arange(len(part.y)))


def test_neighbours_are_as_many_as_the_rarest_class_has() -> None:
    part = numeric_part()
    common, rare = np.flatnonzero(part.y == 0), np.flatnonzero(part.y == 1)

    def with_rare_rows(count: int) -> Rows:
        rows = np.concatenate([common, rare[:count]])
        return replace(part, encoded=part.encoded.take(rows), y=part.y[rows])

    assert len(resampled("SMOTE", with_rare_rows(4)).synthetic_y) == 86
    with pytest.raises(InfeasibleError, match="SMOTE needs at least 2 training rows"):
        resampled("SMOTE", with_rare_rows(1))


def test_a_seed_of_the_user_stays_and_the_fold_gives_any_other() -> None:
    part = numeric_part()

    def rows(sampler: object, seed: int) -> bytes:
        return resampled(sampler, part, seed=seed).rows.tobytes()

    assert rows("RandomUnderSampler", 1) != rows("RandomUnderSampler", 2)
    assert rows("RandomUnderSampler(random_state=1)", 5) == rows("RandomUnderSampler", 1)


def test_classes_are_named_by_their_labels() -> None:
    part = numeric_part(3)
    new = resampled(SMOTE(sampling_strategy={"rare": 50, "rarer": 40}), part)
    np.testing.assert_array_equal(np.bincount(classes_of(new, part)), [80, 50, 40])
    new = resampled(RandomUnderSampler(sampling_strategy={"common": 60}), part)
    np.testing.assert_array_equal(np.bincount(classes_of(new, part)), [60, 30, 22])
    noisy = resampled(RandomOverSampler(shrinkage={"rare": 0.5, "rarer": 0.1}), part)
    assert noisy.synthetic is not None


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (SMOTE(sampling_strategy=0.5), "SMOTE can't resample these rows: .*only when the type"),
        ("KMeansSMOTE(cluster_balance_threshold=9.0)", "KMeansSMOTE can't resample these rows"),
    ],
)
def test_what_a_sampler_raises_is_why_it_is_infeasible(sampler: object, message: str) -> None:
    with pytest.raises(InfeasibleError, match=message):
        resampled(sampler, numeric_part(3))


@pytest.mark.parametrize("name", ["SMOTENC", "NearMiss", "RandomOverSampler"])
def test_a_scored_row_reaches_no_training_part(name: str) -> None:
    def part_bytes(dataset: Dataset, fold: int) -> list[bytes]:
        part = Parts(dataset, folds_of(), seed=0).training(fold, Choice(name))
        arrays = (part.encoded.numbers, part.encoded.codes, part.y, part.weight)
        return [array.tobytes() for array in arrays]

    scored = folds_of().folds[1].score
    expected = part_bytes(base_dataset(), 1)
    for dataset in few_changes(scored).values():
        assert part_bytes(dataset, 1) == expected
    visible = changed(scored, label=True, amount=1e12)
    assert part_bytes(visible, 0) != part_bytes(base_dataset(), 0)


# --- tables ---------------------------------------------------------------------------------------


def reason(name: str, columns: list[str], **counts: int) -> str | None:
    """Return why a sampler cannot run on some columns of a table."""
    frame, y = mixed_table("binary", 120)
    schema, _ = infer_schema(frame[columns])
    table = replace(profile(frame[columns], schema, encode_target(y)), **counts)
    return infeasible(strategy_with(resampling=Choice(name)), table)


def test_what_a_kind_of_sampler_needs_of_the_columns() -> None:
    numbers, categories = ["amount", "count"], ["colour", "shop"]
    mixed = numbers + categories
    for name in ("SVMSMOTE", "SMOTEENN", "RandomOverSampler(shrinkage=0.5)", "ClusterCentroids"):
        assert reason(name, mixed).startswith(
            f"{name} needs no categorical columns, as it interpolates numbers; the table has "
            "2 numeric and 2 categorical columns. Use smote"
        )
    assert "has 2 numeric and 0 categorical columns" in reason("SMOTENC", numbers)
    assert "needs categorical columns only" in reason("SMOTEN", mixed)
    for name in (*SELECTING, "RandomOverSampler", "SMOTENC", "ClusterCentroids(voting='hard')"):
        assert reason(name, mixed) is None
    for name in SAMPLERS:
        assert (reason(name, numbers) is None) == (name not in ("SMOTENC", "SMOTEN"))
    assert reason("SMOTEN", categories) is None
    neighbours = reason("NearMiss", ["amount"], n_rows=5_000_000)
    assert "it searches neighbours among all rows" in neighbours
    assert reason("RandomUnderSampler", ["amount"], n_rows=5_000_000) is None


@pytest.mark.slow
@pytest.mark.usefixtures("minimal_work")
@pytest.mark.parametrize(
    ("table", "sampler"),
    [
        ("mixed", SMOTENC(categorical_features="auto", k_neighbors=3)),
        ("numbers", SMOTETomek(sampling_strategy={"yes": 60}, random_state=5)),
    ],
    ids=["mixed", "numbers"],
)
def test_a_sampler_from_fit_to_another_fit(table: str, sampler: Any, tmp_path: Path) -> None:
    X, y = numbers_table()
    if table == "mixed":
        X = mixed_table("binary", len(y))[0]
    clf = AutoImbClassifier(resampling=sampler, cv=2, **ONE_TRIAL).fit(X, y)
    name = read_sampler(sampler)
    assert clf.best_strategy_.resampling == Choice(name)
    assert clf.best_params_["resampling"]["name"] == name
    board = clf.leaderboard()
    assert list(board["resampling"]) == [name]
    clf.report(tmp_path / "report.html")
    assert type_name(sampler) in (tmp_path / "report.html").read_text(encoding="utf-8")
    clf.export(tmp_path / "pipeline.autoimb")
    loaded = load(tmp_path / "pipeline.autoimb")
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    for strategy in (clf.best_strategy_, json.dumps(clf.best_params_), board.iloc[[0]]):
        assert read_strategy(strategy) == clf.best_strategy_


def test_a_sampler_that_cannot_run_gives_its_reason_everywhere() -> None:
    X, y = mixed_table("binary", 150)
    samplers = {"resampling": ["none", SVMSMOTE(), "NearMiss"]}
    clf = AutoImbClassifier(**ONE_TRIAL | PLAINEST | samplers | {"n_trials": 3, "cv": 2})
    message = "SVMSMOTE needs no categorical columns"
    assert message in dry_run(clf, X, y).infeasible["resampling SVMSMOTE"]
    with minimal_work(comparisons=Comparisons(per_strategy=1.0, folds=5)):
        methods = clf.fit(X, y).methods_.set_index("option")
    assert set(methods.index) == {"SVMSMOTE", "NearMiss"}
    assert message in str(methods.loc["SVMSMOTE"].to_dict())
    assert np.isfinite(methods.loc["NearMiss", "gain"])
