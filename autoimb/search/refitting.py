"""Preparation of newer rows to train the strategies of a pipeline again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from autoimb.data.groups import group_codes, without
from autoimb.data.sample import Sample
from autoimb.data.times import read_times
from autoimb.errors import TargetError
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.search.prepare import Planned, Table, plan_study, prepare
from autoimb.search.request import Request

__all__ = ["prepare_refit"]


def prepare_refit(
    pipeline: FittedPipeline, request: Request, rows: Sample, *, time_budget: float | None
) -> Planned:
    """Plan the training of a pipeline's strategies on newer rows.

    Parameters
    ----------
    pipeline : FittedPipeline
        Source of the schema and the classes.
    request : Request
        Request of the search that built the pipeline.
    rows : Sample
        The newer rows, all of them or a sample.
    time_budget : float or None
        Seconds that the original search was planned for.

    Returns
    -------
    Planned

    Raises
    ------
    TargetError
        If the classes are not those of the pipeline.
    """
    positive = pipeline.classes[pipeline.positive]
    request = replace(request, pos_label=positive, holdout=None)
    times = read_times(request.time or None, rows.frame, gap=request.gap, keep=request.keep_time)
    dropped = () if times is None else times.dropped
    table = Table(
        without(rows.frame, (*request.groups, *dropped)),
        rows.y,
        rows.weight,
        class_counts=rows.class_counts,
        groups=group_codes(request.groups or None, rows.frame),
        times=times,
    )
    prepared = prepare(table, request, schema=pipeline.schema)
    if list(prepared.target.classes) != list(pipeline.classes):
        raise TargetError(
            f"The pipeline knows the classes {_listed(pipeline.classes)}; the table has "
            f"{_listed(prepared.target.classes)}."
        )
    return plan_study(prepared, time_budget=time_budget)


def _listed(labels: NDArray[Any]) -> str:
    return ", ".join(str(label) for label in labels)
