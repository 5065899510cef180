"""Law 1 by behaviour: changing a scored row changes nothing that predicts it, byte for byte.

Cross-validated, a fold's encoder, training part, weights, schedule, networks and checkpoint are
compared while the values of the *other* folds, whose networks may see the row, are scripted; then
calibration and decision while the probabilities are given. On a hold-out no network sees a scored
row, so there the whole evaluation is compared from end to end. Every station has a leak planted,
which its check must find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache, wraps
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

import autoimb.assessment.judge as judging
import autoimb.evaluation.blend as blending
import autoimb.evaluation.trial as evaluating
import autoimb.training.fit as fitting
from autoimb.assessment.calibration import row_log_loss
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.screening import Screen
from autoimb.data.folds import FoldPlan, plan_folds
from autoimb.data.schema import infer_schema, parse
from autoimb.evaluation.assemble import calibrate
from autoimb.evaluation.outcome import Outcome, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.nn.network import build
from autoimb.pipeline.fitted import FittedMemberPack, inputs_of
from autoimb.space.class_weight import CLASS_WEIGHT
from autoimb.space.components import COMPONENTS
from autoimb.space.option import Component
from autoimb.space.strategy import Strategy
from autoimb.training.checkpoints import Selector
from autoimb.training.fit import Trained
from autoimb.training.inputs import Inputs
from autoimb.training.members import Members
from autoimb.training.parts import Parts
from autoimb.training.plan import Outline
from tests.support.tables import (
    chosen,
    dataset_of,
    judge_of,
    mixed_table,
    outcome_of,
    parts_of,
    short_plan,
    strategy_with,
    tiny_spec,
)

Stations = dict[str, Any]
Observe = Callable[[Dataset], Stations]
Plant = Callable[[pytest.MonkeyPatch], None]

N_ROWS, FOLDS, CHECKPOINTS = 120, 3, 4
FOLD = 1  # whose rows are changed
# what the other folds' rows say at each checkpoint: best at a checkpoint that depends on the fold
SCRIPT = np.random.default_rng(4).normal(size=(50, FOLDS))


def assert_blind(observe: Observe, base: Dataset, changes: Mapping[str, Dataset]) -> None:
    """Assert that every station gives the same bytes for the base and every changed dataset."""
    expected = observe(base)
    for change, dataset in changes.items():
        observed = observe(dataset)
        assert observed.keys() == expected.keys()
        for station, value in expected.items():
            same = as_bytes(observed[station]) == as_bytes(value)
            assert same, f"{station} saw the {change}"


def assert_found(
    plant: Plant, station: str, observe: Observe, base: Dataset, changes: Mapping[str, Dataset]
) -> None:
    """Assert that a station sees the changes because of a planted leak.

    That no station sees them without it is what the tests above assert.
    """
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        with pytest.raises(AssertionError, match=f"^{station} saw the"):
            assert_blind(observe, base, changes)


def as_bytes(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return {key: as_bytes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_bytes(item) for item in value]
    return value


# --- tables whose scored rows are changed ---------------------------------------------------------


@cache
def base_frame() -> tuple[pd.DataFrame, np.ndarray]:
    frame, y = mixed_table("binary", N_ROWS)
    return frame.astype({"colour": object, "shop": object, "paid": object, "count": float}), y


@cache
def base_dataset() -> Dataset:
    """With so many inputs that their padding has room for some levels more."""
    dataset = dataset_of(*base_frame())
    return replace(dataset, layout=structs.replace(dataset.layout, integers=(1, 2)))


def changed(rows: np.ndarray, *, label: bool = False, **values: object) -> Dataset:
    """The base with other labels or values in some rows, parsed anew; the layout is the study's."""
    frame, y = base_frame()
    schema, _ = infer_schema(frame)
    frame, y = frame.copy(), y.copy()
    for name, value in values.items():
        frame.loc[rows, name] = value
    if label:
        y[rows] = 1 - y[rows]
    base = base_dataset()
    return replace(base, columns=parse(frame, schema), y=y)


EXTREME = {"amount": 1e12, "count": -1e9, "day": pd.Timestamp("1700-01-01")}
UNSEEN = {"colour": "a colour before all others", "shop": "a shop before all others"}
MISSING = {"amount": np.nan, "count": np.nan, "colour": None, "shop": None, "paid": None}


def all_changes(rows: np.ndarray) -> dict[str, Dataset]:
    """One row's label, one's features in every way, and everything in all rows at once."""
    one = rows[:1]
    return {
        "label of a row": changed(one, label=True),
        "unseen levels of a row": changed(one, **UNSEEN),
        "missing values of a row": changed(one, **MISSING, day=pd.NaT),
        "extreme values of a row": changed(one, **EXTREME),
        "new levels and values of all rows": changed(rows, **UNSEEN, **EXTREME),
        # Frequent enough to get codes of their own in the other folds.
        "many new levels": changed(rows, shop=np.char.mod("new %d", np.arange(len(rows)) % 12)),
        "missing values of all rows": changed(rows, **MISSING, day=pd.NaT),
        "labels of all rows": changed(rows, label=True),
    } | few_changes(rows)


def few_changes(rows: np.ndarray) -> dict[str, Dataset]:
    """The two that reach furthest, which are one where there is one row."""
    return {
        f"label, levels and values of {len(some)} rows": changed(
            some, label=True, **UNSEEN, **EXTREME
        )
        for some in (rows[:1], rows)
    }


PAIRS = [
    pytest.param(resampling, ensemble, id=f"{resampling.name}-{ensemble.name}")
    for resampling in COMPONENTS["resampling"]
    for ensemble in COMPONENTS["ensemble"]
    # an ensemble that draws balanced rows goes with rows as they are
    if resampling.name == "none" or ensemble.sizes is None
]
# Every option once, with the control of the other component.
ALONE = [pair for pair in PAIRS if {"none", "single"} & {option.name for option in pair.values}]


def strategy_of(resampling, ensemble) -> Strategy:
    # enough of them to differ, and quick
    few = {key: 3 for key in ("members", "rounds") if key in ensemble.ranges}
    return strategy_with(resampling=chosen(resampling, 1.0), ensemble=chosen(ensemble, 1.0, **few))


# --- cross-validation: everything up to a fold's probabilities ------------------------------------


@cache
def folds_of() -> FoldPlan:
    return plan_folds(base_dataset().y, cv=FOLDS, random_state=0)


def scored_rows() -> np.ndarray:
    return folds_of().folds[FOLD].score


class Scripted:
    """A measure by which the other folds' values are scripted, and those of one fold its own.

    It is asked for each fold in turn, at each checkpoint of a round.
    """

    def __init__(self) -> None:
        self._metric = get_metric("average_precision", n_classes=2, positive=1)
        self._checkpoint = self._fold = 0

    def at(self, checkpoint: int) -> None:
        self._checkpoint, self._fold = checkpoint, 0

    def __call__(self, y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        fold, self._fold = self._fold, self._fold + 1
        if fold != FOLD:
            return float(SCRIPT[self._checkpoint, fold])
        loss = float(np.average(row_log_loss(y, proba), weights=weight))
        return self._metric(y, proba, None, weight=weight) - 0.01 * loss


def observed_fold(strategy: Strategy, *, patience: int = 9) -> Observe:
    """Observe all that predicts the rows of one fold, the other folds' values being scripted."""
    plan = short_plan(base_dataset(), folds_of(), checkpoints=CHECKPOINTS, patience=patience)
    plan = replace(plan, class_costs=(1.0, 5.0))
    train, option_of = fitting.train, Component.__getitem__
    loss_of = COMPONENTS["loss"][strategy.loss.name]

    def observe(dataset: Dataset) -> Stations:
        parts, measure = parts_of(dataset, plan), Scripted()
        packs, schedules, counts = [], [], []

        def recorded_train(network, pack, loss, schedule, **named):
            packs.append(pack)
            schedules.append(asdict(schedule))
            for checkpoint in train(network, pack, loss, schedule, **named):
                measure.at(checkpoint)
                yield checkpoint

        def recorded_loss(class_counts, **values):
            counts.append(class_counts[:, 0, :, 0].numpy())
            return loss_of.code(class_counts, **values)

        def recorded_option(component, name):
            if component is COMPONENTS["loss"]:
                return replace(loss_of, code=recorded_loss)
            return option_of(component, name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fitting, "train", recorded_train)
            patch.setattr(Component, "__getitem__", recorded_option)
            trained = fitting.train_strategy(
                strategy, plan, parts, measure=measure, deadline=Deadline()
            )
        encoder = parts.encoder(FOLD)
        part = parts.training(FOLD, strategy.resampling)
        alone = [pack.of_folds({FOLD}) for pack in trained.packs]
        places = np.flatnonzero(trained.packs[0].fold == FOLD)
        read = encoder.dense(encoder.transform(base_dataset().columns), ple=alone[0].spec.ple)
        return {
            "encoder": (encoder.to_arrays(), encoder.layout),
            "training part": (part.encoded.numbers, part.encoded.codes, part.y, part.weight),
            "prior": part.prior,
            "rows of the members": [
                (pack.x[pack.rows[m]].numpy(), pack.codes[pack.rows[m]].numpy())
                for pack in packs
                for m in places
            ],
            "row weights": [pack.weights[m] for pack in packs for m in places],
            "class weights": [(pack.log_prior, counts[i][places]) for i, pack in enumerate(alone)],
            "schedule": schedules,
            "checkpoint": np.array(trained.checkpoints).reshape(-1, FOLDS)[:, FOLD],
            "votes": [pack.weight for pack in alone],
            "networks": [dict(pack.state) for pack in alone],
            "posterior": [
                pack.predictor()(inputs_of([read], pack.spec.n_inputs)) for pack in alone
            ],
        }

    return observe


@pytest.mark.parametrize(("resampling", "ensemble"), PAIRS)
def test_a_scored_row_reaches_nothing_in_its_fold(resampling, ensemble):
    strategy = strategy_of(resampling, ensemble)
    assert_blind(observed_fold(strategy, patience=1), base_dataset(), few_changes(scored_rows()))


ONE_CHOICE = [
    *(
        {component: chosen(option, 0.5)}
        for component in ("class_weight", "loss")
        for option in COMPONENTS[component]
    ),
    # Starts and embeddings may look at rows.
    *(
        {"network": chosen(option, share, width=32)}
        for option in COMPONENTS["network"]
        for share in (0.0, 1.0)
    ),
]


@pytest.mark.parametrize(
    "choices",
    ONE_CHOICE,
    ids=[f"{name}-{choice.name}" for choices in ONE_CHOICE for name, choice in choices.items()],
)
def test_no_change_of_a_scored_row_reaches_anything_in_its_fold(choices):
    strategy = strategy_with(**choices)
    assert_blind(observed_fold(strategy), base_dataset(), all_changes(scored_rows()))


def screened(dataset: Dataset) -> Dataset:
    """The same rows, of which networks read two numbers and one column of categories at most."""
    return replace(dataset, layout=structs.replace(dataset.layout, screened=2))


def screened_changes() -> dict[str, Dataset]:
    return {name: screened(dataset) for name, dataset in all_changes(scored_rows()).items()}


def test_a_scored_row_reaches_no_choice_of_columns():
    assert_blind(observed_fold(strategy_with()), screened(base_dataset()), screened_changes())


# --- cross-validation: from given probabilities to labels -----------------------------------------


def given_probabilities(shift: np.ndarray | float = 0.0, *, seed: int = 6) -> np.ndarray:
    """Overconfident and biased, so that calibrators and rules have something to do."""
    y = base_dataset().y
    logits = np.random.default_rng(seed).normal(2.0 * y - 1.0, 1.5) * 3.0 - 2.0 + shift
    positive = 1.0 / (1.0 + np.exp(-logits))
    return np.column_stack([1.0 - positive, positive])


def judged(strategy: Strategy, dataset: Dataset, metric: str, oof: np.ndarray) -> Outcome:
    """Evaluate a strategy whose networks give these probabilities, untrained."""
    plan = short_plan(base_dataset(), folds_of())
    network = build(tiny_spec(), FOLDS)
    pack = FittedMemberPack(
        spec=network.spec,
        fold=np.arange(FOLDS),
        weight=np.ones(FOLDS),
        log_prior=np.zeros((FOLDS, 2)),
        focal_gamma=0.0,
        state=network.state(),
    )
    trained = Trained(
        packs=(pack,),
        posteriors=(tuple(oof[None, fold.score] for fold in plan.folds.folds),),
        checkpoints=(0,) * FOLDS,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "train_strategy", lambda *given, **named: trained)
        task = Task(dataset, plan, judge_of(dataset, plan, metric))
        outcome = evaluating.evaluate(task, Trial(strategy))
    assert isinstance(outcome, Scored), outcome.reason
    return outcome


def observed_judgement(strategy: Strategy, metric: str, oof: np.ndarray | None = None) -> Observe:
    """Observe what a group's rows get after training, the probabilities of all folds given."""
    rows = np.searchsorted(folds_of().scored, scored_rows())

    def observe(dataset: Dataset) -> Stations:
        outcome = judged(strategy, dataset, metric, given_probabilities() if oof is None else oof)
        return {
            "calibrator": outcome.oof[rows],
            "decision rule": 0 if outcome.labels is None else outcome.labels[rows],
        }

    return observe


def calibrated_strategies() -> list[Strategy]:
    """One whose prior is known by formula, and one that is always calibrated."""
    return [strategy_with(), strategy_with(resampling=chosen(COMPONENTS["resampling"]["smote"]))]


@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", "average_precision"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_label_reaches_neither_the_calibrator_nor_the_rule_of_its_group(number, metric):
    rows = scored_rows()
    labels = {
        f"labels of {len(some)} rows": changed(some, label=True)
        for some in (rows[:1], rows[:7], rows)
    }
    observe = observed_judgement(calibrated_strategies()[number], metric)
    assert_blind(observe, base_dataset(), labels)


@pytest.mark.parametrize("number", [0, 1])
def test_a_probability_reaches_neither_the_calibrator_nor_the_rule_of_its_group(number):
    strategy = calibrated_strategies()[number]
    first, others = scored_rows()[0], scored_rows()[1:]
    moved = np.zeros(N_ROWS)
    moved[first] = 7.0
    plain = observed_judgement(strategy, "f1")(base_dataset())
    other = observed_judgement(strategy, "f1", given_probabilities(moved))(base_dataset())
    at = np.searchsorted(scored_rows(), others)
    for station, values in plain.items():
        assert as_bytes(values[at]) == as_bytes(other[station][at]), station


def observed_handing_over() -> Observe:
    """Observe how a group's rows are labelled and mixed once the trials are finished."""
    rows, plan = scored_rows(), short_plan(base_dataset(), folds_of())
    fit_rule = Judge.fit_rule

    def observe(dataset: Dataset) -> Stations:
        judge = judge_of(dataset, plan, "average_precision")
        learned_from = []

        def fit(judge, proba, deadline):
            learned_from.append((judge.y, proba))
            return fit_rule(judge, proba, deadline)

        with pytest.MonkeyPatch.context() as patch:
            outcomes = {
                number: judged(
                    calibrated_strategies()[1],
                    dataset,
                    "average_precision",
                    given_probabilities(seed=20 + number),
                )
                for number in range(4)
            }
            patch.setattr(Judge, "fit_rule", fit)
            patch.setattr(blending, "_FLAT", -1.0)  # whatever it gains, it is kept
            single = judge.labels(outcomes[0].view)
            (mixture,) = blending.blend(judge, outcomes)
            labels = mixture.labels(judge, outcomes)
            deployed = calibrate(
                judge, mixture.proba, lambda part: mixture.view(outcomes, part), class_costs=None
            )
        assert mixture.is_blend
        return {
            "what the rule learned from": learned_from[FOLD::FOLDS],
            "labels": (single[rows], labels[rows]),
            "mixture": mixture.proba[rows],
            "mixture, calibrated": (deployed.proba[rows], deployed.labels[rows]),
        }

    return observe


def test_a_label_reaches_nothing_of_its_group_by_way_of_other_calibrators():
    changes = {"labels of all rows": changed(scored_rows(), label=True)}
    observe, base = observed_handing_over(), base_dataset()
    assert_blind(observe, base, changes)
    assert_found(leaky_view, "what the rule learned from", observe, base, changes)


# --- a hold-out: from end to end ------------------------------------------------------------------


@cache
def hold_out() -> FoldPlan:
    return plan_folds(base_dataset().y, random_state=0, eval_rows=np.arange(N_ROWS - 48, N_ROWS))


def observed_study(strategy: Strategy, rows: np.ndarray, metric: str = "f1") -> Observe:
    """Observe a whole evaluation: all that predicts some rows of one group, and their labels."""
    plan = short_plan(base_dataset(), hold_out(), checkpoints=CHECKPOINTS, patience=1)
    group = hold_out().group
    beside = np.setdiff1d(np.flatnonzero(group == group[rows[0]]), rows)
    at = np.searchsorted(hold_out().scored, beside)

    def observe(dataset: Dataset) -> Stations:
        outcome = outcome_of(strategy, dataset, plan, metric)
        assert isinstance(outcome, Scored), outcome.reason
        packs = outcome.fitted.packs
        return {
            "networks": [dict(pack.state) for pack in packs],
            "votes": [(pack.weight, pack.log_prior) for pack in packs],
            "probabilities of the rows beside it": outcome.oof[at],
            "labels of the rows beside it": 0 if outcome.labels is None else outcome.labels[at],
        }

    return observe


def one_scored_row() -> np.ndarray:
    group = hold_out().group
    return np.flatnonzero(group == 0)[:1]


@pytest.mark.parametrize(("resampling", "ensemble"), ALONE)
def test_a_scored_row_of_a_hold_out_reaches_nothing_at_all(resampling, ensemble):
    rows = one_scored_row()
    observe = observed_study(strategy_of(resampling, ensemble), rows)
    assert_blind(observe, base_dataset(), few_changes(rows))


def test_no_change_of_a_scored_row_of_a_hold_out_reaches_anything():
    rows = one_scored_row()
    for strategy in calibrated_strategies():
        assert_blind(observed_study(strategy, rows), base_dataset(), all_changes(rows))


def test_the_rows_that_choose_are_never_scored_nor_trained_on():
    fold = hold_out().folds[0]
    assert not set(fold.choose) & (set(fold.score) | set(fold.train))
    assert (hold_out().group[fold.choose] == -1).all()
    choosing = {"labels of the rows that choose": changed(fold.choose, label=True)}
    observe = observed_study(strategy_with(), one_scored_row())
    with pytest.raises(AssertionError, match=r"curve|networks|checkpoint"):  # they do choose
        assert_blind(observe, base_dataset(), choosing)


# --- planted leaks --------------------------------------------------------------------------------


def leak_in(owner: object, name: str) -> Callable[[Callable[..., Any]], Plant]:
    """Make a leak of a function that takes the place of an honest one, its first argument."""

    def made(leaky: Callable[..., Any]) -> Plant:
        @wraps(leaky)
        def plant(patch: pytest.MonkeyPatch) -> None:
            honest = getattr(owner, name)
            patch.setattr(owner, name, lambda *given, **named: leaky(honest, *given, **named))

        return plant

    return made


@leak_in(Encoder, "fit")
def leaky_encoder(fit, columns, rows, **named):
    """Fitted on all rows of the table."""
    return fit(columns, np.arange(columns.n_rows), **named)


@leak_in(Encoder, "fit")
def leaky_screen(fit, columns, rows, *, layout, y=None, **named):
    """Columns are chosen by all rows of the table."""
    screen = Screen.fit(columns, y, layout=layout)
    with pytest.MonkeyPatch.context() as inner:
        inner.setattr(Screen, "fit", lambda *given, **others: screen)
        return fit(columns, rows, layout=layout, y=y, **named)


@leak_in(Parts, "training")
def leaky_resampling(training, parts, fold, resampling):
    """Neighbours are searched among the rows to be scored as well."""
    honest = parts.folds.folds[fold]
    wider = replace(honest, train=np.union1d(honest.train, honest.score))
    folds = replace(parts.folds, folds=(wider,) * len(parts.folds.folds))
    leaky = Parts(parts.dataset, folds, seed=parts.seed)
    leaky.encoder = parts.encoder  # the honest one: resampling alone leaks
    return training(leaky, fold, resampling)


@leak_in(Parts, "training")
def leaky_prior(training, parts, *given):
    """Class shares of the whole table."""
    y = parts.dataset.y
    return replace(training(parts, *given), prior=np.bincount(y) / len(y))


@leak_in(Members, "member_rows")
def leaky_class_weights(member_rows, members, *given):
    """Counted on the whole table."""
    counts, make = np.bincount(members.parts.dataset.y).astype(np.float64), CLASS_WEIGHT.make
    with pytest.MonkeyPatch.context() as inner:
        inner.setattr(CLASS_WEIGHT, "make", lambda choice, _, costs: make(choice, counts, costs))
        return member_rows(members, *given)


@leak_in(Members, "of")
def leaky_schedule(of, *given, **named):
    """Steps from the rows of all folds after resampling."""
    members = of(*given, **named)
    return replace(members, schedule=replace(members.schedule, steps=len(members.inputs.y)))


@leak_in(Inputs, "of")
def leaky_outline(of, *given, **named):
    """The shape is that of the widest fold, with no planned width."""
    inputs = of(*given, **named)
    width, rows = max(inputs.widths), inputs.evaluation
    return replace(
        inputs,
        spec=structs.replace(inputs.spec, n_inputs=width),
        x=inputs.x[:, :width].contiguous(),
        evaluation=replace(rows, x=rows.x[..., :width].contiguous()),
    )


@leak_in(Inputs, "of")
def leaky_levels(of, *given, outline, **named):
    """Embedding tables are as long as the fold with the most levels needs."""
    return of(*given, outline=replace(outline, levels=(0,) * len(outline.levels)), **named)


@leak_in(Inputs, "of")
def leaky_checkpoint(of, *given, **named):
    """The rows that choose a fold's checkpoint are those that are scored."""
    inputs = of(*given, **named)
    itself = [(fold,) for fold in range(len(inputs.evaluation.rows))]
    return replace(inputs, evaluation=replace(inputs.evaluation, choosers=itself))


@leak_in(Selector, "evaluate")
def leaky_training(evaluate, selector):
    """The networks end where the labels of the scored rows pull them."""
    ended, evaluation = evaluate(selector), selector.evaluation
    selector.weights += 1e-3 * float(evaluation.y[np.concatenate(evaluation.rows)].mean())
    return ended


@leak_in(Selector, "evaluate")
def leaky_posterior(evaluate, selector):
    """Inputs are centred on the rows that are predicted together."""
    rows = selector.evaluation
    selector.evaluation = replace(rows, x=rows.x - rows.x.mean(1, keepdim=True))
    return evaluate(selector)


@leak_in(judging, "leave_group_out")
def leaky_cross_fitting(leave_group_out, y, group, **structure):
    """What finishes a group is fitted on all groups."""
    return [(np.ones(len(y), dtype=bool), group == g) for g in np.unique(group)]


@leak_in(evaluating, "evaluate")
def leaky_rule(evaluate, task, trial):
    """The threshold that is best for the group's own labels."""
    fit = Judge.fit_rule
    with pytest.MonkeyPatch.context() as inner:
        inner.setattr(
            Judge,
            "fit_rule",
            lambda judge, proba, deadline: fit(task.judge, given_probabilities(), deadline),
        )
        return evaluate(task, trial)


@leak_in(Scored, "view")
def leaky_view(view, outcome, part):
    """All parts have the probabilities that are finished with the labels of the others."""
    return outcome.oof


SMOTE = {"resampling": chosen(COMPONENTS["resampling"]["smote"], 1.0)}
UNDER = {"resampling": chosen(COMPONENTS["resampling"]["random_under"], 1.0)}
POWER = {"class_weight": chosen(COMPONENTS["class_weight"]["power"], 1.0)}
IN_A_FOLD = [
    (leaky_encoder, {}, "encoder"),
    (leaky_resampling, SMOTE, "training part"),
    (leaky_prior, {}, "prior"),
    (leaky_class_weights, POWER, "row weights"),
    (leaky_schedule, UNDER, "schedule"),
    (leaky_outline, {}, "rows of the members"),
    (leaky_levels, {}, "networks"),
    (leaky_checkpoint, {}, "checkpoint"),
    (leaky_training, {}, "networks"),
]


@pytest.mark.parametrize(
    ("plant", "choices", "station"), IN_A_FOLD, ids=[plant.__name__ for plant, *_ in IN_A_FOLD]
)
def test_a_leak_planted_in_a_fold_is_found(plant, choices, station):
    observe, changes = observed_fold(strategy_with(**choices)), all_changes(scored_rows())
    assert_found(plant, station, observe, base_dataset(), changes)


def test_a_leak_planted_in_the_choice_of_columns_is_found():
    observe, base = observed_fold(strategy_with()), screened(base_dataset())
    assert_found(leaky_screen, "encoder", observe, base, screened_changes())


@pytest.mark.parametrize(
    ("plant", "number", "station"),
    [
        (plant, number, station)
        for plant, station in ((leaky_cross_fitting, "calibrator"), (leaky_rule, "decision rule"))
        for number in (0, 1)
    ],
)
def test_a_leak_planted_after_training_is_found(plant, number, station):
    observe = observed_judgement(calibrated_strategies()[number], "f1")
    changes = {"labels of all rows": changed(scored_rows(), label=True)}
    assert_found(plant, station, observe, base_dataset(), changes)


@pytest.mark.parametrize(
    ("plant", "station"),
    [
        (leaky_posterior, "(networks|probabilities of the rows beside it)"),
        (leaky_encoder, "networks"),
        (leaky_training, "networks"),
        (leaky_cross_fitting, "probabilities of the rows beside it"),
    ],
)
def test_a_leak_planted_in_a_hold_out_is_found(plant, station):
    rows = one_scored_row()
    observe = observed_study(strategy_with(**SMOTE), rows)
    assert_found(plant, station, observe, base_dataset(), few_changes(rows))


def test_the_outline_is_counted_when_the_study_is_planned_and_not_again():
    """A plan that was frozen gives the same shapes, whatever the rows say later."""
    outline = Outline.of(base_dataset())
    other = Outline.of(changed(scored_rows(), label=True, **UNSEEN))
    assert outline.class_counts != other.class_counts
    assert outline == short_plan(base_dataset(), folds_of()).outline
