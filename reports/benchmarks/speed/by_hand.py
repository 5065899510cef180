"""The same strategies as a practitioner writes them: imbalanced-learn around a skorch network.

At most 60 epochs, early stopping with patience 8 (``pip install skorch``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline as plain_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn

from reports.benchmarks.speed.strategies import Described

__all__ = ["by_hand"]

SAMPLERS: dict[str, Any] = {
    "none": None,
    "random_over": RandomOverSampler,
    "random_under": RandomUnderSampler,
    "smote": SMOTE,
    "smote_enn": SMOTEENN,
    "smote_tomek": SMOTETomek,
}


class Network(nn.Module):
    """The network of the practitioner."""

    def __init__(self, n_in: int = 1, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(n_in, width), nn.ReLU(), nn.Dropout(0.1)]
            n_in = width
        self.layers = nn.Sequential(*layers, nn.Linear(n_in, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in) to (n, 2)."""
        out: torch.Tensor = self.layers(x)
        return out


def prepared_by_hand() -> ColumnTransformer:
    """Return the usual preprocessing."""
    numbers = plain_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    strings = plain_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, max_categories=30),
    )
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("strings", strings, make_column_selector(dtype_exclude="number")),
        ]
    )


def by_hand(
    described: Described,
    frame: pd.DataFrame,
    y: NDArray[np.int64],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> float:
    """Cross-validate a strategy; return its average precision over all held-out rows."""
    resampling, weight, width, depth = described
    inputs = prepared_by_hand().fit_transform(frame).shape[1]
    proba = np.zeros(len(y))
    for train, held in folds:
        own = y[train]
        balanced = torch.tensor(len(own) / (2 * np.bincount(own)), dtype=torch.float32)
        network = NeuralNetClassifier(
            Network,
            module__n_in=inputs,
            module__width=width,
            module__depth=depth,
            criterion=nn.CrossEntropyLoss,
            criterion__weight=balanced if weight == "power" else None,
            optimizer=torch.optim.AdamW,
            lr=2e-3,
            batch_size=128,
            max_epochs=60,
            callbacks=[EarlyStopping(patience=8)],
            verbose=0,
        )
        sampler = SAMPLERS[resampling]
        steps = [prepared_by_hand()] + ([sampler(random_state=0)] if sampler else [])
        model = make_pipeline(*steps, FunctionTransformer(np.float32), network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unseen categories in a fold
            model.fit(frame.iloc[train], own)
            proba[held] = model.predict_proba(frame.iloc[held])[:, 1]
    return float(average_precision_score(y, proba))
