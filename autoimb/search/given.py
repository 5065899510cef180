"""What the estimator is given, as a search takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from autoimb.data.conversion import in_pandas
from autoimb.data.groups import column_names, group_codes
from autoimb.data.input_frames import further_rows, named_frame, plain_frame
from autoimb.data.table import check_lengths, row_weights
from autoimb.data.target import encode_target, label_array
from autoimb.data.times import read_times
from autoimb.runtime.pool import LOCAL, Backend
from autoimb.search.parameters import read_callbacks, read_request
from autoimb.search.prepare import Prepared, Table, prepare

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["prepare_given"]


def prepare_given(  # noqa: PLR0913 - the arguments of `fit`
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    eval_set: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    class_counts: Mapping[Any, int] | None = None,
    groups: Any = None,
    time: Any = None,
    gap: Any = None,
    keep_time: bool = False,
    backend: Backend = LOCAL,
) -> Prepared:
    """Check an estimator's parameters and the arguments of its `fit`.

    Parameters
    ----------
    estimator : BaseEstimator
        Its parameters are those of `AutoImbClassifier`; it gets the names and number of columns.
    X, y, sample_weight, eval_set, test, class_counts, groups, time, gap, keep_time
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
    X = in_pandas(X, "X")  # once, as a stream is read
    if eval_set is not None:
        eval_set = in_pandas(eval_set[0], "X"), eval_set[1]
    whole, further = pd.DataFrame(), None
    if groups is not None or time is not None:
        whole, further = plain_frame(X), eval_set and plain_frame(eval_set[0])
    times = read_times(time, whole, further, gap=gap, keep=keep_time)
    apart = column_names(groups) + column_names(time)
    optional = () if times is None else times.optional
    frame = named_frame(estimator, X, reset=True, apart=apart, optional=optional)
    labels = label_array(y)
    check_lengths(frame, labels)
    given = estimator.get_params(deep=False)
    given |= {"groups": column_names(groups), "time": column_names(time), "keep_time": keep_time}
    given |= {"gap": gap if gap is None or isinstance(gap, int | float) else str(gap)}
    request = read_request(given, encode_target(labels).classes, backend=backend)
    read_callbacks(given["callbacks"])
    weight = row_weights(sample_weight, len(frame))
    codes = group_codes(groups, whole, further)
    table = Table(
        frame,
        labels,
        weight,
        further_rows(estimator, eval_set, apart, optional),
        given["kinds"],
        further_rows(estimator, test, apart, optional),
        class_counts,
        codes,
        times,
    )
    return prepare(table, request)
