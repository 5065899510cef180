"""A loaded pipeline is a fitted classifier to scikit-learn's tools, and to those above them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_outlier_detector, is_regressor
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    average_precision_score,
    log_loss,
)
from sklearn.model_selection import (
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.validation import check_is_fitted

from autoimb import AutoImbClassifier, FittedPipeline, load
from autoimb.errors import InputError, OptionError
from tests.support.searches import minimal_work
from tests.support.tables import ONE_TRIAL, patients

mpl.use("agg")
QUICK = ONE_TRIAL | {"cv": 2}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    X, y = patients()
    with minimal_work():
        model = AutoImbClassifier(**QUICK).fit(X, y)
    return model.export(tmp_path_factory.mktemp("protocol") / "p.autoimb")


@pytest.fixture(scope="module")
def pipe(path: Path) -> FittedPipeline:
    return load(path)


def test_it_is_a_fitted_classifier(pipe: FittedPipeline) -> None:
    assert is_classifier(pipe)
    assert not is_regressor(pipe)
    assert not is_outlier_detector(pipe)
    check_is_fitted(pipe)
    assert get_tags(pipe).input_tags.allow_nan
    assert list(pipe.classes_) == ["sick", "well"]
    names = list(patients()[0].columns)
    assert (pipe.n_features_in_, list(pipe.feature_names_in_)) == (len(names), names)


def test_fit_says_what_to_do_instead(pipe: FittedPipeline) -> None:
    with pytest.raises(InputError, match=r"fitted already.*FrozenEstimator.*autoimb refit"):
        pipe.fit(*patients())


def test_it_never_changes_so_its_clone_is_itself(pipe: FittedPipeline) -> None:
    assert clone(pipe) is pipe
    assert pipe.get_params() == pipe.get_params(deep=False) == {}
    assert pipe.set_params() is pipe
    with pytest.raises(OptionError, match="no parameters to set; got metric"):
        pipe.set_params(metric="f1")
    X, _ = patients()
    np.testing.assert_array_equal(copy.deepcopy(pipe).predict_proba(X), pipe.predict_proba(X))


def test_score_is_that_of_the_estimator(pipe: FittedPipeline) -> None:
    X, y = patients()
    weight = np.linspace(0, 2, len(y))
    proba = pipe.predict_proba(X)
    assert pipe.score(X, y) == pytest.approx(average_precision_score(y == "sick", proba[:, 0]))
    assert pipe.score(X, y, weight) == pytest.approx(
        average_precision_score(y == "sick", proba[:, 0], sample_weight=weight)
    )
    assert pipe.score(X, y, metric="log_loss") == pytest.approx(-log_loss(y, proba))


@pytest.mark.usefixtures("minimal_work")
def test_a_metric_that_no_file_holds_is_asked_for(tmp_path: Path) -> None:
    def sure(y_true: np.ndarray, proba: np.ndarray) -> float:
        return float(proba[y_true == "sick", 0].mean())

    X, y = patients()
    model = AutoImbClassifier(**QUICK, metric=sure).fit(X, y)
    loaded = load(model.export(tmp_path / "p.autoimb"))
    with pytest.raises(OptionError, match="'sure', a function or scorer that it does not hold"):
        loaded.score(X, y)
    expected = model.predict_proba(X)[y == "sick", 0].mean()
    assert loaded.score(X, y, metric=sure) == model.score(X, y) == pytest.approx(expected)
    with pytest.raises(OptionError, match="Did you mean"):
        loaded.score(X, y, metric="log_los")


# --- scikit-learn's tools -------------------------------------------------------------------------


def test_frozen_it_goes_through_cross_validation(pipe: FittedPipeline) -> None:
    X, y = patients()
    frozen = FrozenEstimator(pipe)
    assert is_classifier(frozen)
    check_is_fitted(frozen)
    assert frozen.fit(X, y) is frozen
    assert len(cross_val_score(frozen, X, y, cv=3)) == 3
    assert cross_val_score(frozen, X, y, cv=3, scoring="roc_auc").min() > 0.5
    proba = cross_val_predict(frozen, X, y, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba, pipe.predict_proba(X), atol=1e-12)
    assert "FittedPipeline" in repr(frozen)
    assert "FittedPipeline" in estimator_html_repr(frozen)
    assert "FittedPipeline" in estimator_html_repr(pipe)


@pytest.mark.parametrize(
    "display",
    [CalibrationDisplay, PrecisionRecallDisplay, ConfusionMatrixDisplay],
)
def test_displays(display: Any, pipe: FittedPipeline) -> None:
    X, y = patients()
    more = {} if display is ConfusionMatrixDisplay else {"pos_label": "sick"}
    shown = display.from_estimator(pipe, X, y, **more)
    assert shown.figure_ is not None
    mpl.pyplot.close("all")


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda frozen: CalibratedClassifierCV(frozen),
        lambda frozen: TunedThresholdClassifierCV(frozen, cv="prefit", refit=False),
        lambda frozen: VotingClassifier([("a", frozen), ("b", frozen)], voting="soft"),
    ],
    ids=["calibrated", "tuned threshold", "voting"],
)
def test_meta_estimators_take_it_frozen(wrapper: Any, pipe: FittedPipeline) -> None:
    X, y = patients()
    model = wrapper(FrozenEstimator(pipe)).fit(X, y)
    assert set(model.predict(X)) <= {"sick", "well"}
