"""Tree models beside networks: scikit-learn's answers, no leak, a bounded share of the blend."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from autoimb import AutoImbClassifier, load
from autoimb.assessment.judge import Judge
from autoimb.budget import Deadline
from autoimb.cli import main
from autoimb.data.dataset import Dataset
from autoimb.data.folds import Fold, plan_folds
from autoimb.data.schema import Columns, infer_schema, parse
from autoimb.errors import (
    ArtifactError,
    DeadlineExceeded,
    InfeasibleError,
    OptionError,
)
from autoimb.evaluation import trial
from autoimb.evaluation.blend import Mixture, blend
from autoimb.evaluation.limits import Limits, deployable_trees
from autoimb.evaluation.outcome import Cut, Failed, Outcome, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.evaluation.workload import MIN_TREES, forest_trees
from autoimb.partners import trees as trees_module
from autoimb.partners.fit import FoldModels, Growth, _BoostedTrees, _checkpoints, fit_trees
from autoimb.partners.reader import Reader
from autoimb.partners.rows import Binned, Exact, FoldRows
from autoimb.partners.trees import FittedTrees, Nodes, _Tops
from autoimb.pipeline.artifact import save, strategy_arrays, strategy_of
from autoimb.policy import DEFAULT_POLICY, SearchPolicy, Suggestions
from autoimb.randomness import Key, Purpose, stream
from autoimb.report.build import render
from autoimb.runs.folder import RunFolder
from autoimb.search.history import TrialHistory
from autoimb.search.propose import Agenda, propose
from autoimb.search.request import Request, chosen_partners
from autoimb.search.select import choose
from autoimb.space.draw import Space
from autoimb.space.partner import PARTNER, Forest, Trees
from autoimb.space.strategy import Strategy, partner
from tests.evaluation.test_blend import case as blend_case
from tests.evaluation.test_blend import result_of
from tests.support.pipelines import pipeline, table
from tests.support.studies import complete, evaluate, material, study, with_columns, without
from tests.support.tables import (
    ONE_TRIAL,
    dataset_of,
    judge_of,
    mixed_table,
    outcome_of,
    parts_of,
    short_plan,
    small_trees,
    strategy_with,
)
from tests.training.test_law1 import (
    FOLD,
    FOLDS,
    SCRIPT,
    Stations,
    all_changes,
    assert_blind,
    assert_found,
    base_dataset,
    folds_of,
    leak_in,
    scored_rows,
)

POLICY = SearchPolicy()
MANY = Forest(trees=1_000, min_leaf_rows=1, leaves=64)
SMALL_FOREST = Forest(trees=20, min_leaf_rows=1, leaves=8)
FEW = Trees(learning_rate=0.2, leaves=8, min_leaf_rows=3, l2=1.0, features=0.5)
EXTRA = Forest(trees=50, min_leaf_rows=1, extra=True)
DEEP_FOREST = Forest(trees=50, min_leaf_rows=1)
of_every_kind = pytest.mark.parametrize(
    "option", [FEW, SMALL_FOREST, EXTRA, DEEP_FOREST], ids=["boosted", "bagged", "extra", "deep"]
)


def trains_on(rows: np.ndarray, scored: np.ndarray | None = None) -> Fold:
    """Return a fold that trains on some rows and scores them, unless given others."""
    return Fold(rows, rows if scored is None else scored, rows[:0])


def fitted_on(
    dataset: Dataset,
    folds: Any,
    option: Trees | Forest,
    deadline: Deadline | None = None,
    *,
    iterations: int = 50,
    **settings: Any,
) -> FoldModels:
    measure = settings.pop("measure", lambda *rows: 0.0)  # all checkpoints are equally good
    growth = Growth(iterations, measure, deadline or Deadline())
    return fit_trees(dataset, folds, option, growth, seed=0, **settings)


def boosted(
    dataset: Dataset, rows: np.ndarray, option: Trees = FEW, iterations: tuple[int, ...] = (5, 30)
) -> _BoostedTrees:
    trees = _BoostedTrees(FoldRows(dataset, trains_on(rows), None, Binned), option, 3)
    for number in iterations:  # each continues from the one before
        trees.grow(number)
    trees.mark_best()
    return trees


def with_gaps(kind: str, n_rows: int) -> Dataset:
    """Return a table whose training rows lack numbers and levels."""
    frame, y = mixed_table(kind, n_rows)
    frame = frame.astype({"colour": object, "paid": object})
    frame.loc[::7, ["amount", "colour", "paid", "count"]] = None
    return dataset_of(frame, y)


def new_rows() -> Any:
    """Return rows with levels that training lacked, missing values, and numbers out of range."""
    frame, _ = mixed_table("binary", 300, seed=5)
    frame = frame.astype({"colour": object, "shop": object, "paid": object, "count": float})
    frame.loc[:40, ["colour", "shop"]] = "never seen"
    frame.loc[20:60, ["amount", "colour", "paid"]] = None
    frame.loc[50:80, "count"] = 1e12
    schema, _ = infer_schema(mixed_table("binary", 200)[0])
    return parse(frame, schema)


def restored(trees: FittedTrees) -> FittedTrees:
    options = {"numbers": trees.reader.numbers, "bagged": trees.bagged}
    return FittedTrees.from_arrays(trees.to_arrays(), "trees", **options)


def proba_of(trees: FittedTrees, columns: Columns) -> np.ndarray:
    return trees.predictor()(*trees.reader.read(columns))


# --- the same answers as scikit-learn's -----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "leaves"),
    [("binary", 3), ("binary", 8), ("multiclass", 16), ("binary", 32), ("multiclass", 300)],
)
def test_boosted_trees_answer_as_scikit_learns_do(kind: str, leaves: int) -> None:
    dataset = dataset_of(*mixed_table(kind, 900))
    assert {len(levels) for levels in dataset.columns.vocabularies} >= {2, 40}
    rows = np.arange(0, 900, 2 if leaves <= 64 else 1)
    grown = boosted(dataset, rows, replace(FEW, leaves=leaves))
    trees = grown.fitted()
    assert_uses_all_kinds_of_splits(trees)
    assert trees.nodes.sizes.max() > leaves / 4
    assert (trees.path_nodes[1] > 0) == (leaves > 64)
    columns = new_rows()
    x = trees.reader.read(columns)[0][: columns.n_rows]
    assert np.isnan(x[:, : trees.reader.codes]).any()
    assert np.isnan(x[:, trees.reader.codes :]).any()
    places = grown.rows.inputs.read(x)
    scores = trees.scorer()(x)
    expected = grown.model.decision_function(places)
    scored = scores[:, 1] if kind == "binary" else scores
    np.testing.assert_allclose(scored, expected, rtol=1e-12, atol=1e-12)
    proba = trees.posterior(scores)
    np.testing.assert_allclose(proba, grown.model.predict_proba(places), rtol=0, atol=1e-14)


def assert_uses_all_kinds_of_splits(trees: FittedTrees) -> None:
    column = trees.nodes.column[trees.nodes.column >= 0]
    assert (column < trees.reader.codes).any()
    assert (column >= trees.reader.codes).any()
    assert set(np.unique(trees.nodes.left >> 7)) == {0, 1}


def sklearns(rows: FoldRows, option: Forest, n_trees: int) -> Any:
    """Return the fitted forest of scikit-learn of the first fold."""
    forest = ExtraTreesClassifier if option.extra else RandomForestClassifier
    model = forest(
        n_trees,
        max_leaf_nodes=option.leaves,
        min_samples_leaf=option.min_leaf_rows,
        max_features="sqrt",
        random_state=int(Key(0, fold=0).stream(Purpose.TREES).integers(2**31)),
    )
    return model.fit(rows.inputs.x, rows.y, sample_weight=rows.weight)


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("binary", Forest(20, 1, leaves=60)),
        ("multiclass", Forest(20, 1, leaves=60)),
        ("multiclass", Forest(20, 1)),
        ("binary", Forest(20, 5)),
        ("binary", Forest(20, 1, extra=True)),
        ("multiclass", Forest(20, 5, extra=True)),
    ],
)
def test_forests_answer_as_scikit_learns_do(kind: str, option: Forest) -> None:
    """Shares in leaves are rounded to float16, and those of all rows count like another tree."""
    dataset, fold = with_gaps(kind, 900), trains_on(np.arange(0, 900, 2))
    pure = option.leaves is None and option.min_leaf_rows == 1
    if pure:  # noise grows deep trees
        noise = np.random.default_rng(0).integers(0, dataset.n_classes, 900)
        dataset = replace(dataset, y=noise)
    (forest,) = fitted_on(dataset, [fold], option, iterations=20).folds
    assert (forest.path_nodes[1] > 0) == pure
    rows = FoldRows(dataset, fold, None, Exact)
    assert not np.isnan(rows.inputs.x).any()
    columns = new_rows()
    x, copied = forest.reader.read(columns)
    assert np.isnan(x).any()
    assert len(copied)
    prior = np.bincount(rows.y) / len(rows.y)
    expected = 20 * sklearns(rows, option, 20).predict_proba(rows.inputs.read(x)) + prior
    expected = forest.reader.average(expected / 21, copied)
    proba = proba_of(forest, columns)
    # Most shares of pure leaves are 0 or 1, which need no rounding.
    np.testing.assert_allclose(proba, expected, rtol=0, atol=3e-5 if pure else 3e-4)
    assert_uses_all_kinds_of_splits(forest)
    np.testing.assert_array_equal(proba_of(restored(forest), columns), proba)


@pytest.mark.parametrize("option", [EXTRA, DEEP_FOREST, replace(SMALL_FOREST, trees=50)])
def test_forests_compare_numbers_as_scikit_learn_does(option: Forest) -> None:
    """Rows at each threshold, next to it in float32, and next to it in float64."""
    random = np.random.default_rng(0)
    integers = random.integers(2**24 - 50, 2**24 + 50, 400).astype(np.float64)
    frame = pd.DataFrame({"integer": integers, "number": random.normal(size=400)})
    y = (random.random(400) < 0.3).astype(np.int64)
    dataset, fold = dataset_of(frame, y), trains_on(np.arange(400))
    (forest,) = fitted_on(dataset, [fold], option).folds
    rows = FoldRows(dataset, fold, None, Exact)
    model = sklearns(rows, option, 50)
    trees = [tree.tree_ for tree in model.estimators_]
    at = np.concatenate([tree.threshold[tree.feature >= 0] for tree in trees])
    singles = at.astype(np.float32)
    beside = [np.nextafter(singles, np.float32(end)) for end in (-np.inf, np.inf)]
    values = np.concatenate([at, *(np.nextafter(at, end) for end in (-np.inf, np.inf))])
    values = np.concatenate([values, singles, *beside, [1e300, -1e300]])
    x = np.stack([values, random.permutation(values)], axis=1)
    shares = [
        tree.value[:, 0, 1][leaf] / tree.value[leaf, 0].sum(axis=1)
        for tree, leaf in zip(trees, model.apply(rows.inputs.read(x)).T)
    ]
    expected = np.float16(np.stack(shares)).astype(float).sum(axis=0) + y.mean()
    np.testing.assert_allclose(forest.scorer()(x)[:, 1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_rows", [1, 2, 1_023, 1_025])
def test_rows_beside_a_row_do_not_change_its_scores(n_rows: int) -> None:
    trees = boosted(dataset_of(*mixed_table("binary", 300)), np.arange(300)).fitted()
    x = np.random.default_rng(0).normal(size=(2_048, trees.reader.width))
    x[:, : trees.reader.codes] = 0
    score = trees.scorer()
    np.testing.assert_array_equal(score(x[:n_rows]), score(x)[:n_rows])


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_blocks_of_trees_add_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = boosted(dataset_of(*mixed_table(kind, 300)), np.arange(300)).fitted()
    x, _ = trees.reader.read(new_rows())
    (whole,) = trees.nodes.blocks()
    assert all(map(np.array_equal, whole, trees.nodes))
    scores = trees.scorer()(x)
    monkeypatch.setattr(trees_module, "_TABLE_WORDS", 100)
    blocks = trees.nodes.blocks()
    assert len(blocks) > 3
    assert all(map(np.array_equal, Nodes.joined(blocks), trees.nodes))
    np.testing.assert_allclose(trees.scorer()(x), scores, rtol=1e-12, atol=1e-12)


@of_every_kind
@pytest.mark.parametrize("present", [[1], [0, 2], [1, 2]])
def test_a_class_that_training_lacks_gets_next_to_nothing(
    option: Trees | Forest, present: list[int]
) -> None:
    dataset = dataset_of(*mixed_table("multiclass", 300))
    rows = np.flatnonzero(np.isin(dataset.y, present))
    (proba,) = fitted_on(dataset, [trains_on(rows, np.arange(300))], option).posteriors
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert set(np.flatnonzero(proba.max(axis=0) > 1e-9)) == set(present)


@pytest.mark.parametrize(
    ("stumps", "tolerance"),
    [(replace(FEW, min_leaf_rows=10**6), 1e-6), (Forest(50, 1, leaves=2), 0.05)],
)
def test_costs_are_taken_back(stumps: Trees | Forest, tolerance: float) -> None:
    """They weigh the rows; before they are put on, probabilities are those of the table."""
    dataset = dataset_of(*mixed_table("binary", 400))
    folds = plan_folds(dataset.y, cv=2, random_state=0).folds
    for costs in (None, (1.0, 9.0)):
        models = fitted_on(dataset, folds, stumps, class_costs=costs)
        mean = np.concatenate(models.posteriors)[:, 1].mean()
        assert mean == pytest.approx((dataset.y == 1).mean(), abs=tolerance)


def test_the_first_trees_are_those_of_a_shorter_growth() -> None:
    dataset = dataset_of(*mixed_table("multiclass", 300))
    grown = boosted(dataset, np.arange(300))
    x = grown.rows.rows[:300]
    staged = list(grown.model.staged_predict_proba(grown.rows.inputs.read(x)))
    for iterations in (1, 5, 17):
        first = grown.fitted(iterations * 3)
        proba = first.posterior(first.scorer()(x))
        np.testing.assert_allclose(proba, staged[iterations - 1], atol=1e-14)


@of_every_kind
@pytest.mark.parametrize("empty", ["number_names", "category_names"])
def test_tables_of_one_kind_of_columns(option: Trees | Forest, empty: str) -> None:
    dataset = dataset_of(*mixed_table("binary", 200))
    dataset = with_columns(dataset, without(dataset.columns, empty))
    (trees,) = fitted_on(dataset, [trains_on(np.arange(200))], option).folds
    proba = proba_of(trees, dataset.columns)
    assert proba[dataset.y == 1, 1].mean() > proba[dataset.y == 0, 1].mean()


@of_every_kind
def test_a_level_that_training_lacks_is_an_average_one(option: Trees | Forest) -> None:
    random = np.random.default_rng(0)
    levels = random.choice(["a", "b", "c", "d"], 4_000, p=[0.1, 0.2, 0.3, 0.4])
    rates = {"a": 0.6, "b": 0.2, "c": 0.1, "d": 0.02}
    y = (random.random(4_000) < [rates[level] for level in levels]).astype(np.int64)
    frame = pd.DataFrame({"number": random.normal(size=4_000), "level": levels})
    (trees,) = fitted_on(dataset_of(frame, y), [trains_on(np.arange(4_000))], option).folds
    predict = partial(proba_of, trees)
    schema, _ = infer_schema(frame)
    unseen = predict(parse(frame.assign(level="e"), schema))[:, 1]
    assert unseen.mean() == pytest.approx(y.mean(), rel=0.3)
    by_level = [predict(parse(frame.assign(level=name), schema))[:, 1] for name in "abcd"]
    assert (unseen <= np.max(by_level, axis=0) + 1e-12).all()
    assert (unseen >= np.min(by_level, axis=0) - 1e-12).all()
    two = parse(frame.iloc[:2].assign(level=["e", "d"]), schema)
    alone = [predict(two.take(np.array([row]))) for row in (0, 1)]
    np.testing.assert_allclose(predict(two), np.concatenate(alone), rtol=1e-12)
    np.testing.assert_array_equal(proba_of(restored(trees), two), predict(two))


@of_every_kind
def test_columns_without_a_value_in_training_do_no_harm(option: Trees | Forest) -> None:
    frame, y = mixed_table("binary", 200)
    frame = frame.astype({"colour": object})
    frame.loc[:99, ["amount", "colour"]] = None
    dataset = dataset_of(frame, y)
    (trees,) = fitted_on(dataset, [trains_on(np.arange(100))], option).folds
    proba = proba_of(trees, dataset.columns)
    assert np.isfinite(proba).all()


def test_rows_of_no_weight_have_no_say() -> None:
    dataset = dataset_of(*mixed_table("binary", 400))
    dataset = with_columns(dataset, without(dataset.columns, "category_names"))
    half = np.arange(400) % 2 == 0
    turned = np.where(half, dataset.y, 1 - dataset.y)
    weighted = replace(dataset, y=turned, weight=np.where(half, 2.0, 0.0))
    proba = proba_of(boosted(weighted, np.arange(400)).fitted(), dataset.columns)
    assert proba[dataset.y == 1, 1].mean() > 2 * proba[dataset.y == 0, 1].mean()


# --- growing --------------------------------------------------------------------------------------


def test_growing_ends_where_no_checkpoint_is_better() -> None:
    dataset = dataset_of(*mixed_table("binary", 200))
    folds = plan_folds(dataset.y, cv=3, random_state=0).folds
    measured = []

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        measured.append(len(y))
        return 0.0

    grown = fitted_on(dataset, folds, FEW, iterations=800, measure=measure)
    assert len(measured) < 3 * len(_checkpoints(800))
    assert not grown.cut


@of_every_kind
def test_nothing_is_fitted_after_the_deadline(option: Trees | Forest) -> None:
    dataset = dataset_of(*mixed_table("binary", 200))
    folds = plan_folds(dataset.y, cv=3, random_state=0).folds
    with pytest.raises(DeadlineExceeded):
        fitted_on(dataset, folds, option, Deadline.after(-1))


def test_a_deadline_during_the_growth_leaves_the_best_trees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = dataset_of(*mixed_table("binary", 200))
    plan = short_plan(dataset, 3)
    clock = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    strategy = partner("small_trees", costs=False)
    task = Task(dataset, plan, judge_of(dataset, plan))
    outcome = trial.evaluate(task, Trial(strategy, Deadline(30.0)))
    assert isinstance(outcome, Cut)
    assert outcome.best is not None


def test_of_more_classes_a_forest_has_fewer_trees() -> None:
    dataset = dataset_of(*mixed_table("multiclass", 200))
    plan = short_plan(dataset, 3)
    plan = replace(plan, operations=1e15)
    assert forest_trees(dataset, plan, MANY) == MANY.trees // 2
    with pytest.raises(InfeasibleError, match="at most 20 classes, got 21"):
        forest_trees(replace(dataset, n_classes=21), plan, MANY)


@pytest.mark.parametrize("name", ["small_trees", "medium_trees"])
def test_trees_score_every_row_once(name: str) -> None:
    dataset = dataset_of(*mixed_table("binary", 800))
    plan = short_plan(dataset, plan_folds(dataset.y, random_state=0))
    outcome = outcome_of(partner(name, costs=False), dataset, plan)
    assert isinstance(outcome, Scored)
    assert outcome.fitted is not None
    assert len(outcome.fitted.trees) == len(plan.folds.folds)
    assert outcome.oof.min() > 0  # no row was left out
    raw = outcome.oof if outcome.finishing is None else outcome.finishing.raw
    columns = dataset.columns
    for trees, fold in zip(outcome.fitted.trees, plan.folds.folds):
        np.testing.assert_allclose(proba_of(trees, columns.take(fold.score)), raw[fold.score])


# --- no leak --------------------------------------------------------------------------------------


def observed(dataset: Dataset, option: Trees | Forest = FEW) -> Stations:
    """Return all that predicts the rows of one fold, the other folds' values being scripted."""
    calls = iter(range(10**6))

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        checkpoint, fold = divmod(next(calls), FOLDS)
        return float(proba[y == 1, 1].mean() if fold == FOLD else SCRIPT[checkpoint, fold])

    iterations = 40 if isinstance(option, Trees) else option.trees
    models = fitted_on(dataset, folds_of().folds, option, iterations=iterations, measure=measure)
    trees = models.folds[FOLD]
    return {
        "trees": (trees.to_arrays(), trees.reader.numbers),
        "posterior": proba_of(trees, base_dataset().columns),
    }


@of_every_kind
def test_a_scored_row_reaches_nothing_in_its_trees(option: Trees | Forest) -> None:
    assert_blind(partial(observed, option=option), base_dataset(), all_changes(scored_rows()))


@leak_in(Reader, "fit")
def leaky_reader(fit, dataset, rows):
    """Reads the levels of all rows."""
    n_rows = len(dataset.y)
    unlabelled = replace(dataset, y=np.zeros(n_rows, int), weight=np.ones(n_rows))
    return fit(unlabelled, np.arange(n_rows))[0], fit(dataset, rows)[1]


def test_a_planted_leak_is_found() -> None:
    changes = all_changes(scored_rows())
    assert_found(leaky_reader, "trees", observed, base_dataset(), changes)


def test_a_hold_out_is_chosen_by_rows_that_nobody_scores() -> None:
    dataset = dataset_of(*mixed_table("binary", 300))
    (fold,) = plan_folds(
        dataset.y, cv=[(np.arange(200), np.arange(200, 300))], random_state=0
    ).folds
    measured = []

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        measured.append(y)
        return -float(len(measured))

    grown = fitted_on(dataset, [fold], FEW, iterations=200, measure=measure)
    assert all(np.array_equal(y, dataset.y[fold.choose]) for y in measured)
    assert grown.posteriors[0].shape == (len(fold.score), 2)


def test_a_training_row_has_no_part_in_its_own_statistics() -> None:
    """Nor have the rows of its inner fold: those are drawn as for networks."""
    dataset, rows = dataset_of(*mixed_table("binary", 200)), np.arange(200)
    fold = stream(Purpose.STATISTIC_ROWS, 0).permutation(200) % 5
    turned = replace(dataset, y=np.where(rows == 7, 1 - dataset.y, dataset.y))
    first, second = (Reader.fit(data, rows) for data in (dataset, turned))
    column = first[0].codes + first[0].numbers
    assert column < first[0].width
    same = fold == fold[7]
    np.testing.assert_array_equal(first[1][same, column], second[1][same, column])
    assert (first[1][:, column] != second[1][:, column]).any()


# --- the file -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["small_trees", "deep_extra_trees"])
def fitted(request: pytest.FixtureRequest) -> Any:
    return small_trees(request.param)


def test_a_blend_with_trees_is_saved_and_loaded(fitted: Any, tmp_path: Path) -> None:
    before = replace(
        pipeline(), strategies=(*pipeline().strategies, fitted), weights=(0.3, 0.1, 0.6)
    )
    save(before, tmp_path / "a.autoimb")
    after = load(tmp_path / "a.autoimb")
    frame = table(60, random_state=3)
    np.testing.assert_array_equal(after.predict_proba(frame), before.predict_proba(frame))
    assert f"trees, {fitted.strategy['network']['name']}" in after.describe()
    assert after.inspect()["strategies"][2]["weight"] == 0.6
    save(after, tmp_path / "b.autoimb")
    assert (tmp_path / "a.autoimb").read_bytes() == (tmp_path / "b.autoimb").read_bytes()


def test_damaged_trees_are_refused(fitted: Any) -> None:
    arrays, part = strategy_arrays(fitted), fitted.part()
    split = int(np.argmax(arrays["trees.0.column"] >= 0))  # the first
    edits = {
        # of another column, no column, a leaf with nodes below it, a split without any
        "column": [(split, 99), (split, -2), (split, -1), (-1, 0)],
        "threshold": [(-1, np.nan), (-1, -np.inf)],
        "answer": [(-1, np.nan), (-1, np.inf)],
        "output": [(0, 2), (0, -1)],
        "baseline": [(0, np.nan), (0, np.inf)],
        "log_prior": [(0, np.inf)],
        "shares.2": [(0, 2.0)],
    }
    resized = (*Nodes._fields, "baseline", "log_prior", "tables.1", "shares.2")
    for name in dict.fromkeys((*edits, *resized)):
        array = arrays[f"trees.0.{name}"]
        variants = [array[:-1], np.concatenate([array, array[:1]]), array.astype(np.int8)]
        for place, value in edits.get(name, []):
            variants.append(array.copy())
            variants[-1][place] = value
        for variant in variants:
            with pytest.raises(ArtifactError):
                strategy_of(part, arrays | {f"trees.0.{name}": variant})


def test_trees_of_other_columns_are_refused(fitted: Any, tmp_path: Path) -> None:
    reader = fitted.trees[0].reader
    for wrong in (
        replace(reader, numbers=reader.numbers + 1),
        replace(
            reader,
            levels=(*reader.levels, ("a",)),
            tables=(*reader.tables, None),
            shares=(*reader.shares, None),
        ),
    ):
        forged = replace(fitted, trees=(replace(fitted.trees[0], reader=wrong), *fitted.trees[1:]))
        path = tmp_path / "a.autoimb"
        save(replace(pipeline(), strategies=(forged,), weights=(1.0,)), path)
        with pytest.raises(ArtifactError):
            load(path)


def test_a_file_of_deep_trees_predicts_the_same_in_a_new_process(tmp_path: Path) -> None:
    deep = small_trees("deep_extra_trees")
    before = replace(pipeline(), strategies=(deep,), weights=(1.0,))
    save(before, tmp_path / "a.autoimb")
    frame = table(60, random_state=3)
    frame.to_parquet(tmp_path / "x.parquet")
    code = (
        "import sys, numpy, pandas, autoimb\n"
        "rows = pandas.read_parquet('x.parquet')\n"
        "numpy.save('p.npy', autoimb.load('a.autoimb').predict_proba(rows))\n"
        "assert not {'sklearn', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), before.predict_proba(frame))


def test_a_deep_tree_holds_splits_and_shares_alone() -> None:
    deep = small_trees("deep_extra_trees").trees[0]
    types = {name: array.dtype.name for name, array in deep.nodes._asdict().items()}
    assert types == {
        "column": "int16",
        "threshold": "float32",
        "left": "uint8",
        "answer": "float16",
        "output": "int64",
    }
    assert ((deep.nodes.answer >= 0) & (deep.nodes.answer <= 1)).all()


# --- deep forests ---------------------------------------------------------------------------------


def test_the_first_trees_of_a_forest_are_those_of_a_smaller_one() -> None:
    dataset, fold = dataset_of(*mixed_table("multiclass", 300)), trains_on(np.arange(300))
    large, small = (
        fitted_on(dataset, [fold], EXTRA, iterations=number).folds[0] for number in (12, 5)
    )
    first = large.take(0, 5)
    assert first.n_trees == small.n_trees == 5
    for name, array in small.to_arrays().items():
        np.testing.assert_array_equal(array, first.to_arrays()[name])


@pytest.mark.parametrize(("room", "n_trees"), [(30, 10), (4, 4)])
def test_as_many_trees_predict_a_row_out_of_fold_as_a_new_row(room: int, n_trees: int) -> None:
    dataset = dataset_of(*mixed_table("binary", 300))
    folds = plan_folds(dataset.y, cv=3, random_state=0).folds
    whole = fitted_on(dataset, folds, EXTRA, iterations=30)
    growth = Growth(30, lambda *rows: 0.0, Deadline(), lambda fold, trees: room, deployed_folds=3)
    models = fit_trees(dataset, folds, EXTRA, growth, seed=0)
    for fold, grown, deployed, proba in zip(folds, whole.folds, models.folds, models.posteriors):
        rows = dataset.columns.take(fold.score)
        parts = [grown.take(k * n_trees, (k + 1) * n_trees) for k in range(3)]
        assert deployed.n_trees == n_trees
        np.testing.assert_array_equal(proba_of(parts[0], rows), proba_of(deployed, rows))
        expected = np.mean([proba_of(part, rows) for part in parts], axis=0)
        np.testing.assert_allclose(proba, expected, rtol=1e-12)


def test_a_forest_of_the_only_deployed_fold_keeps_all_its_trees() -> None:
    dataset = dataset_of(*mixed_table("binary", 300))
    folds = plan_folds(dataset.y, cv=3, random_state=0).folds
    models = fitted_on(dataset, folds, EXTRA, iterations=30)
    for fold, trees, proba in zip(folds, models.folds, models.posteriors):
        assert trees.n_trees == 30
        np.testing.assert_array_equal(proba_of(trees, dataset.columns.take(fold.score)), proba)


def test_a_limit_decides_how_many_trees_are_deployed() -> None:
    dataset = dataset_of(*mixed_table("binary", 600))
    plan = short_plan(dataset, 3)
    (grown,) = fitted_on(dataset, [plan.folds.folds[0]], EXTRA, iterations=200).folds
    parts = parts_of(dataset, plan)

    def deployed(megabytes: float | None, seconds: float | None = None) -> int:
        limits = Limits.of(dataset, plan, seconds=seconds, megabytes=megabytes)
        number = deployable_trees(0, grown, parts=parts, plan=plan, limits=limits)
        if megabytes is not None:  # a third, in each of three folds; trees differ in size
            size = sum(array.nbytes for array in grown.take(0, number).nodes)
            assert size <= 1.1 * 1e6 * megabytes / 3 / 3
        return number

    assert MIN_TREES / 3 <= deployed(0.5) < deployed(1.0) < deployed(50.0) == 200
    assert MIN_TREES / 3 <= deployed(None) <= 200
    assert MIN_TREES / 3 <= deployed(None, seconds=0.01) < 200
    with pytest.raises(InfeasibleError, match=f"at least {MIN_TREES} are needed"):
        deployed(0.01)


def test_a_deep_forest_without_time_for_enough_trees_is_infeasible() -> None:
    dataset = dataset_of(*mixed_table("binary", 600))
    plan = short_plan(dataset, 3)
    assert forest_trees(dataset, plan, EXTRA) == EXTRA.trees
    with pytest.raises(InfeasibleError, match="time for 0 deep trees"):
        forest_trees(dataset, replace(plan, operations=1.0), EXTRA)


def test_the_rows_of_a_leaf_are_an_option() -> None:
    few, many = (small_trees("deep_extra_trees", min_samples_leaf=number) for number in (1, 20))
    assert many.strategy["network"]["params"] == {"min_samples_leaf": 20}
    nodes = [sum(len(trees.nodes.column) for trees in part.trees) for part in (few, many)]
    assert nodes[1] < nodes[0] / 2


@pytest.mark.parametrize("name", PARTNER.names)
def test_leaves_have_at_least_so_many_rows(name: str) -> None:
    dataset = dataset_of(*mixed_table("binary", 400))
    dataset = with_columns(dataset, without(dataset.columns, "category_names"))
    strategy = partner(name, costs=False, min_samples_leaf=25)
    assert Strategy.from_json(strategy.to_json()) == strategy
    option, rows = PARTNER.make(strategy.network), np.arange(400)
    (trees,) = fitted_on(dataset, [trains_on(rows)], option, iterations=5).folds
    x, _ = trees.reader.read(dataset.columns)
    leaf = _Tops(trees.nodes, trees.reader.codes)(x.astype(trees.nodes.threshold.dtype))
    assert (trees.nodes.column[leaf] < 0).all()
    counts = np.unique(leaf, return_counts=True)[1]
    assert len(counts) > 2 * trees.n_trees
    assert counts.min() >= 25
    default = partner(name, costs=False)
    assert default.network.values["min_samples_leaf"] == (
        {"large_trees": 8}.get(name, 3) if isinstance(option, Trees) else 1
    )


@pytest.mark.parametrize("rows", [0, 1_001, 2.5, True, None])
def test_the_rows_of_a_leaf_are_a_whole_number(rows: Any) -> None:
    with pytest.raises(OptionError, match=r"min_samples_leaf .* whole number from 1 to 1,000; got"):
        Request(min_samples_leaf=rows)


# --- the blend ------------------------------------------------------------------------------------


def case(
    tree_noise: float, metric: str = "average_precision", *, rows: int = 2_000, n_trees: int = 1
) -> tuple[Judge, dict[int, Scored]]:
    """Return the judge and results of four networks, 0 to 3, and of tree models up to 9."""
    judge, results = blend_case(metric, n=rows, k=4, rate=0.1)
    for number in range(10 - n_trees, 10):
        noise = np.random.default_rng(number).normal(0.0, tree_noise, (rows, 2))
        proba = softmax(1.5 * np.eye(2)[judge.y] + noise + np.log([0.9, 0.1]), axis=1)
        results[number] = result_of(judge, proba)
    return judge, results


def networks_of(results: dict[int, Scored]) -> dict[int, Scored]:
    return {number: result for number, result in results.items() if number < 4}


def utility(judge: Judge, results: dict[int, Scored], mixture: Mixture) -> float:
    return judge.utility((mixture.proba, mixture.labels(judge, results)))


@pytest.mark.parametrize("metric", ["average_precision", "f1"])
def test_networks_keep_a_fifth_however_much_better_trees_are(metric: str) -> None:
    judge, results = case(0.1, metric)
    networks, mixture = blend(judge, results, partners=[9])
    assert mixture.weights[9] == pytest.approx(0.8)
    assert sum(mixture.weights.values()) == pytest.approx(1)
    assert len(mixture.weights) > 1
    assert 9 not in networks.weights
    assert utility(judge, results, mixture) > utility(judge, results, networks)
    np.testing.assert_allclose(mixture.proba.sum(axis=1), 1)


def test_trees_that_bring_nothing_are_left_out() -> None:
    judge, results = case(20.0)
    (mixture,) = blend(judge, results, partners=[9])
    (alone,) = blend(judge, networks_of(results))
    assert mixture.weights == alone.weights
    np.testing.assert_array_equal(mixture.proba, alone.proba)


@pytest.mark.parametrize("metric", ["average_precision", "f1"])
@pytest.mark.parametrize("noise", [0.1, 20.0])
def test_few_rare_rows_give_trees_half_whatever_they_say(metric: str, noise: float) -> None:
    judge, results = case(noise, metric, rows=500, n_trees=2)
    (alone,) = blend(judge, networks_of(results))
    networks, mixture = blend(judge, results, partners=[8, 9], deadline=Deadline.after(0.0))
    assert np.bincount(judge.y).min() < DEFAULT_POLICY.sizes.few_rare_rows
    assert (mixture.weights[8], mixture.weights[9]) == (0.25, 0.25)
    assert sum(mixture.weights.values()) == pytest.approx(1)
    partners = (results[8].oof + results[9].oof) / 2
    np.testing.assert_allclose(mixture.proba, (networks.proba + partners) / 2)
    networks, unhurried = blend(judge, results, partners=[8, 9])
    assert networks.weights == alone.weights
    for part, (_, use) in enumerate(judge.parts):
        np.testing.assert_allclose(unhurried.view(results, part)[use], unhurried.proba[use])


def test_half_is_of_the_trees_that_keep_the_limits_with_the_networks() -> None:
    judge, results = case(1.0, rows=500, n_trees=2)
    share = {id(result.fitted): 0.01 for result in results.values()}
    limits = SimpleNamespace(shares=lambda fitted: np.array([share[id(fitted)]]))
    share[id(results[8].fitted)] = 2.0
    assert blend(judge, results, partners=[8, 9], limits=limits)[-1].weights[9] == 0.5
    share[id(results[9].fitted)] = 2.0
    (mixture,) = blend(judge, results, partners=[8, 9], limits=limits)
    assert not {8, 9}.intersection(mixture.weights)


def test_deep_trees_earn_their_part_of_the_half_by_the_likelihood() -> None:
    judge, results = case(1.0, rows=500, n_trees=2)
    useless = results | {8: result_of(judge, np.tile([0.5, 0.5], (500, 1)))}
    _, mixture = blend(judge, useless, partners=[8, 9], deep=[8])
    assert mixture.weights[9] == 0.5
    assert 8 not in mixture.weights
    _, mixture = blend(judge, results | {9: useless[8]}, partners=[8, 9], deep=[8])
    assert (mixture.weights[8], mixture.weights[9]) == (0.25, 0.25)
    assert 8 not in blend(judge, useless, partners=[8], deep=[8])[-1].weights


def test_trees_need_a_network_beside_them() -> None:
    judge, results = case(0.1)
    _, mixture = blend(judge, {0: results[0], 9: results[9]}, partners=[9])
    assert mixture.weights == pytest.approx({9: 0.8, 0: 0.2})


def test_the_single_strategy_is_a_network() -> None:
    judge, results = case(0.1)
    strategies = {n: strategy_with() for n in range(4)} | {9: partner("small_trees", costs=False)}
    assert choose(judge, strategies, results) != 9


def test_a_partner_is_neither_control_nor_method() -> None:
    for costs in (False, True):
        trees = partner("small_trees", costs=costs)
        assert trees.is_partner
        assert not trees.is_control
        assert Strategy.from_json(trees.to_json()) == trees


# --- the search -----------------------------------------------------------------------------------


SOON = SearchPolicy(suggestions=Suggestions(strategies_before_partners=(0, 3, 6)))
THREE = POLICY.suggestions.partners[:3]


def partners_of(result: Any) -> list[Any]:
    return [record for record in result.records if record.stage == "partner"]


def test_a_study_tries_them_beside_its_strategies() -> None:
    alone = study(n_trials=10, policy=SOON)
    result = study(n_trials=10, partners=THREE, policy=SOON)
    trees = partners_of(result)
    assert [record.strategy.network.name for record in trees] == list(THREE)
    assert [record.number for record in trees] == [1, 5, 9]  # one worker: a network comes first
    others = [record for record in result.records if record.stage != "partner"]
    assert len(others) == 10
    planned = [record for record in alone.records if record.stage != "search"]
    assert [r.strategy for r in others[: len(planned)]] == [r.strategy for r in planned]
    assert all(result.results[record.number].fitted is not None for record in trees)


@pytest.mark.parametrize(("seconds", "stage"), [(5.0, "partner"), (3.0, "network")])
def test_with_two_workers_the_first_begins_at_once_unless_time_is_short(
    seconds: float, stage: str
) -> None:
    inputs = material()
    agenda = Agenda(
        task=Task(inputs.dataset, inputs.plan, inputs.judge),
        space=Space.restricted(),
        profile=inputs.profile,
        n_workers=2,
        partners=THREE,
    )
    proposal = propose(TrialHistory(), agenda, left=seconds)
    assert proposal is not None
    assert proposal.record.stage == stage


def test_where_every_network_fails_there_is_nothing() -> None:
    result = study(n_trials=3, partners=("small_trees",), evaluate=only_partners)
    assert result.results == {}


def only_partners(task: Task, trial: Trial) -> Outcome:
    return evaluate(task, trial) if trial.strategy.is_partner else Failed("no network")


def test_a_resumed_study_has_them_and_no_sampler_sees_them(tmp_path: Path) -> None:
    options = {"partners": THREE, "policy": SOON}
    with RunFolder.open(tmp_path / "run", fingerprint="a" * 16) as run:
        before = partners_of(study(run, n_trials=4, **options))
    with RunFolder.open(tmp_path / "run", fingerprint="a" * 16, resume=True) as run:
        result = study(run, n_trials=9, **options)
        stored = optuna.load_study(study_name=None, storage=f"sqlite:///{run.store.path}").trials
    after = partners_of(result)
    assert before
    assert before == after[: len(before)]
    assert [record.strategy.network.name for record in after] == list(THREE)
    for record in after:
        assert result.results[record.number].fitted is not None
    trees = [trial for trial in stored if trial.user_attrs["stage"] == "partner"]
    assert len(trees) == 3
    assert all(trial.state == TrialState.FAIL and not trial.params for trial in trees)


def test_one_that_was_cut_off_is_begun_once_more(tmp_path: Path) -> None:
    for attempt in range(3):
        with RunFolder.open(tmp_path / "run", fingerprint="a" * 16, resume=True) as run:
            options = {"partners": ("small_trees",), "evaluate": killing}
            trees = partners_of(study(run, n_trials=2 + attempt, **options))
        assert [record.status for record in trees] == ["killed"] * min(attempt + 1, 2)


def killing(task: Task, trial: Trial) -> Outcome:
    if trial.strategy.is_partner:
        raise KeyboardInterrupt
    return complete(trial.strategy, task.dataset)


# --- the faces ------------------------------------------------------------------------------------


def test_partners_are_chosen_by_name() -> None:
    assert chosen_partners("auto") == POLICY.suggestions.partners
    assert set(POLICY.suggestions.partners) == set(PARTNER.names)
    assert chosen_partners(None) == ()
    assert chosen_partners("small_trees") == ("small_trees",)
    assert chosen_partners(["small_trees", "large_trees"]) == ("small_trees", "large_trees")
    with pytest.raises(OptionError, match=r"partner.*'catboost'.*auto.*medium_trees"):
        chosen_partners(["catboost"])


@pytest.mark.usefixtures("minimal_work")
@pytest.mark.parametrize(
    ("kind", "trees"),
    [
        ("binary", "small_trees"),
        ("multiclass", "small_trees"),
        ("multiclass", "deep_extra_trees"),
    ],
)
def test_a_search_with_trees(kind: str, trees: str, tmp_path: Path) -> None:
    frame, y = mixed_table(kind, 250)
    search = {**ONE_TRIAL, "n_trials": 2, "partners": trees, "min_samples_leaf": 4, "cv": 3}
    clf = AutoImbClassifier(**search).fit(frame, y)
    board = clf.leaderboard()
    assert sorted(board["stage"]) == ["network", "network", "partner"]
    assert not clf.best_strategy_.is_partner
    assert {
        record.strategy.network.values["min_samples_leaf"]
        for record in clf.records_
        if record.stage == "partner"
    } == {4}
    page = render(clf.facts_)
    assert "Trees alone" in page
    assert ("Networks alone" in page) == (
        clf.facts_.winner["description"].find("networks and trees") > 0
    )
    clf.export(tmp_path / "a.autoimb")
    np.testing.assert_array_equal(
        load(tmp_path / "a.autoimb").predict_proba(frame), clf.predict_proba(frame)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("minimal_work")
def test_the_command_line_knows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame, y = mixed_table("binary", 250)
    data, run = tmp_path / "t.csv", tmp_path / "run"
    frame.assign(bad=np.where(y == 1, "yes", "no")).to_csv(data, index=False)
    words = ["search", str(data), "--target", "bad", "--cv", "2", "--network", "mlp", "--quiet"]
    assert main([*words, "--partners", "catboost", "--n-trials", "1"]) == 2
    assert "medium_trees" in capsys.readouterr().err
    few = ["--n-trials", "2", "--n-jobs", "1", "--out", str(run)]
    assert main([*words, "--partners", "small_trees", "--min-samples-leaf", "5", *few]) == 0
    assert main(["status", str(run)]) == 0
    assert "2 strategies (2 complete), 1 partners" in capsys.readouterr().out
    assert main(["refit", str(run), str(data), "-o", str(tmp_path / "new.autoimb")]) == 0
    old, new = load(run / "pipeline.autoimb"), load(tmp_path / "new.autoimb")
    assert [part.strategy for part in new.strategies] == [part.strategy for part in old.strategies]
    assert main(["options", "partner"]) == 0
    assert "small_trees" in capsys.readouterr().out
