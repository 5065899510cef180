"""Systems that predict: the packages that each needs, how a peer is trained, and how it is loaded.

This module runs in the Python of a system, which may lack the packages of the others, so packages
are imported where they are used. ``python -m reports.benchmarks.serving.systems SYSTEM TABLE TARGET
FILE`` trains a peer on a CSV file and prints its packages with their versions as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["SYSTEMS", "Predict", "System"]

Predict = Callable[[pd.DataFrame], Any]  # from rows to probabilities (n, C)
SEED = 0


@dataclass(frozen=True)
class System:
    """A system that predicts from a file.

    Attributes
    ----------
    title : str
    packages : dict of str to str
        Distributions that the system needs, by the name under which they are imported.
    suffix : str
        Ending of the file's name.
    loader : callable
        Imports what prediction needs, and returns a function that loads a file.
    train : callable or None
        Trains on rows and labels, and writes a file; None for autoimb, which searches.
    """

    title: str
    packages: dict[str, str]
    suffix: str
    loader: Callable[[], Callable[[str], Predict]]
    train: Callable[[pd.DataFrame, pd.Series, str], None] | None = None


def _autoimb_loader() -> Callable[[str], Predict]:
    from autoimb import load

    import_module("torch")  # `load` would import it
    return lambda path: load(path).predict_proba


def _lightgbm_loader() -> Callable[[str], Predict]:
    import joblib

    for module in ("lightgbm", "sklearn.compose", "sklearn.pipeline"):
        import_module(module)  # the file refers to its classes

    def load(path: str) -> Predict:
        predict: Predict = joblib.load(path).predict_proba
        return predict

    return load


def _train_lightgbm(X: pd.DataFrame, y: pd.Series, path: str) -> None:
    """Train LightGBM's defaults; text is encoded as ordinals, and an unknown level is missing."""
    import joblib
    from lightgbm import LGBMClassifier
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    ordinals = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    text = make_column_selector(dtype_exclude="number")
    columns = make_column_transformer((ordinals, text), remainder="passthrough")
    # The number of threads is saved with the model; the default ignores OMP_NUM_THREADS.
    model = LGBMClassifier(n_jobs=1, random_state=SEED)
    joblib.dump(make_pipeline(columns, model).fit(X, y), path)


def _catboost_loader() -> Callable[[str], Predict]:
    from catboost import CatBoostClassifier

    def load(path: str) -> Predict:
        model = CatBoostClassifier().load_model(path)
        return lambda rows: model.predict_proba(rows, thread_count=1)

    return load


def _train_catboost(X: pd.DataFrame, y: pd.Series, path: str) -> None:
    """Train CatBoost's defaults, which encode the text themselves."""
    from catboost import CatBoostClassifier

    text = list(X.select_dtypes(exclude="number"))
    model = CatBoostClassifier(random_seed=SEED, verbose=0, allow_writing_files=False)
    model.fit(X, y, cat_features=text).save_model(path)


SYSTEMS = {
    "autoimb": System("autoimb", {"autoimb": "autoimb"}, ".autoimb", _autoimb_loader),
    "lgbm": System(
        "scikit-learn and LightGBM",
        {"lightgbm": "lightgbm", "sklearn": "scikit-learn", "joblib": "joblib"},
        ".joblib",
        _lightgbm_loader,
        _train_lightgbm,
    ),
    "catboost": System(
        "CatBoost", {"catboost": "catboost"}, ".cbm", _catboost_loader, _train_catboost
    ),
}


def main() -> None:
    """Train a peer: SYSTEM TABLE TARGET FILE."""
    name, table, target, file = sys.argv[1:]
    system = SYSTEMS[name]
    rows = pd.read_csv(table)
    assert system.train is not None
    system.train(rows.drop(columns=target), rows[target], file)
    packages = [*system.packages.values(), "pandas", "numpy"]
    print(json.dumps([f"{package} {version(package)}" for package in packages]))


if __name__ == "__main__":
    main()
