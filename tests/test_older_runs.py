"""Runs and pipelines of version 0.1: they are read, and not gone on with.

``run-0.1/`` is the folder of a search by that version whose network has left the space since;
``predicted.csv`` in it is what that version's pipeline predicts for ``table.csv``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb import __version__, load
from autoimb.cli import main
from autoimb.space.components import COMPONENTS

OLD = Path(__file__).with_name("run-0.1")
TABLE = str(OLD / "table.csv")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def predictions(path: Path) -> np.ndarray:
    table = pd.read_csv(path)
    assert list(table.columns) == ["prediction", "proba_no", "proba_yes"]
    return table["proba_yes"].to_numpy()


def test_its_pipeline_predicts_the_same(tmp_path: Path) -> None:
    out = tmp_path / "now.csv"
    assert main(["predict", str(OLD / "pipeline.autoimb"), TABLE, "-o", str(out)]) == 0
    np.testing.assert_allclose(predictions(out), predictions(OLD / "predicted.csv"), atol=1e-7)
    labels = [pd.read_csv(path)["prediction"] for path in (out, OLD / "predicted.csv")]
    assert labels[0].equals(labels[1])


def test_its_network_has_left_the_space_and_is_still_known() -> None:
    (strategy,) = load(OLD / "pipeline.autoimb").strategies
    name = strategy.strategy["network"]["name"]
    assert name not in COMPONENTS["network"].names
    assert COMPONENTS["network"][name].retired
    assert main(["search", TABLE, "--target", "sick", "--network", name]) == 2


def test_status_report_and_export_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(run)]) == 0
    assert "1 strategy (1 complete)" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text("utf-8")
    assert "tabm_published" in page
    assert main(["export", str(run), "-o", str(tmp_path / "out.autoimb")]) == 0
    assert load(tmp_path / "out.autoimb").classes_.tolist() == ["no", "yes"]


def test_a_refit_trains_its_strategy(run: Path, tmp_path: Path) -> None:
    assert main(["refit", str(run), TABLE, "-o", str(tmp_path / "new.autoimb")]) == 0
    old, new = load(run / "pipeline.autoimb"), load(tmp_path / "new.autoimb")
    assert new.strategies[0].strategy == old.strategies[0].strategy


def test_it_is_not_gone_on_with(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    request = json.loads((run / "run.json").read_text("utf-8"))["request"]
    seed = ["--random-state", str(request["random_state"])]
    words = ["search", TABLE, "--target", "sick", "--n-trials", "2", "--n-jobs", "1", *seed]
    assert main([*words, "--out", str(run), "--resume"]) == 2
    said = capsys.readouterr().err
    assert "autoimb 0.1.0" in said
    assert __version__ in said
    assert {path: path.read_bytes() for path in before} == before
