"""What makes a fitted pipeline a classifier to scikit-learn's tools: already fitted, and frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.metrics import get_metric
from autoimb.data.schema import Schema
from autoimb.data.table import check_lengths, row_weights
from autoimb.data.target import match_labels
from autoimb.errors import InputError, OptionError

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.utils import Tags

__all__ = ["Prefitted"]


class Prefitted(ABC):
    """The protocol of a classifier that is fitted once and for all.

    scikit-learn itself is imported where one of its tools asks, and not to predict.
    """

    schema: Schema
    classes: NDArray[Any]
    positive: int
    rule: DecisionRule
    info: dict[str, Any]

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, in the order of `predict_proba`'s columns."""
        return self.classes

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns of the training table, the target left out."""
        return np.array([column.name for column in self.schema.columns], dtype=object)

    @property
    def n_features_in_(self) -> int:
        """Number of columns of the training table, the target left out."""
        return len(self.schema.columns)

    @abstractmethod
    def predict_proba(self, X: pd.DataFrame | NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of each class; the pipeline says how."""

    def fit(self, X: object, y: object = None, sample_weight: object = None) -> NoReturn:
        """Refuse: a pipeline is fitted.

        Raises
        ------
        InputError
            Always; it says what to fit instead.
        """
        del X, y, sample_weight
        raise InputError(
            "A FittedPipeline is fitted already and can't be fitted again: wrap it in "
            "sklearn.frozen.FrozenEstimator where a tool fits what it is given, train its "
            "strategies on newer rows by `autoimb refit`, or search anew by AutoImbClassifier."
        )

    def score(
        self,
        X: pd.DataFrame | NDArray[Any],
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        metric: str | Callable[..., Any] | None = None,
    ) -> float:
        """Return a metric of rows, in scikit-learn's sign: higher is better.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, p)
            As in `predict_proba`.
        y : array-like of shape (n,)
            Labels out of ``classes_``.
        sample_weight : array-like of shape (n,) or None
            Importance of each row.
        metric : str, callable or None
            As `AutoImbClassifier` takes it; None is the metric of the search.

        Returns
        -------
        float
            The metric, or minus it where less is better (``log_loss``, ``brier``).

        Raises
        ------
        OptionError
            Where the metric of the search was a function or a scorer object: no file holds it.
        """
        asked = self.info.get("metric", "average_precision") if metric is None else metric
        try:
            found = get_metric(
                asked, n_classes=len(self.classes), positive=self.positive, classes=self.classes
            )
        except OptionError as error:
            if metric is not None:
                raise
            raise OptionError(
                f"The pipeline was searched by the metric {asked!r}, a function or scorer that it "
                "does not hold: give it as metric=."
            ) from error
        proba = self.predict_proba(X)
        codes = match_labels(y, self.classes)
        check_lengths(proba, codes)
        weight = row_weights(sample_weight, len(codes))
        value = found(codes, proba, self.rule.apply(proba), weight=weight)
        return float(found.utility(value))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return no parameters: nothing of a fitted pipeline is set from outside."""
        del deep
        return {}

    def set_params(self, **params: object) -> Self:
        """Take no parameters.

        Raises
        ------
        OptionError
            Where any is given.
        """
        if params:
            raise OptionError(
                f"A FittedPipeline has no parameters to set; got {', '.join(sorted(params))}."
            )
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return self  # it never changes

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(allow_nan=True, string=True, categorical=True),
        )
