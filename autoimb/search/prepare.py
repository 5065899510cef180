"""From the user's table to what a study needs: checked once, then frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from autoimb.assessment.metrics import Metric, get_metric
from autoimb.data.encoding import plan_layout
from autoimb.data.folds import FoldPlan, plan_folds
from autoimb.data.profile import Profile, profile
from autoimb.data.schema import Schema, infer_schema, parse
from autoimb.data.table import Dataset, Target, encode_target, read_table
from autoimb.data.values import text_of
from autoimb.errors import OptionError, SchemaError, TableError, TargetError, choices
from autoimb.search.request import Costs, Request
from autoimb.space.draw import Space

__all__ = ["Prepared", "Table", "label_codes", "prepare"]


@dataclass(frozen=True)
class Table:
    """The user's rows before anything looks at them.

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
        The user's word on the kind of columns.
    """

    frame: pd.DataFrame
    y: pd.Series | NDArray[Any]
    weight: NDArray[np.float64] | None = None
    eval_set: tuple[pd.DataFrame, pd.Series | NDArray[Any]] | None = None
    kinds: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Prepared:
    """Everything that is decided before the first trial.

    Attributes
    ----------
    request : Request
    schema : Schema
    target : Target
    dataset : Dataset
    profile : Profile
    folds : FoldPlan
    metric : Metric
    costs : tuple or None
        The user's costs as numbers: C of them, or C × C.
    notices : tuple of str
        What the user should know about the table.
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

    @property
    def space(self) -> Space:
        """What may be chosen from, as the user restricted it."""
        return Space.restricted(dict(self.request.rooms), costs=self.costs is not None)


def prepare(table: Table, request: Request, *, schema: Schema | None = None) -> Prepared:
    """Check the table and plan the study.

    Parameters
    ----------
    table : Table
        The user's rows.
    request : Request
        What was asked for.
    schema : Schema or None
        A schema to keep (``refit``); None infers it from the training rows.

    Returns
    -------
    Prepared
        Sees all rows for the vocabulary and the layout only; nothing is fitted here.

    Raises
    ------
    InputError
        Naming the column, label or value that no search can use.
    """
    kept = _weighing_rows(table)
    table = _take(table, kept)
    frame, y, n_eval = _joined(table)
    notices: tuple[str, ...] = ()
    if schema is None:
        training = frame.iloc[: len(frame) - n_eval]
        schema, notices = infer_schema(training, kinds=table.kinds, target=request.target)
    columns = parse(frame, schema)
    target = encode_target(y, positive=request.pos_label)
    dataset = Dataset(
        columns=columns,
        y=target.codes,
        weight=_all_weights(table.weight, len(target.codes)),
        n_classes=len(target.classes),
        positive=target.positive,
        layout=plan_layout(columns),
    )
    rows = np.arange(len(target.codes), dtype=np.int64)
    folds = plan_folds(
        target.codes,
        cv=_kept_splits(request.cv, kept),
        random_state=request.random_state,
        eval_rows=rows[len(rows) - n_eval :] if n_eval else None,
    )
    return Prepared(
        request=request,
        schema=schema,
        target=target,
        dataset=dataset,
        profile=profile(frame, schema, target),
        folds=folds,
        metric=get_metric(request.metric, n_classes=dataset.n_classes, positive=dataset.positive),
        costs=_costs(request.costs, target),
        notices=(*notices, *target.notices),
    )


def _weighing_rows(table: Table) -> NDArray[np.bool_]:
    """Refuse weights that are none, and tell which rows have a weight above 0, shape (n,)."""
    if table.weight is None:
        return np.ones(len(table.frame), dtype=bool)
    weight = np.asarray(table.weight, dtype=np.float64)
    if weight.shape != (len(table.frame),):
        raise TableError(
            f"sample_weight must have the shape ({len(table.frame)},): one number for each row; "
            f"got {weight.shape}."
        )
    bad = ~np.isfinite(weight) | (weight < 0)
    if bad.any():
        row = int(bad.argmax())
        raise TableError(
            f"sample_weight must be finite and not negative; got {weight[row]} in row {row}."
        )
    kept = weight > 0
    if not kept.any():
        raise TableError("sample_weight must not be zero in all rows.")
    return np.asarray(kept)


def _take(table: Table, kept: NDArray[np.bool_]) -> Table:
    """Drop the rows of weight 0, and scale the other weights to mean 1."""
    if table.weight is None:
        return table
    weight = np.asarray(table.weight, dtype=np.float64)[kept]
    return replace(
        table,
        frame=table.frame.loc[kept],
        y=np.asarray(table.y)[kept],
        weight=weight / weight.mean(),
    )


def _kept_splits(cv: object, kept: NDArray[np.bool_]) -> object:
    """Renumber the rows of given splits, (train, test) of the user's table, after the dropping."""
    if kept.all() or not isinstance(cv, Iterable) or isinstance(cv, str) or hasattr(cv, "split"):
        return cv
    place = np.cumsum(kept) - 1

    def renumbered(rows: ArrayLike) -> NDArray[np.int64]:
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(kept):
            raise OptionError(f"cv names rows outside the table, which has {len(kept)} rows.")
        return np.asarray(place[numbers[kept[numbers]]], dtype=np.int64)

    return [(renumbered(train), renumbered(test)) for train, test in cv]


def _joined(table: Table) -> tuple[pd.DataFrame, NDArray[Any], int]:
    """Append the eval rows to the training rows, their columns in the training order."""
    frame = read_table(table.frame)
    y = np.asarray(table.y)
    if table.eval_set is None:
        return frame, y, 0
    eval_frame = read_table(table.eval_set[0])
    missing = [name for name in frame.columns if name not in eval_frame.columns]
    if missing:
        raise SchemaError(f"eval_set lacks the columns {', '.join(missing)}.")
    eval_y = np.asarray(table.eval_set[1])
    unknown = sorted({str(label) for label in set(eval_y.tolist()) - set(y.tolist())})
    if unknown:
        raise TargetError(f"eval_set has labels that no training row has: {', '.join(unknown)}.")
    joined = pd.concat([frame, eval_frame[list(frame.columns)]], ignore_index=True)
    return joined, np.concatenate([y, eval_y]), len(eval_frame)


def _costs(costs: Costs | str | None, target: Target) -> Costs | None:
    """Turn ``"balanced"`` into weights: a class counts as much as any other."""
    if isinstance(costs, str):
        counts = target.counts
        return tuple(float(len(target.codes) / (len(counts) * count)) for count in counts)
    return costs


def _all_weights(weight: NDArray[np.float64] | None, n_rows: int) -> NDArray[np.float64]:
    """Give the rows of an eval set, and those without weights, the weight 1."""
    unit = np.ones(n_rows, dtype=np.float64)
    if weight is not None:
        unit[: len(weight)] = weight
    return unit


def label_codes(y: pd.Series | NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Find the code of each label.

    Parameters
    ----------
    y : Series or ndarray of shape (n,)
        Labels, as values or as their text.
    classes : ndarray of shape (C,)
        The known labels.

    Returns
    -------
    ndarray of shape (n,), int64
        Positions in `classes`.

    Raises
    ------
    TargetError
        On a missing or an unknown label.
    """
    series = pd.Series(np.asarray(y))
    missing = int(series.isna().sum())
    if missing:
        raise TargetError(f"The target misses {missing} of {len(series)} values.")
    known = {label: code for code, label in enumerate(classes.tolist())}
    by_text = {text_of(label): code for label, code in known.items()}
    places, uniques = pd.factorize(series)
    codes = [known.get(label, by_text.get(text_of(label))) for label in uniques.tolist()]
    for label, code in zip(uniques.tolist(), codes):
        if code is None:
            raise TargetError(choices("label", text_of(label), by_text))
    return np.array(codes, dtype=np.int64)[places]
