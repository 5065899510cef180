"""Rules of the package that ruff and import-linter cannot check."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import autoimb
from autoimb.pipeline.artifact import save
from autoimb.runs.folder import RunFolder
from tests.support import programs
from tests.support.pipelines import pipeline, table
from tests.support.studies import FINGERPRINT, study

PACKAGE = Path(autoimb.__file__).parent
ROOT = PACKAGE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python(code: str) -> None:
    """Run code in a fresh interpreter; an assertion that fails there fails here."""
    done = programs.python("-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr


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


def test_importing_the_package_and_help_are_quick() -> None:
    python(
        "import sys, autoimb\n"
        "from autoimb.cli import main\n"
        f"assert not sys.modules.keys() & set({HEAVY})\n"
        "for words in [], ['--help'], ['--version'], ['search', '--help']:\n"
        "    assert main(words) == 0\n"
        f"    assert not sys.modules.keys() & set({HEAVY}), words"
    )


def test_reading_a_run_and_a_pipeline_needs_no_torch(tmp_path: Path) -> None:
    file, run = tmp_path / "p.autoimb", tmp_path / "run"
    save(pipeline(), file)
    with RunFolder.open(run, fingerprint=FINGERPRINT) as folder:
        study(folder, n_trials=2)
    python(
        "import sys\n"
        "from autoimb.cli import main\n"
        f"for words in ['status', {str(run)!r}], ['inspect', {str(file)!r}], ['options']:\n"
        "    assert main(words) == 0\n"
        "    assert 'torch' not in sys.modules, words\n"
    )


def test_evaluating_a_pipeline_imports_no_search(tmp_path: Path) -> None:
    file, rows = tmp_path / "p.autoimb", tmp_path / "rows.csv"
    save(pipeline(), file)
    table(40).assign(y=["no", "yes"] * 20).to_csv(rows, index=False)
    words = ["evaluate", str(file), str(rows), "--target", "y"]
    python(
        "import sys\n"
        "from autoimb.cli import main\n"
        f"assert main({words!r}) == 0\n"
        "own = {name for name in sys.modules if name.startswith('autoimb.')}\n"
        "above = ('search', 'evaluation', 'training', 'space', 'runs', 'runtime', 'report')\n"
        "assert not [n for n in own if n.split('.')[1] in above], own\n"
        "assert not {'optuna', 'numba', 'llvmlite'} & sys.modules.keys()\n"
    )
