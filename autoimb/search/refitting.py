"""From newer rows to what a pipeline's strategies are trained on again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.errors import TargetError
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.search.prepare import Planned, Table, plan_study, prepare
from autoimb.search.request import Request

__all__ = ["prepare_refit"]


def prepare_refit(
    pipeline: FittedPipeline,
    request: Request,
    frame: pd.DataFrame,
    y: pd.Series | NDArray[Any],
    weight: NDArray[np.float64] | None = None,
) -> Planned:
    """Plan the training of a pipeline's strategies on newer rows.

    Parameters
    ----------
    pipeline : FittedPipeline
        Gives the schema and the classes.
    request : Request
        Of the search that found it.
    frame : DataFrame of shape (n, p)
        The newer rows.
    y : Series or ndarray of shape (n,)
        Their labels.
    weight : ndarray of shape (n,) or None
        Their weights.

    Returns
    -------
    Planned

    Raises
    ------
    TargetError
        Where the classes are not those of the pipeline.
    """
    positive = pipeline.classes[pipeline.positive]
    request = replace(request, pos_label=positive, holdout=None)
    prepared = prepare(Table(frame, y, weight), request, schema=pipeline.schema)
    if list(prepared.target.classes) != list(pipeline.classes):
        raise TargetError(
            f"The pipeline knows the classes {_listed(pipeline.classes)}; the table has "
            f"{_listed(prepared.target.classes)}."
        )
    return plan_study(prepared, time_budget=request.time_budget)


def _listed(labels: NDArray[Any]) -> str:
    return ", ".join(str(label) for label in labels)
