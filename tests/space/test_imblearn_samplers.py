"""Samplers of imbalanced-learn as resampling options, by instance and by class name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from imblearn import FunctionSampler, combine, over_sampling, under_sampling
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import (
    ADASYN,
    SMOTE,
    SMOTENC,
    SVMSMOTE,
    BorderlineSMOTE,
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
from autoimb.cli import main
from autoimb.cli.options import listed
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.rows import Encoded
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.errors import InfeasibleError, OptionError
from autoimb.randomness import Purpose, seed_for
from autoimb.search.request import restricted_components
from autoimb.space.draw import infeasible
from autoimb.space.option import Choice
from autoimb.space.reading import read_strategy
from autoimb.space.resampling.component import RESAMPLING, Resampled, Rows
from autoimb.space.resampling.samplers import checked_labels, read_sampler
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts
from tests.cli.test_cli import FAST
from tests.support.programs import python
from tests.support.tables import ONE_TRIAL, mixed_table, parts_of, short_plan, strategy_with
from tests.training.test_law1 import base_dataset, changed, few_changes, folds_of

SAMPLERS = [name for module in (over_sampling, under_sampling, combine) for name in module.__all__]
SELECTING = [name for name in under_sampling.__all__ if name != "ClusterCentroids"]
COUNTS = {"two": (90, 24), "three": (80, 30, 22)}
SEED = 7


def numeric_part(kind: str = "two") -> Rows:
    """Rows of numbers, of which one has an indicator of missing values; the classes overlap."""
    random = np.random.default_rng(3)
    y = random.permutation(np.repeat(np.arange(len(COUNTS[kind])), COUNTS[kind]))
    numbers = (random.normal(size=(len(y), 4)) + 0.9 * y[:, None]).astype(np.float32)
    missing = (random.random((len(y), 1)) < 0.2).astype(np.int32)
    numbers[missing[:, 0] == 1, 0] = 0.0
    return Rows(
        Encoded(numbers, missing, (2,)), y, labels=("common", "rare", "rarer")[: y.max() + 1]
    )


def mixed_part() -> Rows:
    """Rows of numbers and categories."""
    part = numeric_part()
    random = np.random.default_rng(5)
    codes = random.integers(0, 4, (len(part.y), 2)).astype(np.int32)
    return replace(part, encoded=Encoded(part.encoded.numbers, codes, (5, 4)))


def resampled(given: object, part: Rows, *, seed: int = SEED) -> Resampled:
    return RESAMPLING.make(Choice(read_sampler(given)), part, random_state=seed)


def classes_of(new: Resampled, part: Rows) -> np.ndarray:
    return np.concatenate([part.y[new.rows], new.synthetic_y])


def numbers_table(n_rows: int = 150) -> tuple[pd.DataFrame, np.ndarray]:
    frame, y = mixed_table("binary", n_rows)
    labels = np.where(y == 1, "yes", "no")
    return frame[["amount", "count", "day"]], labels


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (SVMSMOTE(), "SVMSMOTE"),
        ("SVMSMOTE", "SVMSMOTE"),
        (SVMSMOTE(k_neighbors=3), "SVMSMOTE(k_neighbors=3)"),
        (SVMSMOTE(k_neighbors=np.int64(3)), "SVMSMOTE(k_neighbors=3)"),
        ("SVMSMOTE(out_step=.25,  k_neighbors=3)", "SVMSMOTE(k_neighbors=3, out_step=0.25)"),
        (BorderlineSMOTE(kind="borderline-2"), "BorderlineSMOTE(kind='borderline-2')"),
        (SMOTE(sampling_strategy={1: 50}), "SMOTE(sampling_strategy={'1': 50})"),
        (TomekLinks(sampling_strategy=["a", "b"]), "TomekLinks(sampling_strategy=['a', 'b'])"),
        (SMOTENC(categorical_features="auto", k_neighbors=2), "SMOTENC(k_neighbors=2)"),
        (SMOTENC(categorical_features=None), "SMOTENC"),
    ],
)
def test_a_sampler_is_named_as_it_is_written(given: object, name: str) -> None:
    assert read_sampler(given) == name
    assert read_sampler(name) == name
    strategy = strategy_with(resampling=Choice(name))
    values = json.loads(json.dumps(strategy.to_json()))
    assert values["resampling"]["name"] == name.partition("(")[0]
    assert Strategy.from_json(values) == strategy
    assert read_strategy(values) == read_strategy(json.dumps(values)) == strategy
    row = {component: str(getattr(strategy, component)) for component in values}
    assert read_strategy(row) == strategy
    assert not strategy.exact
    assert not strategy.is_control


def test_options_class_names_and_instances_go_together() -> None:
    given = ["smote", "ADASYN", SVMSMOTE(k_neighbors=3)]
    ((component, names),) = restricted_components({"resampling": given})
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
    ("given", "words"),
    [
        (SMOTE(k_neighbors=NearestNeighbors()), "k_neighbors of SMOTE must be .*NearestNeighbors"),
        (SMOTEENN(smote=SMOTE()), r"smote of SMOTEENN must be a number.*JSON; got SMOTE\(\)"),
        (SMOTE(sampling_strategy=len), "sampling_strategy of SMOTE must be .*built-in"),
        (SMOTE(sampling_strategy=float("nan")), "sampling_strategy of SMOTE must be .*nan"),
        (SMOTENC(categorical_features=[0]), r"categorical_features of SMOTENC .*got \[0\]"),
        (SMOTE(k_neighbors=-1), "'k_neighbors' parameter of SMOTE must be .*-1"),
        (FunctionSampler(), "by class name: ADASYN, .*got FunctionSampler"),
        (Subclass(), "by class name: ADASYN, .*got Subclass"),
        (SVMSMOTE, "as instances or by class name.*got <class"),
        (7, "resampling takes none, .*got 7"),
        ("SVMSMOT", "'SVMSMOT'. Did you mean 'SVMSMOTE'.*Choices: none.*ADASYN.*class names"),
        ("smotte", "'smotte'. Did you mean 'smote'.*Choices: none.*ADASYN.*class names"),
        ("FunctionSampler", "Unknown resampling option 'FunctionSampler'"),
        ("SMOTE(k=3)", "Unknown parameter of SMOTE 'k'"),
        ("SMOTE(3)", "is written like SVMSMOTE"),
        ("SMOTE(k_neighbors=__import__('os').getpid())", "is written like SVMSMOTE"),
        ("SMOTE(", "is written like SVMSMOTE"),
    ],
)
def test_what_is_refused(given: object, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        restricted_components({"resampling": given})
    X, y = numbers_table(40)
    with pytest.raises(OptionError, match=words):
        AutoImbClassifier(resampling=["none", given], **ONE_TRIAL).fit(X, y)


@pytest.mark.parametrize(
    "resampling",
    [
        {"name": "FunctionSampler", "params": {}},
        {"name": "SMOTE", "params": {"k": 3}},
        {"name": "Popen", "params": {"args": "true"}},
        "SMOTEENN(smote=SMOTE())",
    ],
)
def test_nothing_else_is_made_from_json(resampling: Any) -> None:
    values = strategy_with().to_json() | {"resampling": resampling}
    with pytest.raises(OptionError):
        read_strategy(values)
    if isinstance(resampling, Mapping):
        with pytest.raises(OptionError):
            Strategy.from_json(values)


def test_a_label_that_the_target_lacks_is_refused() -> None:
    checked_labels("smote", [0, 1])
    checked_labels("SMOTE(sampling_strategy={'1': 50})", [0, 1])
    X, y = numbers_table(40)
    for given in (SMOTE(sampling_strategy={"maybe": 9}), TomekLinks(sampling_strategy=["maybe"])):
        with pytest.raises(OptionError, match=r"class in the sampling_strategy of .* 'maybe'.*yes"):
            AutoImbClassifier(resampling=given, **ONE_TRIAL).fit(X, y)


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(COUNTS))
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_gives_valid_rows(name: str, kind: str) -> None:
    part = numeric_part(kind)
    if name == "SMOTENC":
        part = replace(mixed_part(), y=part.y) if kind == "two" else part
    if name == "SMOTEN":
        part = replace(
            part,
            encoded=Encoded(np.empty((len(part.y), 0), np.float32), mixed_codes(part.y), (5, 4)),
        )
    given = "InstanceHardnessThreshold(cv=2)" if name.startswith("Instance") else name
    new = resampled(given, part)
    again = resampled(given, part)
    np.testing.assert_array_equal(new.rows, again.rows)
    np.testing.assert_array_equal(new.synthetic_y, again.synthetic_y)
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


def mixed_codes(y: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(5)
    return np.column_stack(
        [random.integers(0, 4, len(y)) + (y > 0), random.integers(0, 4, len(y))]
    ).astype(np.int32)


@pytest.mark.parametrize(
    "sampler",
    [
        NearMiss(version=2),
        TomekLinks(),
        EditedNearestNeighbours(),
        RandomUnderSampler(random_state=1),
        RandomOverSampler(random_state=1),
        ClusterCentroids(voting="hard", random_state=1),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_rows_that_are_selected_are_those_of_imbalanced_learn(sampler: Any) -> None:
    part = mixed_part()
    new = resampled(sampler, part)
    x, y = clone(sampler).fit_resample(part.encoded.matrix().astype(np.float64), part.y)
    assert new.synthetic is None
    rows = part.encoded.matrix()[new.rows].astype(np.float64)
    np.testing.assert_array_equal(np.sort(part.y[new.rows]), np.sort(y))
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], x[np.lexsort(x.T)])


@pytest.mark.parametrize(
    "sampler",
    [SMOTE(random_state=1), SMOTETomek(random_state=1), SMOTEENN(random_state=1)],
    ids=lambda sampler: type(sampler).__name__,
)
def test_real_rows_are_told_from_new_ones(sampler: Any) -> None:
    part = numeric_part()
    new = resampled(sampler, part)
    space = np.hstack([part.encoded.numbers, part.encoded.codes]).astype(np.float64)
    x, y = clone(sampler).fit_resample(space, part.y)
    real = {row.tobytes() for row in space}
    is_real = np.array([row.tobytes() in real for row in x])
    assert len(new.rows) == is_real.sum()
    np.testing.assert_array_equal(new.synthetic_y, y[~is_real])
    np.testing.assert_allclose(new.synthetic.numbers, x[~is_real, :4], rtol=1e-6)


def test_equal_rows_are_told_apart_by_their_class_and_order() -> None:
    part = numeric_part()
    numbers = part.encoded.numbers.copy()
    rare, common = np.flatnonzero(part.y == 1), np.flatnonzero(part.y == 0)
    numbers[rare[1]] = numbers[common[0]] = numbers[rare[0]]
    codes = part.encoded.codes.copy()
    codes[rare[1]] = codes[common[0]] = codes[rare[0]]
    new = resampled("SMOTE", replace(part, encoded=Encoded(numbers, codes, (2,))))
    np.testing.assert_array_equal(new.rows, np.arange(len(part.y)))


def test_neighbours_are_as_many_as_the_rarest_class_has() -> None:
    part = numeric_part()
    kept = np.concatenate([np.flatnonzero(part.y == 0), np.flatnonzero(part.y == 1)[:4]])
    few = replace(part, encoded=part.encoded.take(kept), y=part.y[kept])
    assert len(resampled("SMOTE", few).synthetic_y) == 86
    alone = replace(part, encoded=few.encoded.take(np.arange(91)), y=few.y[:91])
    with pytest.raises(InfeasibleError, match="SMOTE needs at least 2 training rows"):
        resampled("SMOTE", alone)


def test_a_given_seed_stays_and_the_fold_gives_any_other() -> None:
    part = numeric_part()

    def rows(given: object, seed: int) -> bytes:
        return resampled(given, part, seed=seed).rows.tobytes()

    assert rows("RandomUnderSampler", 1) != rows("RandomUnderSampler", 2)
    assert rows("RandomUnderSampler(random_state=1)", 5) == rows("RandomUnderSampler", 1)


def test_classes_are_named_by_their_labels() -> None:
    part = numeric_part("three")
    new = resampled(SMOTE(sampling_strategy={"rare": 50, "rarer": 40}), part)
    np.testing.assert_array_equal(np.bincount(classes_of(new, part)), [80, 50, 40])
    new = resampled(RandomUnderSampler(sampling_strategy={"common": 60}), part)
    np.testing.assert_array_equal(np.bincount(classes_of(new, part)), [60, 30, 22])
    noisy = resampled(RandomOverSampler(shrinkage={"rare": 0.5, "rarer": 0.1}), part)
    assert noisy.synthetic is not None
    with pytest.raises(InfeasibleError, match="names the class 'other'"):
        resampled(SMOTE(sampling_strategy={"other": 50}), part)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (SMOTE(sampling_strategy=0.5), "SMOTE can't resample these rows: .*only when the type"),
        ("KMeansSMOTE(cluster_balance_threshold=9.0)", "KMeansSMOTE can't resample these rows"),
    ],
)
def test_what_a_sampler_raises_is_why_it_is_infeasible(given: object, words: str) -> None:
    with pytest.raises(InfeasibleError, match=words):
        resampled(given, numeric_part("three"))


def labelled(dataset: Dataset) -> Dataset:
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(dataset.y))
    return replace(dataset, weight=weight, labels=("no", "yes"))


@pytest.mark.parametrize(
    "name",
    ["SMOTENC", "NearMiss(version=2)", "RandomOverSampler", "ClusterCentroids(voting='hard')"],
)
def test_rows_without_parents_weigh_what_their_class_does(name: str) -> None:
    dataset = labelled(base_dataset())
    parts = parts_of(dataset, short_plan(dataset, folds_of()))
    seen = parts.training(0, Choice(name))
    rows = parts.folds.folds[0].train
    y, weight = dataset.y[rows], dataset.weight[rows]
    seed = seed_for(Purpose.RESAMPLING, parts.seed, fold=0)
    new = RESAMPLING.make(Choice(name), Rows(parts._training_rows(0), y), random_state=seed)
    real = len(new.rows)
    np.testing.assert_array_equal(seen.weight[:real], weight[new.rows])
    means = np.array([weight[y == c].mean() for c in (0, 1)])
    np.testing.assert_allclose(seen.weight[real:], means[new.synthetic_y])
    assert (len(new.synthetic_y) > 0) == (name == "SMOTENC")


@pytest.mark.parametrize(
    "name", ["SMOTENC", "NearMiss", "RandomOverSampler", "EditedNearestNeighbours"]
)
def test_a_scored_row_reaches_no_training_part(name: str) -> None:
    def part_bytes(dataset: Dataset, fold: int) -> list[bytes]:
        parts = Parts(dataset, folds_of(), seed=0)
        part = parts.training(fold, Choice(name))
        arrays = (part.encoded.numbers, part.encoded.codes, part.y, part.weight)
        return [array.tobytes() for array in arrays]

    scored = folds_of().folds[1].score
    wanted = part_bytes(base_dataset(), 1)
    for dataset in few_changes(scored).values():
        assert part_bytes(dataset, 1) == wanted
    other = changed(scored, label=True, amount=1e12)
    assert part_bytes(other, 0) != part_bytes(base_dataset(), 0)


# --- tables ---------------------------------------------------------------------------------------


def test_what_a_kind_of_sampler_needs_of_the_columns() -> None:
    frame, y = mixed_table("binary", 120)

    def reason(name: str, columns: list[str]) -> str | None:
        schema, _ = infer_schema(frame[columns])
        counts = profile(frame[columns], schema, encode_target(y))
        return infeasible(strategy_with(resampling=Choice(name)), counts)

    numbers, categories = ["amount", "count"], ["colour", "shop"]
    mixed = numbers + categories
    words = "SVMSMOTE interpolates numbers and the table has 2 categorical columns; use smote,"
    assert reason("SVMSMOTE", mixed).startswith(words)
    assert reason("SMOTEENN", mixed).startswith("SMOTEENN interpolates numbers")
    assert reason("RandomOverSampler(shrinkage=0.5)", mixed).startswith("RandomOverSampler(shri")
    assert reason("ClusterCentroids", mixed).startswith("ClusterCentroids interpolates")
    assert "has 2 numeric columns and 0 categorical columns" in reason("SMOTENC", numbers)
    assert "and the table has 2 numeric columns; use" in reason("SMOTEN", mixed)
    for name in (*SELECTING, "RandomOverSampler", "SMOTENC", "ClusterCentroids(voting='hard')"):
        assert reason(name, mixed) is None
    for name in SAMPLERS:
        assert (reason(name, numbers) is None) == (name not in ("SMOTENC", "SMOTEN"))
    assert reason("SMOTEN", categories) is None


def test_work_of_all_pairs_is_a_reason_too() -> None:
    frame, y = mixed_table("binary", 120)
    schema, _ = infer_schema(frame)
    large = replace(profile(frame, schema, encode_target(y)), n_rows=5_000_000)
    reason = infeasible(strategy_with(resampling=Choice("NearMiss")), large)
    assert "it searches neighbours among all rows" in reason
    assert infeasible(strategy_with(resampling=Choice("RandomUnderSampler")), large) is None


FLOWS = {
    "over, mixed": ("mixed", SMOTENC(categorical_features="auto", k_neighbors=3)),
    "under, mixed": ("mixed", NearMiss(version=2)),
    "over, numbers": ("numbers", SVMSMOTE(k_neighbors=3)),
    "under, numbers": ("numbers", "TomekLinks"),
    "combined, numbers": ("numbers", SMOTETomek(sampling_strategy={"yes": 60}, random_state=5)),
}


@pytest.mark.usefixtures("least_work")
@pytest.mark.parametrize("flow", FLOWS)
def test_a_sampler_from_fit_to_another_fit(flow: str, tmp_path: Path) -> None:
    columns, given = FLOWS[flow]
    X, y = numbers_table()
    if columns == "mixed":
        X = mixed_table("binary", len(y))[0]
    clf = AutoImbClassifier(resampling=given, cv=2, **ONE_TRIAL).fit(X, y)
    name = read_sampler(given)
    assert clf.best_strategy_.resampling == Choice(name)
    assert clf.best_params_["resampling"]["name"] == name.partition("(")[0]
    board = clf.leaderboard()
    assert list(board["resampling"]) == [name]
    clf.report(tmp_path / "report.html")
    assert name.partition("(")[0] in (tmp_path / "report.html").read_text(encoding="utf-8")
    clf.export(tmp_path / "pipeline.autoimb")
    loaded = load(tmp_path / "pipeline.autoimb")
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    for strategy in (clf.best_strategy_, json.dumps(clf.best_params_), board.iloc[[0]]):
        assert read_strategy(strategy) == clf.best_strategy_
    alone = AutoImbClassifier(strategy=clf.best_params_, cv=2, time_budget=None, random_state=0)
    alone.fit(X, y)
    assert alone.records_[0].score == clf.records_[0].score
    if flow == "over, numbers":
        assert_loads_alone(tmp_path / "pipeline.autoimb")


def assert_loads_alone(path: Path) -> None:
    """Assert that loading a pipeline imports no imbalanced-learn."""
    code = (
        "import sys\nfrom autoimb import load\n"
        f"load({str(path)!r})\nprint('imblearn' in sys.modules)\n"
    )
    assert python("-c", code, check=True).stdout.split() == ["False"]


def test_one_that_can_not_run_says_why_everywhere() -> None:
    X, y = mixed_table("binary", 150)
    clf = AutoImbClassifier(
        resampling=["none", SVMSMOTE(), "NearMiss"],
        network="mlp",
        class_weight="none",
        loss="cross_entropy",
        ensemble="single",
        cv=2,
        n_trials=7,
        time_budget=None,
        partners=None,
        random_state=0,
    )
    planned = dry_run(clf, X, y)
    words = "SVMSMOTE interpolates numbers and the table has"
    assert words in planned.infeasible["resampling SVMSMOTE"]
    clf.fit(X, y)
    board = clf.leaderboard()
    statuses = board.groupby("resampling")["status"].agg(set)
    assert statuses["SVMSMOTE"] == {"infeasible"}
    assert board.loc[board["resampling"] == "SVMSMOTE", "reason"].str.startswith(words).all()
    assert "complete" in statuses["NearMiss"] | statuses["none"]
    methods = clf.methods_.set_index("option")
    assert set(methods.index) == {"SVMSMOTE", "NearMiss"}
    assert words in str(methods.loc["SVMSMOTE"].to_dict())
    assert np.isfinite(methods.loc["NearMiss", "gain"])


@pytest.mark.slow
def test_the_command_line_searches_and_resumes(tmp_path: Path) -> None:
    X, y = numbers_table(120)
    X.assign(fraud=y).to_csv(tmp_path / "train.csv", index=False)
    run = tmp_path / "run"
    words = ["search", str(tmp_path / "train.csv"), "--target", "fraud", "--out", str(run)]
    words += ["--resampling", "SVMSMOTE(k_neighbors=3, out_step=0.25),NearMiss", *FAST]
    assert main([*words, "--trials", "1"]) == 0
    assert main([*words, "--trials", "3", "--resume"]) == 0
    board = pd.read_csv(run / "leaderboard.csv")
    assert len(board) == 3
    names = {"SVMSMOTE(k_neighbors=3, out_step=0.25)", "NearMiss"}
    assert set(board["resampling"]) <= names
    written = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert "SVMSMOTE(k_neighbors=3, out_step=0.25)" in json.dumps(written)
    assert main(["report", str(run), "-o", str(tmp_path / "again.html")]) == 0
    row = json.loads(board.iloc[0].to_json())
    assert (
        main([*words[:4], "--strategy", json.dumps(row), "--out", str(tmp_path / "two"), *FAST[:4]])
        == 0
    )
