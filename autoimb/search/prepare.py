"""Preparation of a search: the table is checked, encoded as a dataset, and planned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import sqrt
from typing import Any

import joblib
import numpy as np
import pandas as pd
from msgspec import structs
from numpy.typing import NDArray

from autoimb.assessment.checks import Finding, run_checks
from autoimb.assessment.costs import Costs
from autoimb.assessment.evidence import TableEvidence
from autoimb.assessment.forecast import Forecast, forecast
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.structure import Structure, find_structure
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.layout import plan_layout
from autoimb.data.folds import FoldPlan, Rows, plan_folds
from autoimb.data.forward import FIRST_BLOCK, forward_hold_out, plan_forward, rate_blocks
from autoimb.data.groups import group_codes, without
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
from autoimb.data.times import Times, read_times
from autoimb.data.values import text_of
from autoimb.errors import OptionError, TargetError
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.task import Task, judge_of, plan_duels
from autoimb.evaluation.workload import make_plan, study_profile, subsampled, trial_operations
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream
from autoimb.runtime.pool import LOCAL
from autoimb.search.request import CHANGEABLE, Request
from autoimb.search.untouched import TestRows, Untouched, held_out
from autoimb.space.draw import Space

__all__ = ["Preparation", "Table", "check_table", "prepare", "table_of"]

# Numbers, and as many one-hot columns, that networks read in each fold with few rare rows
# (reports/design/encoding.md).
_COLUMNS_ON_FEW_RARE_ROWS = 50
# With fewer rows of the rarest class, every score has a wide interval.
_FEW_ROWS = 30
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
    test: TestRows | None = None
    class_counts: Mapping[Any, int] | None = None
    groups: Rows | None = None
    times: Times | None = None


def table_of(
    rows: Sample,
    request: Request,
    *,
    kinds: Mapping[str, str] | None = None,
    test: TestRows | None = None,
) -> Table:
    """Return the table of a file, in which the request names the columns of groups and times."""
    groups, time = request.groups or None, request.time or None
    times = read_times(time, rows.frame, gap=request.gap, keep=request.keep_time)
    dropped = () if times is None else times.dropped
    return Table(
        without(rows.frame, (*request.groups, *dropped)),
        rows.y,
        rows.weight,
        kinds=kinds,
        test=test,
        class_counts=rows.class_counts,
        groups=group_codes(groups, rows.frame),
        times=times,
    )


@dataclass(frozen=True, eq=False)
class Preparation:
    """Checked table and plan of a search: everything that is decided before the first trial.

    Attributes
    ----------
    request : Request
    schema : Schema
    target : Target
    dataset : Dataset
        All rows except those of a test; `task` has those that trials use.
    folds : FoldPlan
        Folds of `dataset`.
    profile : Profile
        Profile of all rows.
    metric : Metric
    table_notices : tuple of str
        Notices to the user about all rows; `notices` has more.
    retained : ndarray of bool
        Mask of the rows of `dataset` among the input rows: those of the table, then those of the
        evaluation set.
    time_budget : float or None
        Seconds for which the study is planned; a resumed search is planned as it was at first.
    policy : SearchPolicy
    test : Untouched or None
        Test rows, on which none of the other attributes depends.
    """

    request: Request
    schema: Schema
    target: Target
    dataset: Dataset
    folds: FoldPlan
    profile: Profile
    metric: Metric
    table_notices: tuple[str, ...]
    retained: NDArray[np.bool_]
    time_budget: float | None
    policy: SearchPolicy = DEFAULT_POLICY
    test: Untouched | None = None

    @property
    def space(self) -> Space:
        """The search space, as restricted by the user."""
        if self.request.strategy is not None:
            return Space.of(self.request.strategy)
        return Space.restricted(dict(self.request.components), costs=self.request.weighs_loss)

    @property
    def costs(self) -> Costs | None:
        """The user's misclassification costs."""
        costs = self.request.costs
        if isinstance(costs, str):
            # "balanced": the cost of a class is inversely proportional to its number of rows.
            counts = self.target.counts
            costs = tuple(float(counts.sum() / (len(counts) * count)) for count in counts)
        return None if costs is None else Costs.of(costs, in_loss=self.request.cost_in_loss)

    @cached_property
    def study(self) -> tuple[Dataset, FoldPlan, Rows]:
        """Rows of the trials, their folds, and their positions in `dataset`; see `subsampled`."""
        return subsampled(
            self.dataset,
            self.folds,
            random_state=self.request.random_state,
            time_budget=self.time_budget,
            policy=self.policy,
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices to the user about the table."""
        notices, n_used, n_rows = list(self.table_notices), len(self.study[2]), len(self.dataset.y)
        if n_used < n_rows:
            notices.append(
                f"The search sees {n_used:,} of the {n_rows:,} rows, the rarer classes whole as "
                "far as possible: more would not fit its time or memory."
            )
        rarest = self.profile.minority_count
        if rarest < _FEW_ROWS:
            notices.append(f"The rarest class has {rarest} rows: expect wide intervals.")
        return tuple(notices)

    @cached_property
    def expected(self) -> Forecast | None:
        """Class rates that are extrapolated to future rows; None where rows have no times."""
        dataset, _, _ = self.study
        if dataset.times is None:
            return None
        blocks = rate_blocks(dataset.times)
        masses = [
            np.bincount(dataset.y[rows], dataset.weight[rows], dataset.n_classes)
            for rows in (blocks == block for block in np.unique(blocks))
        ]
        return forecast(np.array(masses), dataset.positive)

    @property
    def rate_info(self) -> dict[str, Any]:
        """The expected rate of the positive class, as an artifact describes it; empty for None."""
        expected = self.expected
        return {} if expected is None else {"rate": expected.to_info(self.dataset.positive)}

    @cached_property
    def task(self) -> Task:
        """Rows, plan and judge of the trials, fewer rows where not all fit; no clock is read."""
        request, policy, costs = self.request, self.policy, self.costs
        dataset, folds, _ = self.study
        # Where only ensembles are allowed, trials get more work, and there are fewer of them.
        ensembles = sqrt(self.space.min_networks)
        study_plan = make_plan(
            dataset,
            folds,
            random_state=request.random_state,
            operations=trial_operations(self.time_budget, policy) * ensembles,
            class_costs=None if costs is None else costs.class_costs,
            costs_in_probabilities=costs is None or costs.in_probabilities,
            policy=policy,
        )
        expected = self.expected
        judge = judge_of(
            dataset,
            folds,
            self.metric,
            costs=None if costs is None else costs.matrix,
            rates=None if expected is None else expected.rates,
        )
        limits = Limits.of(
            dataset,
            study_plan,
            seconds=request.max_predict_seconds,
            megabytes=request.max_artifact_mb,
        )
        task = Task(dataset, study_plan, judge, limits)
        return task if request.strategy is not None else replace(task, duels=plan_duels(task))

    @property
    def trial_profile(self) -> Profile:
        """Profile of the rows that trials use."""
        return study_profile(self.profile, self.task.dataset, self.task.plan)

    @cached_property
    def unseen(self) -> Rows | None:
        """Rows of `dataset` outside the study, as many as there is time to predict, or None.

        Such rows are used only for samples, whose class rates were counted on more rows, and only
        if the probabilities do not include class costs, which shift them away from the rates. With
        times, the mean probabilities are calibrated on the newest rows instead.

        The numbers of rows are proportional to the weights of the classes in the table. They
        estimate a mean over the table with the smallest error; with equal numbers the mean would
        depend on a few rows of the common classes.
        """
        dataset, (_, _, rows) = self.dataset, self.study
        moved = self.costs is not None and self.costs.in_probabilities
        is_complete = len(rows) == len(dataset.y)
        if is_complete or dataset.sampled_shares is None or moved or dataset.times is not None:
            return None
        max_rows = min(_MAX_UNSEEN_ROWS, self.policy.sizes.max_scored_cells // dataset.n_classes)
        # The time budget is that of this run, which may differ from that of the plan.
        if self.request.time_budget is not None:
            reserves = self.policy.reserves
            seconds = reserves.unseen_share * self.request.time_budget
            max_rows = min(max_rows, int(seconds / reserves.test_row_seconds))
        unused = np.setdiff1d(np.arange(len(dataset.y)), rows)
        mass = np.bincount(dataset.y, dataset.weight, dataset.n_classes).astype(np.float64)
        random, drawn = stream(Purpose.UNSEEN_ROWS, self.request.random_state), []
        for code, share in enumerate(mass / mass.sum()):
            class_rows = unused[dataset.y[unused] == code]
            number = min(round(share * max_rows), len(class_rows))
            drawn.append(random.choice(class_rows, number, replace=False))
        return np.sort(np.concatenate(drawn))

    @property
    def fingerprint(self) -> str:
        """Hash of everything that identifies a search, 16 hexadecimal digits.

        The limits of the search (budget, trials, jobs) and its schedule are not included, as it may
        be resumed with others. The policy and the layout are included, so that a search is not
        resumed with different ones. Constants of modules are not included: they change only with
        the version, which is compared as well.
        """
        dataset, columns, digest = self.dataset, self.dataset.columns, hashlib.sha256()
        arrays: list[NDArray[Any]]
        arrays = [columns.numbers, columns.codes, dataset.y, dataset.weight]
        arrays += [array for array in (dataset.cluster, dataset.time) if array is not None]
        for array in arrays:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        asked = self.request.to_json()
        for name in CHANGEABLE:
            del asked[name]
        content = [asked, columns.number_names, columns.category_names, columns.vocabularies]
        content += [[repr(label) for label in self.target.classes.tolist()]]
        content += [asdict(self.policy), structs.asdict(dataset.layout)]
        content += [] if self.test is None else [self.test.digest]
        digest.update(json.dumps(content, sort_keys=True, default=str).encode())
        return digest.hexdigest()[:16]


def prepare(
    table: Table,
    request: Request,
    *,
    schema: Schema | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> Preparation:
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
    Preparation
        Sees: all rows except those of a test, for the vocabularies and the layout only. Nothing is
        fitted here.

    Raises
    ------
    InputError
        If a column, label or value cannot be used; the message names it.
    """
    _check_together(table, request)
    retained = weighing_rows(table.weight, len(table.frame))
    table, test = _take(table, retained), table.test
    if request.holdout is not None:
        is_test = _held_out(table, request.holdout, request.random_state)
        tested = _take(table, is_test)
        test = reweighted(Sample(tested.frame, tested.y, tested.weight, tested.class_counts))
        table = _take(table, ~is_test)
        retained[retained] = ~is_test
    frame, y = _joined(table)
    target = encode_target(y, positive=request.pos_label, class_counts=table.class_counts)
    if not request.allow_many_classes:
        check_few_numbers(target.classes)
    folds = _folds(table, request, target.codes, retained, policy)
    # Kinds and layout are inferred from the training rows; where rows have times, from those of the
    # first block, since later rows are scored.
    first_rows = np.arange(len(table.frame))
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
    apart = folds.predefined or len(folds.folds) == 1 or table.groups is not None
    is_rare = minority_count(np.bincount(target.codes)) < policy.sizes.few_rare_rows
    dataset = Dataset(
        columns=columns,
        y=target.codes,
        weight=_all_weights(table.weight, target),
        n_classes=len(target.classes),
        positive=target.positive,
        layout=plan_layout(
            columns if table.times is None else parse(frame.iloc[first_rows], schema),
            n_classes=len(target.classes),
            screened=_COLUMNS_ON_FEW_RARE_ROWS if is_rare else None,
            # Folds that are drawn class by class need no check of unseen levels, since their
            # training and scored rows have the same distribution.
            folds=folds.folds if apart and table.times is None else (),
        ),
        sampled_shares=None if table.class_counts is None else target.sampled,
        labels=tuple(text_of(label) for label in target.classes),
        cluster=table.groups,
        times=table.times,
    )
    return Preparation(
        request=request,
        schema=schema,
        target=target,
        dataset=dataset,
        folds=folds,
        profile=profile(frame, schema, target),
        metric=get_metric(
            request.metric,
            n_classes=dataset.n_classes,
            positive=dataset.positive,
            classes=target.classes,
            costs=request.cost_matrix,
        ),
        table_notices=(*notices, *target.notices, *_notices(request, target, dataset)),
        retained=np.append(retained, np.ones(len(frame) - len(table.frame), dtype=bool)),
        time_budget=request.time_budget,
        policy=policy,
        test=None if test is None else Untouched.of(test, schema, target.classes),
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


def _held_out(table: Table, share: float, random_state: int) -> NDArray[np.bool_]:
    """Return the mask of the rows to hold out for the test; those of an eval set are none of it."""
    n_rows = len(table.frame)
    return held_out(
        label_array(table.y),
        share,
        random_state=random_state,
        cluster=None if table.groups is None else table.groups[:n_rows],
        time=None if table.times is None else table.times.values[:n_rows],
    )


def _folds(
    table: Table, request: Request, y: Rows, retained: NDArray[np.bool_], policy: SearchPolicy
) -> FoldPlan:
    """Plan the folds; where rows have times, those that train precede those that are scored."""
    how: dict[str, Any] = {"random_state": request.random_state, "cluster": table.groups}
    # Rows of an eval set follow those of the table.
    eval_rows = None if table.eval_set is None else np.arange(len(table.frame), len(y))
    if table.times is None:
        how |= {"cv": request.cv, "retained": retained, "policy": policy}
        return plan_folds(y, eval_rows=eval_rows, **how)
    if eval_rows is not None:
        return forward_hold_out(y, table.times, eval_rows, **how)
    return plan_forward(y, table.times, policy=policy, **how)


def _notices(request: Request, target: Target, dataset: Dataset) -> Iterator[str]:
    """Yield notices about a sample, levels, the metric and the workers."""
    n_total, n_sampled = target.counts.sum(), len(target.codes)
    if n_sampled < n_total:
        yield (
            f"{n_sampled:,} rows were drawn from the {n_total:,} of the table, class by class, "
            "each standing for as many as its weight says: more would not fit the memory. What "
            "columns hold, and how much they miss, is what these rows show."
        )
    columns = dataset.columns
    places = dataset.layout.left_out(len(columns.category_names))
    if places:
        names = ", ".join(repr(columns.category_names[j]) for j in places[:5])
        yield (
            f"{len(places)} column(s) of many levels are not learned from, since most scored rows "
            f"of the given folds have levels that no training row has: {names}"
            f"{', ...' if len(places) > 5 else ''}."
        )
    if request.metric == "recall" and dataset.n_classes == 2:
        yield (
            "The metric 'recall' is best when every row is called positive, so such labels are "
            "what it chooses; 'recall@precision:0.5' (the recall at a precision) and "
            "'average_precision' also count false alarms."
        )
    cores = joblib.cpu_count()
    if request.backend == LOCAL.name and request.n_jobs > cores:
        yield (
            f"n_jobs={request.n_jobs} is more than the {cores} processors that may be used: the "
            "workers slow each other down, and each has its own memory; -1 is as many as there are."
        )


def _take(table: Table, retained: NDArray[np.bool_]) -> Table:
    """Return the table with some of its rows, and all rows of an eval set."""
    if retained.all():
        return table
    # Groups and times also cover the eval set, whose rows follow those of the table and all remain.
    n_eval = 0 if table.eval_set is None else len(table.eval_set[0])
    with_eval = np.append(retained, np.ones(n_eval, dtype=bool))
    return replace(
        table,
        frame=table.frame.loc[retained],
        y=label_array(table.y)[retained],
        weight=None if table.weight is None else table.weight[retained],
        groups=None if table.groups is None else table.groups[with_eval],
        times=None if table.times is None else table.times.take(with_eval),
    )


def _joined(table: Table) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Append the rows of the eval set to the training rows, with columns in training order."""
    frame, y = read_table(table.frame), label_array(table.y)
    if table.eval_set is None:
        return frame, y
    # The labels keep the type of the training labels, whatever the type of the eval labels.
    classes, codes = np.unique(y, return_inverse=True)
    try:
        codes = np.concatenate([codes, match_labels(table.eval_set[1], classes)])
    except TargetError as error:
        raise TargetError(f"In eval_set: {error}") from error
    eval_frame = read_table(table.eval_set[0])[list(frame.columns)]
    return pd.concat([frame, eval_frame], ignore_index=True), classes[codes]


def _all_weights(weight: NDArray[np.float64] | None, target: Target) -> NDArray[np.float64]:
    """Return the weights of all rows: those of the user, scaled to a mean of 1, or 1.

    Rows of an eval set have no weights of the user.

    The rows of a sample also represent the rows of their class that were not drawn, so their
    weights are divided by the sampled share of the class.
    """
    unit = np.ones(len(target.codes), dtype=np.float64)
    if weight is not None:
        unit[: len(weight)] = weight / weight.mean()
    if (target.sampled == 1).all():
        return unit
    unit /= target.sampled[target.codes]
    unit /= unit.mean()
    return unit


def check_table(preparation: Preparation) -> tuple[Finding, ...]:
    """Check the rows and the folds for problems before any trial.

    Sees: all rows of the study, including scored ones. The findings do not influence trials.
    """
    dataset, folds, _ = preparation.study
    structure = Structure()
    declared = dataset.cluster is not None or dataset.times is not None or folds.predefined
    # Groups and times are searched for where the user declared neither them nor the folds.
    if not declared and len(folds.folds) > 1:
        structure = find_structure(
            dataset,
            preparation.schema,
            time_budget=preparation.time_budget,
            random_state=preparation.request.random_state,
        )
    evidence = TableEvidence(
        dataset,
        folds,
        metric=preparation.metric,
        names=preparation.profile.class_names,
        structure=structure,
    )
    return run_checks(evidence)
