"""A file in the current folder is never taken for a module of ours, of Python or of a library."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoimb.report.figures import progress
from tests.support.programs import python

STRAY = ("pebble", "struct", "socket", "signal", "selectors", "joblib", "multiprocessing")
# A script without a guard of `__main__`.
SEARCH = """
from pathlib import Path
import sys

import beside
from tests.support import studies

with Path(sys.argv[1]).open("a") as tally:
    tally.write(__name__ + "\\n")

OFFSET = 1.0

def evaluate(task, trial):
    outcome = beside.evaluate(task, trial)
    assert outcome.score.value + OFFSET >= 1.0
    return outcome

result = studies.study(n_jobs=2, n_trials=4, evaluate=evaluate)
print(*(record.status + record.reason for record in result.records))
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of files that are named like modules, and leave a mark where they are run."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in STRAY:
        mark = tmp_path / f"{name}.ran"
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    return folder


def marks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.glob("*.ran"))


@pytest.mark.slow
def test_workers_have_what_a_script_defines_and_import_from_its_paths_alone(
    hostile: Path, tmp_path: Path
) -> None:
    """They do not run the script again, and import from its folder, not from the current one."""
    scripts, tally = tmp_path / "scripts", tmp_path / "tally.txt"
    scripts.mkdir()
    (scripts / "beside.py").write_text("from tests.support.studies import evaluate\n")
    (scripts / "search.py").write_text(SEARCH)
    done = python(scripts / "search.py", tally, cwd=hostile)
    assert done.stdout.split() == ["complete"] * 4, done.stderr
    assert tally.read_text() == "__main__\n"
    assert marks(hostile) == []


def test_the_module_as_a_program_looks_in_the_current_folder_last(hostile: Path) -> None:
    done = python("-m", "autoimb", "options", "loss", cwd=hostile)
    assert done.returncode == 0, done.stderr
    assert marks(hostile) == []


def test_compiled_code_is_not_kept_where_the_current_folder_says(tmp_path: Path) -> None:
    (tmp_path / ".numba_config.yaml").write_text("cache_dir: pickles\n")
    code = "import autoimb.nn.compiled, numba; print(repr(numba.config.CACHE_DIR))"
    done = python("-P", "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == repr(os.environ.get("NUMBA_CACHE_DIR", "")), done.stderr


def test_figures_do_not_follow_a_file_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.facecolor: red\n")
    row = {"status": "complete", "error": 0.1, "score": 0.5}
    rows = [row | {"trial": number} for number in range(2)]
    code = f"from autoimb.report.figures import progress\nprint(progress({rows}, members=[0]))"
    done = python("-P", "-c", code, cwd=tmp_path)
    assert "<svg" in done.stdout, done.stderr
    assert done.stdout == f"{progress(rows, members=[0])}\n"
