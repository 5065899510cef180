"""Odd tables and files: each fits and predicts, or is refused with one sentence.

All are read, encoded, saved and predicted by networks of random weights; a few are fitted.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs
from sklearn.exceptions import DataConversionWarning

import autoimb.search.arguments as arguments
from autoimb import AutoImbClassifier, FittedPipeline, load
from autoimb.assessment.calibration import Calibrator
from autoimb.cli import main
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.table import read_table
from autoimb.errors import AutoImbError
from autoimb.pipeline.artifact import save
from autoimb.pipeline.fitted import FittedStrategy
from autoimb.pipeline.unfamiliar import ranges_of
from autoimb.search.prepare import Preparation, Table, prepare
from autoimb.search.request import Request
from tests.support.odd_columns import COLUMNS
from tests.support.odd_files import FILES, File
from tests.support.odd_tables import TABLES, Case
from tests.support.odd_targets import TARGETS
from tests.support.pipelines import pack, pipeline
from tests.support.tables import ONE_TRIAL, PLAINEST

CASES = (*TABLES, *COLUMNS, *TARGETS)
# One table for each rule of columns, names, indices and targets.
FITTED = (
    "an array of text",
    "a polars frame of many types",
    "an Arrow stream",
    "names that are missing",
    "weights with another index and a repeated one of rows",
    "labels beyond 64 bits",
    "labels of control characters",
    "40 classes of two rows",
)
SEARCHED = ("control characters", "Feather of many types")


def named(cases: Any, *, refused: bool) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in cases if bool(case.refused) == refused]


def classifier() -> AutoImbClassifier:
    return AutoImbClassifier(**ONE_TRIAL, **PLAINEST, cv=2)


def prepared(case: Case) -> Preparation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataConversionWarning)  # of a column vector, by convention
        return arguments.prepare_arguments(classifier(), *case.make())


@cache
def base(n_classes: int) -> FittedPipeline:
    """Return the pipeline whose parts `untrained` replaces."""
    return pipeline(range(n_classes))


def untrained(prepared: Preparation) -> FittedPipeline:
    """Return a pipeline of random weights."""
    data, n_classes = prepared.dataset, len(prepared.target.classes)
    encoders = tuple(
        Encoder.fit(data.columns, fold.train, layout=data.layout, y=data.y, weight=data.weight)
        for fold in prepared.folds.folds
    )
    network = FittedStrategy(
        strategy={},
        description="mlp",
        packs=(pack(encoders, n_classes=n_classes, k=1, ple=True),),
        calibrator=Calibrator.identity(n_classes),
    )
    return replace(
        base(n_classes),
        schema=structs.replace(prepared.schema, target="target"),
        classes=prepared.target.classes,
        positive=prepared.target.positive,
        encoders=encoders,
        ranges=ranges_of(data.columns.numbers),
        strategies=(network,),
        weights=(1.0,),
    )


def reordered(case: Case) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table with its rows and columns in another order, and that order of the rows."""
    frame = read_table(case.make().X)
    rows = np.random.default_rng(0).permutation(len(frame))
    return frame.iloc[rows, ::-1], rows


def assert_predicts(pipeline: FittedPipeline, case: Case, file: Path) -> None:
    """Check probabilities and labels: of the rows, reordered, and after a round trip."""
    proba = pipeline.predict_proba(case.make().X)
    assert proba.dtype == np.float64
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    frame, rows = reordered(case)
    np.testing.assert_allclose(pipeline.predict_proba(frame), proba[rows], atol=1e-6)
    save(pipeline, file)
    loaded = load(file)
    np.testing.assert_array_equal(loaded.predict_proba(case.make().X), proba)
    labels = loaded.predict(case.make().X)
    assert set(labels.tolist()) <= set(pipeline.classes.tolist())


@pytest.mark.parametrize("case", named(CASES, refused=False))
def test_it_is_encoded_and_predicted(case: Case, tmp_path: Path) -> None:
    table = prepared(case)
    kinds = {column.name: column.kind for column in table.schema.columns}
    assert kinds.get("odd", "") == case.kind
    assert_predicts(untrained(table), case, tmp_path / "odd.autoimb")


@pytest.mark.usefixtures("minimal_work")
@pytest.mark.parametrize("name", FITTED)
def test_it_fits_and_predicts(name: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == name)
    X, y, weight = case.make()
    model = classifier().fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(
        model.predict_proba(case.make().X), model.pipeline_.predict_proba(case.make().X)
    )
    assert_predicts(model.pipeline_, case, tmp_path / "odd.autoimb")


@pytest.mark.parametrize("case", named(CASES, refused=True))
def test_it_is_refused_by_a_sentence(case: Case) -> None:
    with pytest.raises(AutoImbError, match=case.refused):
        prepared(case)


# --- the command line ---------------------------------------------------------------------------


def searched(file: File, folder: Path) -> tuple[int, Path, Path]:
    """Search a file; return the exit status, the path of the file and the RUN folder."""
    data, run = folder / f"odd{file.ending}", folder / "run"
    data.write_bytes(file.make())
    options = [f"--{name.replace('_', '-')}={option}" for name, option in PLAINEST.items()]
    small = ["--trials=1", "--jobs=1", "--cv=2", "--network=mlp", "--partners=none", "--quiet"]
    words = ["search", str(data), "--target", "y", "--out", str(run), *small, *options]
    return main(words), data, run


def assert_file_predicts(pipeline: Path, data: Path) -> None:
    out = pipeline.with_name("out.parquet")
    assert main(["predict", str(pipeline), str(data), "-o", str(out)]) == 0
    predicted = pd.read_parquet(out)
    assert len(predicted) == len(read_table(data))
    np.testing.assert_allclose(predicted.filter(like="proba_").sum(axis=1), 1.0)


@pytest.mark.parametrize("file", named(FILES, refused=False))
def test_a_file_is_read_and_predicted(file: File, tmp_path: Path) -> None:
    data = tmp_path / f"odd{file.ending}"
    data.write_bytes(file.make())
    frame = read_table(data)
    rows = Table(frame.drop(columns="y"), frame["y"])
    pipeline = tmp_path / "odd.autoimb"
    save(untrained(prepare(rows, Request(cv=2, n_trials=1))), pipeline)
    assert_file_predicts(pipeline, data)


@pytest.mark.usefixtures("minimal_work")
@pytest.mark.parametrize("name", SEARCHED)
def test_a_file_is_searched_and_predicted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (file for file in FILES if file.name == name)
    status, data, run = searched(file, tmp_path)
    assert status == 0
    assert_file_predicts(run / "pipeline.autoimb", data)
    assert "\x1b" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("file", named(FILES, refused=True))
def test_a_file_is_refused_in_one_line(
    file: File, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, run = searched(file, tmp_path)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("autoimb: error: ")
    assert re.search(file.refused, err)
    assert not run.exists()
