"""Hostile files, in short: each is refused, or what it holds is as it was.

The long form, with limits on time and memory, is ``python -m reports.benchmarks damage``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from autoimb.cli import main
from autoimb.errors import ArtifactError
from autoimb.pipeline import container
from autoimb.pipeline.artifact import load, save
from autoimb.report.facts import build_facts
from autoimb.runs.folder import RunFolder
from reports.benchmarks.damage.folders import KINDS, damage_folder
from reports.benchmarks.damage.mutations import DAMAGES, FORGERIES, damaged, forged
from tests.report.cases import result_of, study_of
from tests.support.pipelines import pipeline, table
from tests.support.searches import minimal_work
from tests.support.studies import FINGERPRINT, study

TIMES = 4  # that each kind of damage is drawn
PIPELINE = pipeline()
ROWS = table(20)
WHOLE = PIPELINE.predict_proba(ROWS)


@pytest.mark.parametrize("kind", range(len(DAMAGES)), ids=DAMAGES)
def test_a_damaged_artifact_is_refused_or_predicts_the_same(kind: int, tmp_path: Path) -> None:
    path = tmp_path / "a.autoimb"
    save(PIPELINE, path)
    whole = path.read_bytes()
    for number in range(kind, len(DAMAGES) * TIMES, len(DAMAGES)):
        path.write_bytes(damaged(whole, number)[1])
        try:
            after = load(path)
        except ArtifactError:
            continue
        np.testing.assert_array_equal(after.predict_proba(ROWS), WHOLE)


@pytest.mark.parametrize("kind", range(len(FORGERIES)), ids=FORGERIES)
def test_a_forged_artifact_is_refused_or_predicts_the_same(kind: int, tmp_path: Path) -> None:
    path = tmp_path / "a.autoimb"
    save(PIPELINE, path)
    with container.opened(path) as opened:
        parts = json.loads(opened.manifest()), opened.arrays()
    refused = 0
    for number in range(kind, len(FORGERIES) * TIMES, len(FORGERIES)):
        path.write_bytes(container.packed(*forged(parts, number)[1]))
        try:
            after = load(path)
        except ArtifactError:
            refused += 1
            continue
        np.testing.assert_array_equal(after.predict_proba(ROWS), WHOLE)
    assert refused >= TIMES - 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN with all that commands look at."""
    path = tmp_path_factory.mktemp("finished") / "run"
    with minimal_work():
        facts = build_facts(result_of(*study_of()))
    with RunFolder.open(path, fingerprint=FINGERPRINT) as folder:
        study(folder, n_trials=3)
        folder.update_run({"results": facts.to_json()})
        save(PIPELINE, folder.pipeline)
    return path


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_a_damaged_run_ends_in_a_sentence(
    kind: int, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside, run, out = tmp_path / "outside", tmp_path / "run", tmp_path / "out.autoimb"
    outside.mkdir()
    (outside / "mine.csv").write_text("mine")
    for number in range(kind, len(KINDS) * TIMES, len(KINDS)):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(finished, run)
        damage_folder(run, outside, number)
        commands = ["status"], ["report"], ["export", "-o", str(out)]
        for name, *more in commands:
            assert main([name, str(run), *more]) in (0, 2)
            assert "Traceback" not in capsys.readouterr().err
        assert [path.read_text() for path in outside.iterdir()] == ["mine"]
        assert {path.name for path in tmp_path.iterdir()} <= {"outside", "run", "out.autoimb"}
