"""Rules of the package that ruff and import-linter cannot check."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import autoimb
from autoimb.pipeline.artifact import save
from autoimb.runs.folder import RunFolder
from tests.support.pipelines import pipeline, table
from tests.support.programs import python
from tests.support.studies import FINGERPRINT, study

PACKAGE = Path(autoimb.__file__).parent
ROOT = PACKAGE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_a_subpackage_is_a_docstring_and_what_it_re_exports() -> None:
    for path in PACKAGE.glob("*/**/__init__.py"):
        first, *rest = ast.parse(path.read_text(encoding="utf-8")).body
        assert isinstance(first, ast.Expr), path
        assert all(isinstance(node, ast.ImportFrom | ast.Assign) for node in rest), path


def test_the_version_stands_in_pyproject_too() -> None:
    assert PROJECT["version"] == autoimb.__version__


def test_imported_packages_are_those_that_pyproject_declares() -> None:
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module)
    tops = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"autoimb"}
    packages = packages_distributions()
    imported = {package.lower() for top in tops for package in packages[top]}
    assert len(PROJECT["dependencies"]) <= 19
    requirements = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["distributed"]
    assert imported == {re.match(r"[\w-]+", line)[0] for line in requirements}


def test_pages_that_support_constants_exist() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    pages = {
        page for text in sources.values() for page in re.findall(r"reports/[\w/.-]+\.md", text)
    }
    assert "reports/design/paired-comparisons.md" in pages
    assert [page for page in sorted(pages) if not (ROOT / page).is_file()] == []


# --- what is loaded when --------------------------------------------------------------------------

HEAVY = ["torch", "numba", "optuna", "sklearn", "numpy", "pandas", "imblearn", "matplotlib"]
ABOVE = ["search", "evaluation", "training", "space", "runs", "runtime", "report"]
EVALUATED = ["optuna", "imblearn", "numba", "llvmlite", *(f"autoimb.{name}" for name in ABOVE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a pipeline, rows for it, and the RUN folder of a search."""
    folder = tmp_path_factory.mktemp("imports")
    save(pipeline(), folder / "p.autoimb")
    table(40).assign(y=["no", "yes"] * 20).to_csv(folder / "rows.csv", index=False)
    with RunFolder.open(folder / "run", fingerprint=FINGERPRINT) as run:
        study(run, n_trials=2)
    return folder


@pytest.mark.parametrize(
    ("commands", "unimported"),
    [
        (["", "--help", "--version", "search --help"], HEAVY),
        (["status run", "inspect p.autoimb", "options"], ["torch"]),
        (["evaluate p.autoimb rows.csv --target y"], EVALUATED),
    ],
)
def test_a_command_imports_what_it_needs(
    commands: list[str], unimported: list[str], folder: Path
) -> None:
    code = (
        "import sys\n"
        "from autoimb.cli import main\n"
        f"for words in {commands}:\n"
        "    assert main(words.split()) == 0\n"
        f"    assert not sys.modules.keys() & set({unimported}), words\n"
    )
    done = python("-c", code, cwd=folder)
    assert done.returncode == 0, done.stderr
