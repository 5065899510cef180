"""Check of an estimator's parameters and of the arguments of `fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import BaseEstimator

from autoimb.data.groups import column_names, group_codes, without
from autoimb.data.input_frames import further_rows, named_frame
from autoimb.data.table import check_lengths, row_weights
from autoimb.data.target import encode_target, label_array
from autoimb.data.times import read_times
from autoimb.errors import OptionError
from autoimb.runtime.pool import LOCAL, Backend
from autoimb.search.prepare import Preparation, Table, prepare
from autoimb.search.request import read_request
from autoimb.text import shown

__all__ = ["prepare_arguments"]


def prepare_arguments(  # noqa: PLR0913 - the arguments of `fit`
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    eval_set: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    class_counts: Mapping[Any, int] | None = None,
    groups: Any = None,
    time: Any = None,
    gap: Any = None,
    keep_time: bool = False,
    *,
    backend: Backend = LOCAL,
) -> Preparation:
    """Check an estimator's parameters and the arguments of its `fit`, and prepare the search.

    The names and number of columns are stored in the estimator. The arguments are those of
    `AutoImbClassifier.fit`, and the backend that runs the trials.

    Raises
    ------
    InputError
        If the table, the target or a parameter is invalid.
    """
    apart = column_names(groups) + column_names(time)
    frame = named_frame(estimator, X, reset=True, apart=apart)
    labels = label_array(y)
    check_lengths(frame, labels)
    eval_set, test = (further_rows(estimator, rows, apart) for rows in (eval_set, test))
    eval_frame = None if eval_set is None else eval_set[0]
    times = read_times(time, frame, eval_frame, gap=gap, keep=keep_time)
    parameters = estimator.get_params(deep=False) | {
        "groups": column_names(groups),
        "time": column_names(time),
        "gap": gap if gap is None or isinstance(gap, int | float) else str(gap),
        "keep_time": keep_time,
    }
    classes = encode_target(labels, class_counts=class_counts).classes
    request = read_request(parameters, classes, backend=backend)
    callbacks = parameters["callbacks"] or ()
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise OptionError(
            "callbacks must be a list of functions, each called with an event; "
            f"got {shown(callbacks)}."
        )
    table = Table(
        without(frame, [name for name in apart if times is None or name not in times.optional]),
        labels,
        weight=row_weights(sample_weight, len(frame)),
        eval_set=eval_set,
        kinds=parameters["kinds"],
        test=test,
        class_counts=class_counts,
        groups=group_codes(groups, frame, eval_frame),
        times=times,
    )
    return prepare(table, request)
