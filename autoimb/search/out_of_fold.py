"""Out-of-fold predictions of the result, for the rows of the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.evaluation.choose import Winner
from autoimb.search.prepare import Planned

__all__ = ["out_of_fold"]

# Nullable types for the kinds of labels that have no NaN.
_NULLABLE = {"i": "Int64", "u": "UInt64", "b": "boolean"}


def out_of_fold(planned: Planned, winner: Winner) -> pd.DataFrame:
    """Return cross-fitted predictions of the result; their score is not corrected for optimism.

    Parameters
    ----------
    planned : Planned
        The planned search.
    winner : Winner
        Its result. Sees: for each row, the rows of the other folds.

    Returns
    -------
    DataFrame
        One row for each row of the user, those of an evaluation set last. ``row`` is its
        position, ``fold`` the group by which its calibration, its label and the weights of the
        blend are cross-fitted (with cross-validation its fold), ``proba_<class>`` its calibrated
        probabilities, and ``label`` what the decision rule predicts. All but ``row`` are missing
        where a row was not scored.
    """
    prepared, scored = planned.prepared, planned.plan.folds.scored
    rows, classes = prepared.rows[scored], prepared.target.classes
    predictions: dict[str, Any] = {
        "fold": planned.plan.folds.group[scored],
        **{f"proba_{label}": winner.blend.proba[:, code] for code, label in enumerate(classes)},
        "label": _labels(classes, winner.blend.labels),
    }
    frame = pd.DataFrame(predictions).set_axis(rows).astype({"fold": "Int64"})
    frame = frame.reindex(np.arange(prepared.n_given))
    return frame.rename_axis("row").reset_index()


def _labels(classes: NDArray[Any], codes: NDArray[np.int64]) -> pd.Series:
    """Return labels in a type that allows missing values."""
    return pd.Series(classes[codes], dtype=_NULLABLE.get(classes.dtype.kind))
