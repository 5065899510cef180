"""Odd tables and files: each fits and predicts, or is refused by one sentence of ours.

All are read, encoded, saved and predicted by networks of random weights; some are fitted.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
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
from tests.support.odd_targets import TARGETS, many_classes
from tests.support.pipelines import pack, pipeline
from tests.support.tables import ONE_TRIAL

CASES = (*TABLES, *COLUMNS, *TARGETS)
FITTED = (
    "one column",
    "an array of text",
    "a masked array",
    "a polars frame of many types",
    "an Arrow stream",
    "names that are missing",
    "weights with another index and a repeated one of rows",
    "decimals",
    "times of day",
    "dates of two zones",
    "levels of every script",
    "all missing",
    "labels beyond 64 bits",
    "labels of control characters",
    "40 classes of two rows",
)
SEARCHED = ("control characters", "separators in a quoted name", "Feather of many types")
PLAINEST = {
    "resampling": "none",
    "class_weight": "none",
    "loss": "cross_entropy",
    "ensemble": "single",
}


def named(cases: Any, *, refused: bool) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in cases if bool(case.refused) == refused]


def classifier() -> AutoImbClassifier:
    return AutoImbClassifier(**ONE_TRIAL, **PLAINEST, cv=2)


def prepared(case: Case) -> Preparation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataConversionWarning)  # of a column vector, by convention
        return arguments.prepare_arguments(classifier(), *case.make())


def untrained(prepared: Preparation) -> FittedPipeline:
    """A pipeline of random weights."""
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
        pipeline(range(n_classes)),
        schema=structs.replace(prepared.schema, target="target"),
        classes=prepared.target.classes,
        positive=prepared.target.positive,
        encoders=encoders,
        ranges=ranges_of(data.columns.numbers),
        strategies=(network,),
        weights=(1.0,),
    )


def reordered(case: Case) -> tuple[pd.DataFrame, np.ndarray]:
    """The table with its rows and columns in another order, and that order of the rows."""
    frame = read_table(case.make().X)
    rows = np.random.default_rng(0).permutation(len(frame))
    return frame.iloc[rows, ::-1], rows


def assert_predicts(pipeline: FittedPipeline, case: Case, file: Path) -> None:
    """Check probabilities and labels: of the rows, reordered, and after a round trip."""
    proba = pipeline.predict_proba(case.make().X)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    frame, rows = reordered(case)
    np.testing.assert_allclose(pipeline.predict_proba(frame), proba[rows], atol=1e-6)
    save(pipeline, file)
    loaded = load(file)
    np.testing.assert_array_equal(loaded.predict_proba(case.make().X), proba)
    labels = pipeline.predict(case.make().X)
    assert loaded.predict(case.make().X).tolist() == labels.tolist()
    assert set(labels.tolist()) <= set(pipeline.classes.tolist())


@pytest.mark.parametrize("case", named(CASES, refused=False))
def test_it_is_encoded_and_predicted(case: Case, tmp_path: Path) -> None:
    table = prepared(case)
    kinds = {column.name: column.kind for column in table.schema.columns}
    assert kinds.get("odd", "") == case.kind
    assert_predicts(untrained(table), case, tmp_path / "odd.autoimb")


@pytest.mark.usefixtures("least_work")
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


def test_300_classes_are_planned_for() -> None:
    """Fitting them takes more than 20 seconds, so here they are only read and planned for."""
    X, y, _ = many_classes(300)
    preparation = prepare(Table(X, y), Request(cv=2, n_trials=1, time_budget=None))
    assert len(preparation.target.classes) == 300
    assert set(preparation.task.judge.y) == set(range(300))


# --- the command line ---------------------------------------------------------------------------


def searched(file: File, folder: Path) -> tuple[int, Path, Path]:
    """Search in a file; its exit status, its path and the RUN folder."""
    data, run = folder / f"odd{file.ending}", folder / "run"
    data.write_bytes(file.make())
    options = [f"--{name.replace('_', '-')}={option}" for name, option in PLAINEST.items()]
    small = ["--trials=1", "--jobs=1", "--cv=2", "--network=mlp", "--partners=none", "--quiet"]
    words = ["search", str(data), "--target", file.target, "--out", str(run), *small, *options]
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
    rows = Table(frame.drop(columns=file.target), frame[file.target])
    pipeline = tmp_path / "odd.autoimb"
    save(untrained(prepare(rows, Request(cv=2, n_trials=1))), pipeline)
    assert_file_predicts(pipeline, data)


@pytest.mark.usefixtures("least_work")
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


# --- the corpus ---------------------------------------------------------------------------------


def test_there_are_many_and_no_two_of_one_name() -> None:
    names = [case.name for case in (*CASES, *FILES)]
    assert len(set(names)) == len(names)
    assert len(CASES) >= 120
    assert len(FILES) >= 20


def types_of(values: Any) -> list[Any]:
    """What types a table, a column or an array is of, as its own library calls them."""
    if isinstance(values, pa.Table | pa.RecordBatch):
        return list(values.schema.types)
    if isinstance(values, pd.DataFrame):
        return list(values.dtypes)
    return [getattr(values, "dtype", getattr(values, "type", None))]


def test_every_type_of_pandas_numpy_and_arrow_is_there() -> None:
    given = [case.make() for case in CASES]
    types = [kind for case in given for values in (case.X, case.y) for kind in types_of(values)]
    assert {type(kind).__name__ for kind in types} >= {
        name for name in dir(pd) if name.endswith("Dtype")
    }
    assert {kind.kind for kind in types if isinstance(kind, np.dtype)} == set("biufcmMOSUV")
    arrow = [kind.pyarrow_dtype if isinstance(kind, pd.ArrowDtype) else kind for kind in types]
    arrow = [kind for kind in arrow if isinstance(kind, pa.DataType)]
    asked = [name for name in dir(pa.types) if name.startswith("is_") and "value" not in name]
    lacking = [name for name in asked if not any(map(getattr(pa.types, name), arrow))]
    assert lacking == []
