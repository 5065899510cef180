"""Preparation of a study: the user's table is checked, encoded as a dataset, and planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.assessment.checks import CHECKS, Finding
from autoimb.assessment.costs import Costs
from autoimb.assessment.evidence import TableEvidence
from autoimb.assessment.forecast import Forecast, forecast
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.structure import NO_STRUCTURE, Structure, find_structure
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.layout import plan_layout
from autoimb.data.folds import FoldPlan, Rows, plan_folds
from autoimb.data.forward import FIRST_BLOCK, forward_hold_out, plan_forward, rate_blocks
from autoimb.data.profile import Profile, profile
from autoimb.data.rarity import minority_count
from autoimb.data.sample import Sample, reweighted
from autoimb.data.schema import Schema, infer_schema, parse
from autoimb.data.table import read_table, weighing_rows
from autoimb.data.target import (
    Target,
    check_few_numbers,
    encode_target,
    label_array,
    match_labels,
)
from autoimb.data.times import Times
from autoimb.data.values import text_of
from autoimb.errors import OptionError, SchemaError, TargetError
from autoimb.evaluation.basis import Basis, judge_of
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.rates import Unseen
from autoimb.evaluation.workload import make_plan, study_profile, subsampled, trial_operations
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.runtime.pool import LOCAL
from autoimb.search.limiting import limits_of
from autoimb.search.request import Request
from autoimb.search.untouched import GivenTest, Untouched, hold_out
from autoimb.space.draw import Space
from autoimb.training.plan import Plan

__all__ = ["Planned", "Prepared", "Table", "check_table", "plan_study", "prepare"]

# Numbers, and as many one-hot columns, that networks read in each fold with few rare rows
# (reports/design/encoding.md).
_COLUMNS_ON_FEW_RARE_ROWS = 50
# Rows of a sample, left out of the study, that estimate the level of the result
# (reports/design/tables-larger-than-memory.md).
_MAX_UNSEEN_ROWS = 200_000


@dataclass(frozen=True)
class Table:
    """The user's rows before they are checked.

    Parameters
    ----------
    frame : DataFrame of shape (n, p)
        The columns, without the target.
    y : Series or ndarray of shape (n,)
        The labels.
    weight : ndarray of shape (n,) or None
        The user's row weights.
    eval_set : (DataFrame, Series or ndarray) or None
        Rows that choose and score instead of cross-validation.
    kinds : mapping of str to str or None
        Kinds of columns, as set by the user.
    test : (DataFrame, labels) or (DataFrame, labels, weights or None), or None
        Test rows, which only the last line of the report uses.
    class_counts : mapping of label to int or None
        Number of rows of each class in a larger table, of which the rows are a sample that was
        drawn class by class.
    groups : ndarray of shape (n,), int64, or None
        Number of each row's group; the rows of an eval set follow those of the table.
    times : Times or None
        Time of each row, in the same order.
    """

    frame: pd.DataFrame
    y: pd.Series | NDArray[Any]
    weight: NDArray[np.float64] | None = None
    eval_set: tuple[pd.DataFrame, pd.Series | NDArray[Any]] | None = None
    kinds: Mapping[str, str] | None = None
    test: GivenTest | None = None
    class_counts: Mapping[Any, int] | None = None
    groups: Rows | None = None
    times: Times | None = None


@dataclass(frozen=True)
class Prepared:
    """Checked table, folds and metric: everything that is decided before the study is planned.

    Attributes
    ----------
    request : Request
    schema : Schema
    target : Target
    dataset : Dataset
    profile : Profile
    folds : FoldPlan
    metric : Metric
    costs : Costs or None
        The user's misclassification costs.
    notices : tuple of str
        Notices to the user about the table.
    policy : SearchPolicy
    test : Untouched or None
        Test rows, on which none of the other attributes depends.
    rows : ndarray of int64, shape (n,)
        Position of each row of `dataset` among the input rows: those of the table, then those of
        the evaluation set.
    n_given : int
        Number of input rows.
    """

    request: Request
    schema: Schema
    target: Target
    dataset: Dataset
    profile: Profile
    folds: FoldPlan
    metric: Metric
    costs: Costs | None
    notices: tuple[str, ...]
    rows: Rows
    n_given: int
    policy: SearchPolicy = DEFAULT_POLICY
    test: Untouched | None = None

    @property
    def space(self) -> Space:
        """The search space, as restricted by the user."""
        if self.request.strategy is not None:
            return Space.of(self.request.strategy)
        return Space.restricted(dict(self.request.components), costs=self.request.weighs_loss)


def prepare(
    table: Table,
    request: Request,
    *,
    schema: Schema | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> Prepared:
    """Check the table, and derive schema, dataset and folds.

    Parameters
    ----------
    table : Table
        The user's rows.
    request : Request
        Parameters of the search.
    schema : Schema or None
        Schema of an earlier search (``refit``); None infers it from the training rows.
    policy : SearchPolicy, optional
        Constants of the search.

    Returns
    -------
    Prepared
        Sees: all rows except those of a test, for the vocabularies and the layout only. Nothing is
        fitted here.

    Raises
    ------
    InputError
        If a column, label or value cannot be used; the message names it.
    """
    _check_together(table, request)
    retained = weighing_rows(table.weight, len(table.frame))
    if table.class_counts is not None:
        # Invalid counts are reported before rows are held out.
        encode_target(table.y, class_counts=table.class_counts)
    if request.holdout is not None:
        all_rows = (table.frame, label_array(table.y), table.weight)
        test, retained = hold_out(
            all_rows,
            retained,
            request.holdout,
            random_state=request.random_state,
            cluster=table.groups,
            time=None if table.times is None else table.times.values,
        )
        table = replace(table, test=reweighted(Sample(*test, table.class_counts)))
    table = _take(table, retained)
    frame, y, n_eval = _joined(table)
    target = encode_target(y, positive=request.pos_label, class_counts=table.class_counts)
    if not request.allow_many_classes:
        check_few_numbers(target.classes)
    positions = np.concatenate([np.flatnonzero(retained), len(retained) + np.arange(n_eval)])
    folds = _folds(table, request, target, retained, n_eval=n_eval, policy=policy)
    # Kinds and layout are inferred from the training rows; where rows have times, from those of the
    # first block, since later rows are scored.
    first_rows = np.arange(len(frame) - n_eval)
    if table.times is not None:
        first_rows = np.flatnonzero(folds.period == FIRST_BLOCK)
    notices: tuple[str, ...] = ()
    if schema is None:
        schema, notices = infer_schema(
            frame.iloc[first_rows],
            kinds=table.kinds,
            target=request.target,
            optional=() if table.times is None else table.times.optional,
            recurring=table.times is not None and not request.keep_time,
        )
    columns = parse(frame, schema)
    planning = columns
    if table.times is not None:
        planning = parse(frame.iloc[first_rows], schema)
    apart = folds.predefined or len(folds.folds) == 1 or table.groups is not None
    apart = apart and table.times is None
    dataset = Dataset(
        columns=columns,
        y=target.codes,
        weight=_all_weights(table.weight, target),
        n_classes=len(target.classes),
        positive=target.positive,
        layout=plan_layout(
            planning,
            n_classes=len(target.classes),
            screened=_max_columns(target, policy),
            # Folds that are drawn class by class need no check of unseen levels, since their
            # training and scored rows have the same distribution.
            folds=folds.folds if apart else (),
        ),
        sampled_shares=None if table.class_counts is None else target.sampled,
        labels=tuple(text_of(label) for label in target.classes),
        cluster=table.groups,
        times=table.times,
    )
    return Prepared(
        request=request,
        schema=schema,
        target=target,
        dataset=dataset,
        profile=profile(frame, schema, target),
        folds=folds,
        metric=get_metric(
            request.metric,
            n_classes=dataset.n_classes,
            positive=dataset.positive,
            classes=target.classes,
            costs=request.cost_matrix,
        ),
        costs=_costs(request, target),
        notices=(
            *notices,
            *target.notices,
            *_about_sample(target),
            *_about_levels(dataset),
            *_about_metric(request.metric, dataset.n_classes),
            *_about_jobs(request.n_jobs, request.backend),
        ),
        rows=positions.astype(np.int64),
        n_given=len(retained) + n_eval,
        policy=policy,
        test=None if table.test is None else Untouched.of(table.test, schema, target.classes),
    )


def _check_together(table: Table, request: Request) -> None:
    """Raise an error for arguments that exclude each other."""
    if table.class_counts is not None and table.eval_set is not None:
        raise OptionError(
            "class_counts and eval_set exclude each other: a sample is scored on its own rows, by "
            "cross-validation."
        )
    if request.holdout is not None and table.test is not None:
        raise OptionError(
            "test and holdout exclude each other: give the rows, or the share of the table's; "
            f"got both, holdout={request.holdout}."
        )
    if table.times is None:
        return
    if request.cv is not None:
        raise OptionError(
            "cv and time exclude each other: time= plans folds in which no row trains for an "
            f"earlier one; got cv={request.to_json()['cv']!r} as well."
        )
    if request.holdout is not None and table.groups is not None:
        raise OptionError(
            "holdout does not go with both groups and time: give later rows of other groups as a "
            "test instead."
        )


def _folds(
    table: Table,
    request: Request,
    target: Target,
    retained: NDArray[np.bool_],
    *,
    n_eval: int,
    policy: SearchPolicy,
) -> FoldPlan:
    """Plan the folds; where rows have times, those that train precede those that are scored."""
    rows = np.arange(len(target.codes), dtype=np.int64)
    eval_rows = rows[len(rows) - n_eval :] if n_eval else None
    if table.times is None:
        return plan_folds(
            target.codes,
            cv=request.cv,
            random_state=request.random_state,
            eval_rows=eval_rows,
            cluster=table.groups,
            retained=retained,
            policy=policy,
        )
    if eval_rows is not None:
        return forward_hold_out(
            target.codes,
            table.times,
            eval_rows,
            random_state=request.random_state,
            cluster=table.groups,
        )
    return plan_forward(
        target.codes,
        table.times,
        random_state=request.random_state,
        cluster=table.groups,
        policy=policy,
    )


def _about_metric(metric: object, n_classes: int) -> Iterator[str]:
    """Yield a notice where predicting one class for all rows maximizes the metric."""
    if metric == "recall" and n_classes == 2:
        yield (
            "The metric 'recall' is best when every row is called positive, so such labels are "
            "what it chooses; 'recall@precision:0.5' (the recall at a precision) and "
            "'average_precision' also count false alarms."
        )


def _about_jobs(n_jobs: int, backend: str) -> Iterator[str]:
    """Yield a notice where there are more workers than processors."""
    cores = joblib.cpu_count()
    if backend == LOCAL.name and n_jobs > cores:
        yield (
            f"n_jobs={n_jobs} is more than the {cores} processors that may be used: the workers "
            "slow each other down, and each has its own memory; -1 is as many as there are."
        )


def _about_sample(target: Target) -> Iterator[str]:
    """Yield a notice where the rows are a sample of a larger table."""
    n_total, n_sampled = target.counts.sum(), len(target.codes)
    if n_sampled < n_total:
        yield (
            f"{n_sampled:,} rows were drawn from the {n_total:,} of the table, class by class, "
            "each standing for as many as its weight says: more would not fit the memory. What "
            "columns hold, and how much they miss, is what these rows show."
        )


def _about_levels(dataset: Dataset) -> Iterator[str]:
    """Yield a notice where columns are not used because their levels are mostly unseen."""
    columns = dataset.columns
    places = dataset.layout.left_out(len(columns.category_names))
    if places:
        names = ", ".join(repr(columns.category_names[j]) for j in places[:5])
        yield (
            f"{len(places)} column(s) of many levels are not learned from, since most scored rows "
            f"of the given folds have levels that no training row has: {names}"
            f"{', ...' if len(places) > 5 else ''}."
        )


def _max_columns(target: Target, policy: SearchPolicy) -> int | None:
    """Return the largest number of columns of each kind that networks read; None without limit."""
    is_rare = minority_count(np.bincount(target.codes)) < policy.sizes.few_rare_rows
    return _COLUMNS_ON_FEW_RARE_ROWS if is_rare else None


def _take(table: Table, retained: NDArray[np.bool_]) -> Table:
    """Drop the rows of weight 0 and those of a test, and scale the other weights to mean 1."""
    if retained.all() and table.weight is None:
        return table
    weight = None
    if table.weight is not None:
        weight = np.asarray(table.weight, dtype=np.float64)[retained]
        weight = weight / weight.mean()
    # Groups and times also cover the eval set, whose rows follow those of the table and all remain.
    groups, times = table.groups, table.times
    if groups is not None:
        groups = np.concatenate([groups[: len(retained)][retained], groups[len(retained) :]])
    if times is not None:
        further = np.ones(len(times.values) - len(retained), dtype=bool)
        times = times.take(np.concatenate([retained, further]))
    return replace(
        table,
        frame=table.frame.loc[retained],
        y=label_array(table.y)[retained],
        weight=weight,
        groups=groups,
        times=times,
    )


def _joined(table: Table) -> tuple[pd.DataFrame, NDArray[Any], int]:
    """Append the rows of the eval set to the training rows, with columns in training order."""
    frame = read_table(table.frame)
    y = label_array(table.y)
    if table.eval_set is None:
        return frame, y, 0
    eval_frame = read_table(table.eval_set[0])
    missing = [name for name in frame.columns if name not in eval_frame.columns]
    if missing:
        raise SchemaError(f"eval_set lacks the columns {', '.join(missing)}.")
    eval_y = label_array(table.eval_set[1])
    unknown = sorted({str(label) for label in set(eval_y.tolist()) - set(y.tolist())})
    if unknown:
        raise TargetError(f"eval_set has labels that no training row has: {', '.join(unknown)}.")
    # The labels keep the type of the training labels, whatever the type of the eval labels.
    classes, codes = np.unique(y, return_inverse=True)
    codes = np.concatenate([codes, match_labels(eval_y, classes)])
    joined = pd.concat([frame, eval_frame[list(frame.columns)]], ignore_index=True)
    return joined, classes[codes], len(eval_frame)


def _costs(request: Request, target: Target) -> Costs | None:
    """Return the costs of a request; ``"balanced"`` weighs all classes equally."""
    costs = request.costs
    if costs is None:
        return None
    if isinstance(costs, str):
        # The cost of a class is inversely proportional to its number of rows.
        counts = target.counts
        costs = tuple(float(counts.sum() / (len(counts) * count)) for count in counts)
    return Costs.of(costs, in_loss=request.cost_in_loss)


@dataclass(frozen=True)
class Planned:
    """A study that is ready to run.

    Attributes
    ----------
    prepared : Prepared
        Preparation, reduced to the rows of the trials; its profile is that of the whole table.
    plan : Plan
    judge : Judge
        Judge of the rows that the plan scores.
    unseen : Unseen or None
        Rows of a sample that no trial uses; None where there are none to draw.
    time_budget : float or None
        Seconds for which the study is planned.
    expected : Forecast or None
        Expected class rates of future rows; None where rows have no times.
    """

    prepared: Prepared
    plan: Plan
    judge: Judge
    unseen: Unseen | None = None
    time_budget: float | None = None
    expected: Forecast | None = None

    @cached_property
    def limits(self) -> Limits:
        """Deployment limits of the result."""
        prepared = self.prepared
        return limits_of(
            prepared.request, prepared.dataset, self.plan, time_budget=self.time_budget
        )

    @property
    def basis(self) -> Basis:
        """Rows, plan, judge and limits of the trials of the search."""
        return Basis(self.prepared.dataset, self.plan, self.judge, self.limits)

    @property
    def trial_profile(self) -> Profile:
        """Profile of the rows that trials use."""
        return study_profile(self.prepared.profile, self.prepared.dataset, self.plan)


def plan_study(prepared: Prepared, *, time_budget: float | None) -> Planned:
    """Plan a study, with fewer rows where not all of them fit; no clock is read.

    Parameters
    ----------
    prepared : Prepared
    time_budget : float or None
        Seconds of the search.

    Returns
    -------
    Planned
    """
    policy, seed = prepared.policy, prepared.request.random_state
    n_rows = len(prepared.dataset.y)
    dataset, folds, rows = subsampled(
        prepared.dataset, prepared.folds, random_state=seed, time_budget=time_budget, policy=policy
    )
    notices = prepared.notices
    if len(dataset.y) < n_rows:
        notices += (
            f"The search sees {len(dataset.y):,} of the {n_rows:,} rows, the rarer classes whole "
            "as far as possible: more would not fit its time or memory.",
        )
    costs = prepared.costs
    plan = make_plan(
        dataset,
        folds,
        random_state=seed,
        # Where only ensembles are allowed, trials get more work, and there are fewer of them.
        operations=trial_operations(time_budget, policy) * sqrt(prepared.space.min_networks),
        class_costs=None if costs is None else costs.class_costs,
        costs_in_probabilities=costs is None or costs.in_probabilities,
        policy=policy,
    )
    # Class rates that change with time are extrapolated to the rows to come.
    expected = None
    if dataset.times is not None:
        blocks = rate_blocks(dataset.times)
        masses = np.array(
            [
                np.bincount(dataset.y[block_rows], dataset.weight[block_rows], dataset.n_classes)
                for block_rows in (blocks == block for block in np.unique(blocks))
            ]
        )
        expected = forecast(masses, dataset.positive)
    judge = judge_of(
        dataset,
        folds,
        prepared.metric,
        costs=None if costs is None else costs.matrix,
        rates=None if expected is None else expected.rates,
    )
    reduced = replace(
        prepared, dataset=dataset, folds=folds, notices=notices, rows=prepared.rows[rows]
    )
    return Planned(reduced, plan, judge, _unseen(prepared, rows), time_budget, expected)


def check_table(planned: Planned) -> tuple[Finding, ...]:
    """Check the rows and the folds for problems before any trial.

    Sees: all rows of the study, including scored ones. The findings do not influence trials.
    """
    prepared = planned.prepared
    evidence = TableEvidence.of(
        prepared.dataset,
        prepared.folds,
        metric=prepared.metric,
        names=prepared.profile.class_names,
        structure=_structure(planned),
    )
    return CHECKS.run(evidence)


def _structure(planned: Planned) -> Structure:
    """Search for groups or times where the user declared neither them nor the folds."""
    prepared = planned.prepared
    folds, dataset = prepared.folds, prepared.dataset
    declared = dataset.cluster is not None or dataset.times is not None
    if declared or folds.predefined or len(folds.folds) == 1:
        return NO_STRUCTURE
    return find_structure(
        dataset,
        prepared.schema,
        time_budget=planned.time_budget,
        random_state=prepared.request.random_state,
    )


def _unseen(prepared: Prepared, rows: Rows) -> Unseen | None:
    """Draw rows outside the study, as many as there is time to predict.

    Such rows are used only for samples, whose class rates were counted on more rows, and only if
    the probabilities do not include class costs, which shift them away from the rates.
    """
    # The time budget is that of this run, which may differ from that of the plan.
    policy, time_budget = prepared.policy, prepared.request.time_budget
    reserves = policy.reserves
    max_rows = min(_MAX_UNSEEN_ROWS, policy.sizes.max_scored_cells // prepared.dataset.n_classes)
    if time_budget is not None:
        in_time = reserves.unseen_share * time_budget / reserves.test_row_seconds
        max_rows = min(max_rows, int(in_time))
    is_complete = len(rows) == len(prepared.dataset.y)
    moved = prepared.costs is not None and prepared.costs.in_probabilities
    # With times, the mean probabilities are calibrated on the newest rows instead.
    timed = prepared.dataset.times is not None
    if is_complete or prepared.dataset.sampled_shares is None or moved or timed:
        return None
    seed = prepared.request.random_state
    return Unseen.of(prepared.dataset, rows, max_rows=max_rows, random_state=seed)


def _all_weights(weight: NDArray[np.float64] | None, target: Target) -> NDArray[np.float64]:
    """Return the weights of all rows: those of the user, or 1 for an eval set or without weights.

    The rows of a sample also represent the rows of their class that were not drawn, so their
    weights are divided by the sampled share of the class.
    """
    unit = np.ones(len(target.codes), dtype=np.float64)
    if weight is not None:
        unit[: len(weight)] = weight
    if (target.sampled == 1).all():
        return unit
    unit /= target.sampled[target.codes]
    unit /= unit.mean()
    return unit
