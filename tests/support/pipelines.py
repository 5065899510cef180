"""Small fitted pipelines with random weights, for the tests of prediction and of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from msgspec import structs

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.decision import DecisionRule, ThresholdCounts, threshold_for
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.layout import plan_layout
from autoimb.data.schema import infer_schema, parse
from autoimb.nn.network import NetworkSpec, build
from autoimb.pipeline.fitted import FittedMemberPack, FittedPipeline, FittedStrategy
from autoimb.pipeline.unfamiliar import ranges_of
from autoimb.randomness import Key

N_FOLDS = 2


def table(n_rows: int = 240, *, random_state: int = 0) -> pd.DataFrame:
    """Return a table with every kind of column, missing values, and one constant column."""
    random = np.random.default_rng(random_state)
    amount = random.lognormal(size=n_rows)
    amount[::9] = np.nan
    colour = random.choice(np.array(["red", "grün", None], dtype=object), n_rows)
    return pd.DataFrame(
        {
            "amount": amount,
            "count": random.integers(0, 40, n_rows),
            "colour": colour,
            "shop": [f"shop {number}" for number in random.integers(0, 40, n_rows)],
            "paid": random.random(n_rows) < 0.5,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n_rows) % 90, "D"),
            "currency": "EUR",
        }
    )


def pack(
    encoders: tuple[Encoder, ...],
    *,
    n_classes: int,
    k: int,
    ple: bool,
    gamma: float = 0.0,
    random_state: int = 0,
) -> FittedMemberPack:
    """Two members a fold, padded to the widest fold."""
    fold = np.repeat(np.arange(len(encoders)), 2)
    widths = [encoders[f].width(ple=ple) for f in fold]
    spec = NetworkSpec(
        kind="tabm" if k > 1 else "mlp",
        width=8,
        depth=2,
        k=k,
        activation="relu",
        dropout=0.1,
        embedding_dim=3,
        ple=ple,
        n_inputs=max(widths),
        cardinalities=tuple(
            max(sizes) for sizes in zip(*(e.embedded_cardinalities for e in encoders))
        ),
        n_classes=n_classes,
        body="plain",
        periodic=0,
    )
    network = build(spec, len(fold))
    network.draw([Key(random_state, member=member) for member in range(len(fold))], widths)
    random = np.random.default_rng(random_state)
    return FittedMemberPack(
        spec=spec,
        fold=fold,
        weight=random.uniform(0.5, 2.0, len(fold)),
        log_prior=random.normal(size=(len(fold), n_classes)),
        focal_gamma=gamma,
        state=network.state(),
    )


def pipeline(classes: Any = ("no", "yes"), *, dtype: Any = None) -> FittedPipeline:
    """Return a blend of two strategies on two folds."""
    frame = table()
    schema, _ = infer_schema(frame)
    schema = structs.replace(schema, target="fraud")
    columns = parse(frame, schema)
    labels = np.array(classes, dtype=dtype)
    n_classes = len(labels)
    y = np.random.default_rng(2).integers(0, n_classes, len(frame))
    layout = plan_layout(columns, n_classes=n_classes)
    layout = structs.replace(
        layout, embedded=plan_layout(columns).embedded
    )  # both ways of writing levels
    rows = np.arange(len(frame))
    encoders = tuple(
        Encoder.fit(columns, rows[rows % N_FOLDS != fold], layout=layout, y=y)
        for fold in range(N_FOLDS)
    )
    strategies = (
        FittedStrategy(
            strategy={"network": {"name": "tabm", "params": {"k": 4}}},
            description="focal(gamma=1), tabm 8x2",
            packs=(
                pack(encoders, n_classes=n_classes, k=4, ple=True, gamma=1.0),
                pack(encoders, n_classes=n_classes, k=1, ple=True, random_state=1),
            ),
            calibrator=Calibrator(0.9, tuple(np.linspace(-0.1, 0.1, n_classes).tolist())),
        ),
        FittedStrategy(
            strategy={"network": {"name": "mlp", "params": {}}},
            description="mlp 8x2",
            packs=(pack(encoders, n_classes=n_classes, k=1, ple=False, random_state=2),),
            calibrator=Calibrator.identity(n_classes),
            class_costs=tuple(float(c) for c in range(1, n_classes + 1)),
        ),
    )
    counts = ThresholdCounts.of(*scored_rows(n_classes), n_classes - 1)
    return FittedPipeline(
        schema=schema,
        classes=labels,
        positive=n_classes - 1,
        encoders=encoders,
        strategies=strategies,
        weights=(0.7, 0.3),
        calibrator=Calibrator(1.1, tuple(np.linspace(0.1, -0.1, n_classes).tolist())),
        rule=_rule(counts, n_classes),
        thresholds=counts,
        ranges=ranges_of(columns.numbers),
        info={"metric": "average_precision", "score": 0.5, "error": 0.02},
    )


def scored_rows(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and out-of-fold probabilities for the thresholds of a pipeline."""
    random = np.random.default_rng(1)
    proba = random.dirichlet(np.ones(n_classes), 200)
    return np.array([random.choice(n_classes, p=p) for p in proba]), proba


def _rule(counts: ThresholdCounts, n_classes: int) -> DecisionRule:
    if n_classes == 2:
        return threshold_for(0.3, counts, 1)
    return DecisionRule("offsets", tuple(0.1 * c for c in range(n_classes)), None, "offsets")
