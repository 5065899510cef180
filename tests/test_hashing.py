"""Levels that are hashed: nobody reads them in the file, and predictions stay what they were."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from pipelines import pipeline, table
from tables import ONE_TRIAL, mixed_table, small_trees

from autoimb import AutoImbClassifier, load
from autoimb.cli import main
from autoimb.cli.tables import read_chunks
from autoimb.data.values import TEXT, digest_of
from autoimb.errors import ArtifactError
from autoimb.pipeline import container
from autoimb.pipeline.artifact import inspect, save
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.pipeline.hashing import text_columns, with_hashed_levels


@pytest.fixture(scope="module")
def whole() -> FittedPipeline:
    """Networks and trees, which both know levels."""
    networks = pipeline()
    strategies = (*networks.strategies, small_trees())
    return replace(networks, strategies=strategies, weights=(0.3, 0.1, 0.6))


@pytest.fixture
def path(whole: FittedPipeline, tmp_path: Path) -> Path:
    save(with_hashed_levels(whole), tmp_path / "hashed.autoimb")
    return tmp_path / "hashed.autoimb"


def new_rows() -> pd.DataFrame:
    """Rows with levels that training had, others, and gaps."""
    frame = table(80, random_state=3)
    frame["colour"] = frame["colour"].where(np.arange(80) % 5 > 0, "ultraviolet")
    frame["shop"] = frame["shop"].where(np.arange(80) % 7 > 0, None)
    return frame


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def levels_of(frame: pd.DataFrame) -> set[str]:
    texts = (frame[name].dropna().astype(str) for name in ("colour", "shop", "paid"))
    return {level for text in texts for level in text}


def test_no_level_is_in_the_file(whole: FittedPipeline, path: Path) -> None:
    save(whole, path.with_name("plain.autoimb"))
    plain, hashed = members(path.with_name("plain.autoimb")), members(path)
    levels = {level.encode() for level in levels_of(table())}
    assert sum(level in plain["weights.safetensors"] for level in levels) > 40  # not the rare ones
    found = [(name, level) for name, own in hashed.items() for level in levels if level in own]
    assert found == []


def test_it_predicts_the_same_to_the_bit(whole: FittedPipeline, path: Path) -> None:
    hashed, frame = load(path), new_rows()
    np.testing.assert_array_equal(hashed.predict_proba(frame), whole.predict_proba(frame))
    np.testing.assert_array_equal(hashed.predict(frame), whole.predict(frame))


def test_a_salt_is_drawn_each_time_and_the_bytes_depend_on_the_pipeline_alone(
    whole: FittedPipeline, path: Path
) -> None:
    first, second = with_hashed_levels(whole), with_hashed_levels(whole)
    assert first.schema.salt != second.schema.salt
    ours, theirs = (
        {level for own in each.encoders for levels in own.levels for level in levels}
        for each in (first, second)
    )
    assert ours.isdisjoint(theirs)
    assert with_hashed_levels(first) is first
    save(load(path), path.with_name("again.autoimb"))
    assert path.with_name("again.autoimb").read_bytes() == path.read_bytes()


def test_equal_levels_of_two_columns_have_different_digests() -> None:
    assert digest_of("a", column="one", salt="0") != digest_of("a", column="two", salt="0")
    # SHA-256 of ["00ff", "colour", "gr\\u00fcn"]
    assert digest_of("grün", column="colour", salt="00ff").startswith("f3b0a091acd9c704")


def test_it_says_so(whole: FittedPipeline, path: Path) -> None:
    assert inspect(path)["hashed_levels"] is True
    assert "levels of categories are hashed" in load(path).describe()
    assert whole.inspect()["hashed_levels"] is False
    assert "hashed" not in whole.describe()


def test_columns_are_read_from_csv_as_they_were(tmp_path: Path) -> None:
    """Whether pandas may guess a column follows from its levels, which the file lacks."""
    whole = pipeline()
    own = replace(whole.encoders[0], levels=(("1", "2"), *whole.encoders[0].levels[1:]))
    whole = replace(whole, encoders=(own, own))
    hashed = with_hashed_levels(whole)
    assert text_columns(hashed) == text_columns(whole) == ["shop"]
    assert [column.form == TEXT for column in hashed.schema.kept] == [
        column.name == "shop" for column in whole.schema.kept
    ]
    new_rows().to_csv(tmp_path / "new.csv", index=False)
    pieces = [list(read_chunks(tmp_path / "new.csv", one, cells=10**6)) for one in (whole, hashed)]
    pd.testing.assert_frame_equal(pieces[0][0], pieces[1][0])


def _cut(arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
    arrays["encoders.0.level_text"][5] = ord("g")


def _twice(arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
    arrays["encoders.0.level_text"][64:128] = arrays["encoders.0.level_text"][:64]


def _of_trees(arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
    arrays["strategies.2.trees.0.level_text"][0] = ord("A")


def _shorter(arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
    arrays["encoders.1.level_ends"][0] -= 1


def _salt(salt: Any) -> Callable[[dict[str, np.ndarray], dict[str, Any]], None]:
    def change(arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
        manifest["schema"]["salt"] = salt

    return change


@pytest.mark.parametrize(
    "change", [_cut, _twice, _of_trees, _shorter, *map(_salt, ["salt", 1, None, "0" * 31])]
)
def test_damaged_digests_are_refused(path: Path, change: Any) -> None:
    own = members(path)
    manifest = json.loads(own["manifest.json"])
    arrays = {k: v.copy() for k, v in safetensors.numpy.load(own["weights.safetensors"]).items()}
    change(arrays, manifest)
    container.write(path, manifest, arrays)
    with pytest.raises(ArtifactError):
        load(path)


def test_texts_under_a_salt_are_refused(whole: FittedPipeline, tmp_path: Path) -> None:
    salted = replace(whole, schema=replace(whole.schema, salt="0" * 32))
    save(salted, tmp_path / "a.autoimb")
    with pytest.raises(ArtifactError, match="digests of levels"):
        load(tmp_path / "a.autoimb")


def test_a_file_of_format_3_from_before_has_no_salt(path: Path, whole: FittedPipeline) -> None:
    save(whole, path)
    own = members(path)
    manifest = json.loads(own["manifest.json"])
    del manifest["schema"]["salt"]
    container.write(path, manifest, safetensors.numpy.load(own["weights.safetensors"]))
    np.testing.assert_array_equal(load(path).predict_proba(table(9)), whole.predict_proba(table(9)))


# --- where a user asks for it ---------------------------------------------------------------------


def test_an_estimator_exports_it(tmp_path: Path) -> None:
    frame, y = mixed_table("binary")
    clf = AutoImbClassifier(**ONE_TRIAL).fit(frame, y)
    clf.export(tmp_path / "a.autoimb", hash_levels=True)
    assert inspect(tmp_path / "a.autoimb")["hashed_levels"] is True
    np.testing.assert_array_equal(
        load(tmp_path / "a.autoimb").predict_proba(new_rows()), clf.predict_proba(new_rows())
    )


def test_the_command_line_exports_it_and_a_refit_writes_it(tmp_path: Path) -> None:
    frame, y = mixed_table("binary")
    frame.assign(target=y).to_csv(tmp_path / "old.csv", index=False)
    run, words = tmp_path / "run", ["--target", "target", "--trials", "1", "--network", "mlp"]
    words += ["--partners", "none", "--jobs", "1", "--quiet", "--out", str(run)]
    assert main(["search", str(tmp_path / "old.csv"), *words]) == 0
    rows = tmp_path / "new.csv"
    new_rows().to_csv(rows, index=False)
    scored = []
    for number, command in enumerate((["export", str(run)], ["export", str(run), "--hash-levels"])):
        out = tmp_path / f"{number}.autoimb"
        assert main([*command, "-o", str(out)]) == 0
        assert main(["predict", str(out), str(rows), "-o", str(tmp_path / "scored.csv")]) == 0
        scored.append((tmp_path / "scored.csv").read_bytes())
    assert scored[0] == scored[1]
    pickled = tmp_path / "a.joblib"
    words = ["export", str(run), "--format", "joblib", "--hash-levels", "-o", str(pickled)]
    assert main(words) == 0
    assert b"shop 1" not in pickled.read_bytes()
    newer = ["refit", str(run), str(tmp_path / "old.csv"), "-o", str(tmp_path / "newer.autoimb")]
    assert main([*newer, "--hash-levels"]) == 0
    said = [inspect(tmp_path / f"{name}.autoimb")["hashed_levels"] for name in (0, 1, "newer")]
    assert said == [False, True, True]
