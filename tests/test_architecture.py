"""House rules that a program can see."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import autoimb

PACKAGE = Path(autoimb.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

every_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)


def python(code: str) -> None:
    """Run code in a fresh interpreter; an assertion that fails there fails here."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def kind_and_name(name: str) -> tuple[int, str]:
    """Order names as ruff does: constants, classes, functions."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2, name


def is_entry(node: ast.stmt) -> bool:
    """Whether a decorator such as ``@ROOM.option(...)`` enters the function in a table."""
    decorators = getattr(node, "decorator_list", [])
    calls = [each.func for each in decorators if isinstance(each, ast.Call)]
    return any(isinstance(each, ast.Attribute) for each in calls)


@every_module
def test_modules_stay_small(path: Path) -> None:
    n_lines = path.read_text(encoding="utf-8").count("\n")
    assert n_lines <= MOST_LINES


@every_module
def test_imports_are_absolute(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    relative = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    assert not relative


@every_module
def test_public_names_are_exported_sorted_and_complete(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = exported(tree)
    if names is None:
        return
    assert names == sorted(set(names), key=kind_and_name)
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not is_entry(node)
    }
    assert defined <= set(names)
    dotted = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    module = importlib.import_module(dotted.removesuffix(".__init__"))
    assert [name for name in names if not hasattr(module, name)] == []


def test_a_subpackage_is_a_docstring_and_what_it_re_exports() -> None:
    for path in PACKAGE.glob("*/**/__init__.py"):
        first, *rest = ast.parse(path.read_text(encoding="utf-8")).body
        assert isinstance(first, ast.Expr), path
        assert all(isinstance(node, ast.ImportFrom | ast.Assign) for node in rest), path


def test_stations_import_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    command = [lint, "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_stands_in_pyproject_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == autoimb.__version__


# --- what is loaded when --------------------------------------------------------------------------

HEAVY = ("torch", "optuna", "sklearn", "pandas", "imblearn", "matplotlib")


def test_importing_the_package_is_quick() -> None:
    python(f"import sys, autoimb; assert not sys.modules.keys() & set({HEAVY})")


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["search", "--help"]])
def test_help_is_quick(words: list[str]) -> None:
    python(
        "import sys\n"
        "from autoimb.cli import main\n"
        f"assert main({words}) == 0\n"
        f"assert not sys.modules.keys() & set({HEAVY})"
    )


def test_a_pipeline_needs_no_search_packages() -> None:
    python(
        "import sys\n"
        "for name in ('optuna', 'imblearn', 'matplotlib', 'jinja2', 'typer'):\n"
        "    sys.modules[name] = None  # importing it fails\n"
        "from autoimb import FittedPipeline, load\n"
        "assert 'autoimb.search' not in sys.modules\n"
    )
