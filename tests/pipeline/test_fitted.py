from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec import structs
from scipy.special import softmax

from autoimb.assessment.calibration import Calibrator, focal_posterior
from autoimb.data.schema import parse
from autoimb.errors import InputError, SchemaError, TableError
from autoimb.nn.network import build
from autoimb.pipeline import fitted
from autoimb.pipeline.fitted import (
    FittedPipeline,
    FittedStrategy,
    fold_average,
    member_posterior,
)
from tests.support.pipelines import pipeline, scored_rows, table

PIPELINE = pipeline()
WITH_INTERVAL = {
    "metric": "f1",
    "score": 0.4,
    "error": 0.05,
    "interval": [0.3, 0.51],
    "estimate": "new data",
}
IDENTITY = Calibrator.identity(2)


def test_the_prior_correction_is_bayes_rule_for_each_member() -> None:
    # trained on as many positives as negatives, where 2 % are positive
    real = np.array([0.98, 0.02])
    correction = np.stack([np.log(real / 0.5), np.zeros(2)])
    proba = np.array([0.3, 0.7])
    logits = np.broadcast_to(np.log(proba), (2, 1, 1, 2))
    corrected, untouched = member_posterior(logits, log_prior=correction, gamma=0.0)[:, 0]
    np.testing.assert_allclose(corrected, real * proba / (real * proba).sum())
    np.testing.assert_allclose(untouched, proba)


def test_focal_comes_before_the_prior() -> None:
    logits = np.random.default_rng(1).normal(size=(1, 6, 1, 3))
    prior = np.array([[0.5, -1.0, 0.2]])
    inverse = focal_posterior(softmax(logits, axis=-1), 2.0) * np.exp(prior)
    expected = (inverse / inverse.sum(axis=-1, keepdims=True))[:, :, 0]
    np.testing.assert_allclose(member_posterior(logits, log_prior=prior, gamma=2.0), expected)


@given(
    logits=arrays(np.float32, (2, 3, 2, 3), elements=st.floats(-1e4, 1e4, width=32)),
    gamma=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_posteriors_are_finite_and_sum_to_one(logits: np.ndarray, gamma: float) -> None:
    posterior = member_posterior(logits, log_prior=np.full((2, 3), -5.0), gamma=gamma)
    assert np.isfinite(posterior).all()
    np.testing.assert_allclose(posterior.sum(axis=-1), 1.0)


def test_fold_average_weighs_members_within_a_fold_and_folds_equally() -> None:
    members = np.random.default_rng(0).dirichlet([1, 1], (3, 4))  # (M, n, C)
    average = fold_average([members], [[0, 0, 1]], [[1.0, 3.0, 8.0]])
    inside = 0.25 * members[0] + 0.75 * members[1]
    np.testing.assert_allclose(average, (inside + members[2]) / 2)
    apart = fold_average([members[:1], members[1:]], [[0], [0, 1]], [[1.0], [3.0, 8.0]])
    np.testing.assert_allclose(apart, average)


def test_a_strategy_is_its_stations_in_order() -> None:
    frame = table(30, random_state=5)
    columns = parse(frame, PIPELINE.schema)
    strategy = PIPELINE.strategies[1]
    (networks,) = strategy.packs
    folds = []
    for fold, encoder in enumerate(PIPELINE.encoders):
        x, codes = encoder.dense(encoder.transform(columns), ple=False)
        padded = np.pad(x, ((0, 0), (0, networks.spec.n_inputs - x.shape[1])))
        part = networks.of_folds({fold})
        network = build(part.spec, len(part.fold))
        network.load(part.state)
        with torch.no_grad():
            logits = network.predict(torch.tensor(padded)[None], torch.tensor(codes)[None]).numpy()
        posterior = member_posterior(logits, log_prior=part.log_prior, gamma=0.0)
        folds.append(np.einsum("m,mnc->nc", part.weight / part.weight.sum(), posterior))
    expected = strategy.calibrator.apply(np.mean(folds, axis=0)) * np.array(strategy.class_costs)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(alone(strategy).predict_proba(frame), expected, rtol=1e-5)


def alone(strategy: FittedStrategy) -> FittedPipeline:
    return replace(PIPELINE, strategies=(strategy,), weights=(1.0,), calibrator=IDENTITY)


def test_the_blend_is_the_weighted_mean_of_its_strategies() -> None:
    frame = table(50, random_state=2)
    first, second = (alone(part).predict_proba(frame) for part in PIPELINE.strategies)
    expected = PIPELINE.calibrator.apply(0.7 * first + 0.3 * second)
    np.testing.assert_allclose(PIPELINE.predict_proba(frame), expected)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table(100)
    whole = PIPELINE.predict_proba(frame)
    monkeypatch.setattr(fitted, "CHUNK_ROWS", 32)
    np.testing.assert_allclose(PIPELINE.predict_proba(frame), whole, atol=1e-7)


def test_with_threshold_changes_the_rule_only() -> None:
    strict = PIPELINE.with_threshold(0.9)
    frame = table(80)
    np.testing.assert_array_equal(strict.predict_proba(frame), PIPELINE.predict_proba(frame))
    positive = strict.predict_proba(frame)[:, 1] >= 0.9
    np.testing.assert_array_equal(strict.predict(frame) == "yes", positive)


def test_with_threshold_keeps_its_promise_out_of_fold() -> None:
    codes, proba = scored_rows(2)
    labels = PIPELINE.with_threshold("recall>=0.8").rule.apply(proba)
    assert (labels[codes == 1] == 1).mean() >= 0.8
    with pytest.raises(InputError, match="recal"):
        PIPELINE.with_threshold("recal>=0.8")


def test_a_pipeline_says_what_it_is() -> None:
    text = PIPELINE.describe()
    for part in ("fraud", "no, yes", "positive class yes", "7 columns", "focal(gamma=1)", "± 0.02"):
        assert part in text
    assert PIPELINE.n_features_in_ == 7
    assert PIPELINE.feature_names_in_.tolist() == table().columns.tolist()
    assert PIPELINE.classes_.tolist() == ["no", "yes"]
    text = replace(PIPELINE, info=WITH_INTERVAL).describe()
    assert "Expected f1 on new data: 0.400 (95 % interval 0.300 to 0.510)." in text


def test_the_repr_of_a_pipeline_is_short() -> None:
    text = repr(PIPELINE)
    assert "target='fraud', classes=['no', 'yes']" in text
    assert "score=0.5" in text
    assert "threshold=0.3" in text
    long = pipeline(tuple(f"{number:0500d}" for number in range(3)))
    names = {"metric": "m" * 500, "score": 1 / 3, "interval": [1 / 7, 1e-300]}
    long = replace(long, info=names, schema=structs.replace(long.schema, target="t" * 500))
    long = replace(long, rule=structs.replace(long.rule, name="r" * 500))
    assert max(len(text), len(repr(long))) < 400


def test_a_notebook_shows_score_interval_verdict_and_threshold() -> None:
    info = WITH_INTERVAL | {"verdict": "<b>No</b> method helps."}
    page = replace(PIPELINE, info=info)._repr_html_()
    for part in ("fraud", "f1 0.4000", "0.3000 to 0.5100", "&lt;b&gt;No", "probability of 0.3 on"):
        assert part in page
    assert "array" not in page
    several = pipeline(tuple(f"class {number}" for number in range(30)))._repr_html_()
    assert "(30 classes)" in several
    assert "class 20" not in several


@pytest.mark.parametrize(
    "copied",
    [
        lambda pipe: pickle.loads(pickle.dumps(pipe)),
        lambda pipe: replace(pipe, strategies=tuple(map(replace, pipe.strategies))),
    ],
)
def test_a_copy_predicts_the_same(copied: Any) -> None:
    pipe = pipeline()
    size = len(pickle.dumps(pipe))
    first = pipe.predict_proba(table(20))
    assert len(pickle.dumps(pipe)) == size
    np.testing.assert_array_equal(copied(pipe).predict_proba(table(20)), first)


def test_threads_may_predict_at_once() -> None:
    frames = [table(40 + number, random_state=number) for number in range(16)]
    expected = [PIPELINE.predict_proba(frame) for frame in frames]
    pipe = pipeline()
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            for proba, same in zip(pool.map(pipe.predict_proba, frames), expected):
                np.testing.assert_allclose(proba, same, atol=1e-7)


def test_a_row_may_be_a_dict_or_a_series() -> None:
    frame = table(12)
    expected = PIPELINE.predict_proba(frame)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    for place, row in enumerate(rows):
        backwards = dict(reversed(row.items())) | {"more": 1}
        for form in (row, backwards, pd.Series(row), frame.iloc[place]):
            np.testing.assert_allclose(PIPELINE.predict_proba(form), expected[[place]], atol=1e-7)
        assert PIPELINE.predict(row) == PIPELINE.predict(frame.iloc[[place]])
    present = [{name: value for name, value in row.items() if value is not None} for row in rows]
    for several in (rows, present):
        np.testing.assert_array_equal(PIPELINE.predict_proba(several), expected)


def test_a_row_must_have_the_columns() -> None:
    row = table(3).iloc[0].to_dict()
    with pytest.raises(SchemaError, match=r"lacks 1 of the 6 columns .*'amount'"):
        PIPELINE.predict_proba({name: value for name, value in row.items() if name != "amount"})
    with pytest.raises(SchemaError, match="'colour'"):
        PIPELINE.predict_proba(row | {"colour": ["red", "green"]})
    with pytest.raises(TableError, match="array"):
        PIPELINE.predict_proba([row, 3])
