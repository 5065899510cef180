"""What the estimator is given, as a search takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoimb.data.given import further_rows, named_frame
from autoimb.data.table import check_lengths, row_weights
from autoimb.data.target import encode_target, label_array
from autoimb.runtime.pool import LOCAL, Backend
from autoimb.search.parameters import read_callbacks, read_request
from autoimb.search.prepare import Prepared, Table, prepare

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["prepare_given"]


def prepare_given(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    eval_set: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    class_counts: Mapping[Any, int] | None = None,
    backend: Backend = LOCAL,
) -> Prepared:
    """Check an estimator's parameters and the arguments of its `fit`.

    Parameters
    ----------
    estimator : BaseEstimator
        Its parameters are those of `AutoImbClassifier`; it gets the names and number of columns.
    X, y, sample_weight, eval_set, test, class_counts
        As in `AutoImbClassifier.fit`.
    backend : Backend
        Where trials run.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        On a table, a target or a parameter that no search can use.
    """
    frame = named_frame(estimator, X, reset=True)
    labels = label_array(y)
    check_lengths(frame, labels)
    given = estimator.get_params(deep=False)
    request = read_request(given, encode_target(labels).classes, backend=backend)
    read_callbacks(given["callbacks"])
    weight = row_weights(sample_weight, len(frame))
    chosen_by, untouched = further_rows(estimator, eval_set), further_rows(estimator, test)
    table = Table(frame, labels, weight, chosen_by, given["kinds"], untouched, class_counts)
    return prepare(table, request)
