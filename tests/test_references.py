import numpy as np
import pandas as pd
import pytest

from autoimb.assessment.metrics import get_metric
from autoimb.assessment.references import logistic_reference
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.layout import plan_layout
from autoimb.data.folds import plan_folds
from autoimb.data.schema import infer_schema, parse


def table(n=400, *, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice(n_classes, n, p=[0.8, *[0.2 / (n_classes - 1)] * (n_classes - 1)])
    frame = pd.DataFrame(
        {
            "a": rng.normal(y, 1.0),
            "b": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "few": np.where(rng.random(n) < 0.7, "k" + pd.Series(y).astype(str), "other"),
            "many": [f"v{i}" for i in rng.integers(0, 40, n)],
        }
    )
    schema, _ = infer_schema(frame)
    columns = parse(frame, schema)
    data = Dataset(
        columns=columns,
        y=y.astype(np.int64),
        weight=np.ones(n),
        n_classes=n_classes,
        positive=1,
        layout=plan_layout(columns),
    )
    plan = plan_folds(data.y, random_state=0)
    encoders = [Encoder.fit(columns, fold.train, layout=data.layout) for fold in plan.folds]
    return data, plan, encoders


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_reference_learns_on_the_same_folds(n_classes):
    data, plan, encoders = table(n_classes=n_classes)
    assert data.layout.embedded
    metric = get_metric("average_precision", n_classes=n_classes, positive=1)
    proba = logistic_reference(data, plan, encoders)
    scored = plan.scored
    assert proba.shape == (len(scored), n_classes)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    chance = metric(data.y[scored], np.full_like(proba, 1 / n_classes))
    assert metric(data.y[scored], proba) > chance + 0.2
    again = logistic_reference(data, plan, encoders)
    assert again.tobytes() == proba.tobytes()


def test_a_class_that_a_fold_never_sees_is_impossible_there():
    data, plan, encoders = table()
    one = np.flatnonzero(data.y == 1)
    train = plan.folds[0].train
    data.y[np.intersect1d(one, train)] = 0
    proba = logistic_reference(data, plan, encoders)
    first = np.isin(plan.scored, plan.folds[0].score)
    assert (proba[first, 1] == 0).all()
    assert np.isfinite(proba).all()
