"""Resamplers have files of their own: one line of the folder's index imports each."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

import autoimb
from tests.support.programs import python

PACKAGE = Path(autoimb.__file__).parent
ROOT = PACKAGE.parent
BLOCK = re.compile(r"^```py\n# (autoimb/\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def unimported(package: Path) -> list[str]:
    """Return the names of the files with resamplers that no line of the index imports."""
    folder = package / "space" / "resampling"
    index = (folder / "__init__.py").read_text("utf-8")
    names = [p.stem for p in folder.glob("*.py") if "@RESAMPLING." in p.read_text("utf-8")]
    return [name for name in names if f" import {name} as {name}\n" not in index]


def test_every_file_with_resamplers_is_imported() -> None:
    assert unimported(PACKAGE) == []


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the repository, as far as a new option needs it."""
    # The copy of the package includes its compiled code, which takes seconds to compile.
    shutil.copytree(ROOT / "autoimb", tmp_path / "autoimb")
    uncompiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=uncompiled)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(copied: Path, *words: str) -> str:
    done = python(*words, cwd=copied, env=os.environ | {"PYTHONPATH": str(copied)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_new_resampler_shows_up_by_the_guide_alone(copied: Path) -> None:
    guide = ROOT / "examples" / "guides" / "extending.md"
    (path, code), (index, line) = BLOCK.findall(guide.read_text("utf-8"))
    (copied / path).write_text(code, "utf-8")
    name = Path(path).stem
    assert unimported(copied / "autoimb") == [name]
    with (copied / index).open("a", encoding="utf-8") as file:
        file.write(line)
    assert unimported(copied / "autoimb") == []
    assert f"  {name}: Drop up to half" in run(copied, "-m", "autoimb", "options", "resampling")
    conformance = ["tests/space/test_options.py", "-p", "no:cacheprovider", "-k", name, "-rA"]
    output = run(copied, "-m", "pytest", *conformance)
    passed = set(re.findall(r"^PASSED .*::(test_\w+)\[resampling-", output, re.MULTILINE))
    assert {"test_a_forced_option_fits_and_predicts", "test_an_option_is_described"} <= passed
