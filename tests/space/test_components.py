"""Options are found: by one line for each file of a component's folder."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path

import pytest

import autoimb
from tests.support.programs import python

PACKAGE = Path(autoimb.__file__).parent
ROOT = PACKAGE.parent
FOLDERS = ("resampling", "network")
BLOCK = re.compile(r"^```py\n# (autoimb/\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def entering_files(folder: Path) -> set[str]:
    """Name the modules of a folder that enter options in a table."""
    found = set()
    for path in folder.glob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        attributes = [c.func for c in calls if isinstance(c.func, ast.Attribute)]
        partial = ["NETWORK.option" in ast.unparse(c) for c in calls]
        if any(a.attr == "option" for a in attributes) or any(partial):
            found.add(path.stem)
    return found - {"component"}


def imported_files(folder: Path) -> set[str]:
    tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
    return {each.name for n in tree.body if isinstance(n, ast.ImportFrom) for each in n.names}


def forgotten(package: Path) -> list[str]:
    """Name the files with options that no line imports."""
    return [
        f"{name}/{file}.py"
        for name in FOLDERS
        for folder in [package / "space" / name]
        for file in sorted(entering_files(folder) - imported_files(folder))
    ]


def test_no_file_with_options_is_forgotten() -> None:
    assert forgotten(PACKAGE) == []


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the repository, as far as a new option needs it."""
    for name in ("autoimb", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
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
    assert forgotten(copied / "autoimb") == [f"resampling/{Path(path).name}"]
    with (copied / index).open("a", encoding="utf-8") as file:
        file.write(line)
    assert forgotten(copied / "autoimb") == []
    name = Path(path).stem
    assert f"  {name}: Drop up to half" in run(copied, "-m", "autoimb", "options", "resampling")
    run(copied, "-m", "tests.test_docs")
    page = (copied / "reports" / "reference" / "search-space.md").read_text("utf-8")
    assert f"| resampling | `{name}` | Drop up to half" in page
    conformance = ["tests/space/test_options.py", "-p", "no:cacheprovider", "-k", name, "-rA"]
    output = run(copied, "-m", "pytest", *conformance)
    passed = re.findall(r"^PASSED .*::(test_\w+)\[resampling-", output, re.MULTILINE)
    assert {"test_a_forced_option_fits_and_predicts", "test_an_option_says_what_it_is"} <= set(
        passed
    )
