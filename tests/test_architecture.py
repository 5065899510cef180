"""House rules that a program can see."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import pytest
from pipelines import pipeline, table

import autoimb
from autoimb.pipeline.artifact import save
from autoimb.policy import UNMEASURED, SearchPolicy

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
    """Whether a decorator such as ``@COMPONENT.option(...)`` enters the function in a table."""
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


def sources() -> dict[str, str]:
    """The text of every module of the package, by its dotted name."""
    return {
        path.relative_to(ROOT)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__"): path.read_text(encoding="utf-8")
        for path in MODULES
    }


def import_graph(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """What each module imports of the others: at its head, for its types, and in functions."""
    graph: dict[str, set[str]] = {}
    for name, text in texts.items():
        found = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                own = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= own & texts.keys()
                if not own <= texts.keys():
                    found.add(str(node.module))
        graph[name] = found & texts.keys()
    return graph


def circle(texts: Mapping[str, str]) -> list[str]:
    """Modules that import each other in a circle; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(import_graph(texts)).prepare()
    except graphlib.CycleError as error:
        names: list[str] = error.args[1]
        return names
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = import_graph(sources())
    assert "autoimb.search.search" in graph["autoimb.estimator"]
    assert "autoimb.estimator" in graph["autoimb"]  # for its types
    assert "autoimb.runtime.process" in graph["autoimb.cli.searching"]  # in a function
    assert circle(sources()) == []


@pytest.mark.parametrize(
    "code",
    [
        "import a.one",
        "from a import one",
        "from a.one import x",
        "if TYPE_CHECKING:\n    from a.one import x",
        "def f():\n    from a.one import x",
    ],
)
def test_a_circle_is_found(code: str) -> None:
    texts = {"a": "", "a.one": "from a.two import y", "a.two": "import a.three", "a.three": code}
    assert set(circle(texts)) == {"a.one", "a.two", "a.three"}
    assert circle(texts | {"a.three": "from a import x"}) == []


def test_the_version_stands_in_pyproject_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == autoimb.__version__


# --- what is loaded when --------------------------------------------------------------------------

HEAVY = ("torch", "numba", "optuna", "sklearn", "pandas", "imblearn", "matplotlib")


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
        "for name in ('optuna', 'imblearn', 'matplotlib', 'jinja2', 'typer', 'numba'):\n"
        "    sys.modules[name] = None  # importing it fails\n"
        "from autoimb import FittedPipeline, load\n"
        "assert 'autoimb.search' not in sys.modules\n"
    )


# --- how deep it is -------------------------------------------------------------------------------

MOST_FRAMES = 8  # from `fit` to the step of the optimizer


def test_a_fit_reaches_the_optimizer_through_few_functions() -> None:
    """All frames of the package count, comprehensions and wrappers included."""
    from autoimb.estimator import AutoImbClassifier
    from autoimb.training.optimizer import Optimizer

    stack: list[str] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or frame.f_code is not Optimizer.step.__code__ or stack:
            return
        caller: FrameType | None = frame
        while caller is not None:
            if Path(caller.f_code.co_filename).is_relative_to(PACKAGE):
                stack.append(caller.f_code.co_name)
            caller = caller.f_back
        sys.setprofile(before)

    random = np.random.default_rng(0)
    table = pd.DataFrame({"amount": random.normal(size=60), "count": random.integers(0, 9, 60)})
    model = AutoImbClassifier(
        time_budget=None, n_trials=1, network="mlp", cv=2, n_jobs=1, random_state=0
    )
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        model.fit(table, np.arange(60) % 5 == 0)
    finally:
        sys.setprofile(before)
    stack.reverse()
    assert stack[0] == "fit"
    assert stack[-1] == "step"
    assert len(stack) <= MOST_FRAMES, stack


# --- what steers a search -------------------------------------------------------------------------


def unsupported(policy: type) -> list[str]:
    """The fields of a policy that name nothing under ``reports/``, and don't say so."""
    named = {own.name: own.metadata.get("support", "") for own in fields(policy)}
    reports = ROOT / "reports"
    return [
        name
        for name, support in named.items()
        if support != UNMEASURED and not (support and (reports / support).is_file())
    ]


def test_every_constant_that_steers_a_search_says_what_supports_it() -> None:
    assert unsupported(SearchPolicy) == []
    assert sum(own.metadata["support"] != UNMEASURED for own in fields(SearchPolicy)) > 10


def test_a_constant_without_support_is_found() -> None:
    @dataclass
    class Other:
        bare: int = 1
        unmeasured: int = field(default=1, metadata={"support": UNMEASURED})
        empty: int = field(default=1, metadata={"support": ""})
        gone: int = field(default=1, metadata={"support": "decisions/9999-gone.md"})
        folder: int = field(default=1, metadata={"support": "decisions"})

    assert unsupported(Other) == ["bare", "empty", "gone", "folder"]


# --- what is dangerous elsewhere ------------------------------------------------------------------


def bandit(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bandit", "-q", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_what_bandit_finds_is_explained_where_it_stands() -> None:
    done = bandit("-c", "pyproject.toml", "-r", "autoimb")
    assert done.returncode == 0, done.stdout
    lines = [line for text in sources().values() for line in text.splitlines()]
    bare = [
        line for line in lines if "# nosec" in line and not re.search(r"# nosec B\d+ # \w", line)
    ]
    assert bare == []


def test_what_bandit_is_for_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import pickle\npickle.loads(b'')\n", encoding="utf-8")
    assert "B301" in bandit("-c", "pyproject.toml", str(module)).stdout


# --- other packages' private names ----------------------------------------------------------------

PRIVATE = re.compile(r"_(?!_)\w*$|__\w*(?<!__)$")
DOCUMENTED = {"os._exit"}  # public for all its name


def is_private(dotted: str) -> bool:
    return any(PRIVATE.match(part) for part in dotted.split("."))


def foreign_names(tree: ast.AST) -> dict[str, str]:
    """What a module calls the modules of other packages and what it imports from them."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                found[bound] = alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return {name: full for name, full in found.items() if full.split(".")[0] != "autoimb"}


def own_names(tree: ast.AST) -> set[str]:
    """Every name that a module gives to something of its own."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return found


def private_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        full: list[str] = []
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in full:
            if name.split(".")[0] not in ("autoimb", "__future__") and is_private(name):
                yield name


def private_uses(text: str, *inherited: str) -> set[str]:
    """Private names of other packages that a module imports, reads or asks for by a string.

    A private name counts as the package's own only where the module, or one of those that it may
    inherit from, gives it to something itself, and never on what was imported from elsewhere.
    """
    tree = ast.parse(text)
    foreign, own = foreign_names(tree), own_names(tree)
    for other in inherited:
        own |= own_names(ast.parse(other))
    found = set(private_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value, name = node.value, node.attr
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "setattr", "hasattr", "delattr")
            and isinstance(node.args[1], ast.Constant)
        ):
            value, name = node.args[0], str(node.args[1].value)
        else:
            continue
        root, _, rest = ast.unparse(value).partition(".")
        full = ".".join(filter(None, [foreign.get(root, root), rest, name]))
        if is_private(name) and (root in foreign or name not in own):
            found.add(full)
    return found - DOCUMENTED


def test_private_names_of_other_packages_stand_in_one_module() -> None:
    texts, found = sources(), {}
    graph = import_graph(texts)
    for name, text in texts.items():
        uses = private_uses(text, *(texts[other] for other in graph[name]))
        if uses:
            found[name] = uses
    assert found.keys() == {"autoimb.foreign"}, found
    assert "torch._fused_adamw_" in found["autoimb.foreign"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import torch\ntorch._C._x()", {"torch._C._x", "torch._C"}),
        ("import optuna.study as s\ns._optimize()", {"optuna.study._optimize"}),
        ("def f():\n    import torch\n    torch._x", {"torch._x"}),
        ("from sklearn.utils._tags import x", {"sklearn.utils._tags.x"}),
        ("from joblib import _memory", {"joblib._memory"}),
        ("import pandas._libs", {"pandas._libs"}),
        ("from torch import nn\ngetattr(nn, '_x')", {"torch.nn._x"}),
        ("import optuna\ns = optuna.create_study()\ns._storage", {"s._storage"}),
        ("class A(B):\n    def f(self):\n        self._validate()", {"self._validate"}),
        ("import os\nos._exit(1)", set()),
        ("import torch\ntorch.__version__", set()),
        ("from autoimb.a import _b", set()),
        ("class A:\n    def _f(self):\n        return self._f, other._f", set()),
        ("class A:\n    def __init__(self):\n        self._x = 1\n        self._x += 1", set()),
        ("import torch\n_x = torch\ntorch._x", {"torch._x"}),
    ],
)
def test_a_private_name_of_another_package_is_found(code: str, found: set[str]) -> None:
    assert private_uses(code) == found


def test_a_private_name_of_a_base_class_is_the_package_s_own() -> None:
    code, base = "class A(B):\n    def f(self):\n        self._x", "class B:\n    _x = 1"
    assert private_uses(code) == {"self._x"}
    assert private_uses(code, base) == set()


def test_evaluating_a_pipeline_imports_no_search(tmp_path: Path) -> None:
    fitted = pipeline()
    rows = table(60).assign(fraud=np.resize(fitted.classes, 60))
    rows.to_parquet(tmp_path / "rows.parquet")
    save(fitted, tmp_path / "pipeline.autoimb")
    words = ["evaluate", str(tmp_path / "pipeline.autoimb"), str(tmp_path / "rows.parquet")]
    words += ["--target", "fraud"]
    python(
        "import sys\n"
        "from autoimb.cli import main\n"
        f"assert main({words!r}) == 0\n"
        "own = {name for name in sys.modules if name.startswith('autoimb.')}\n"
        "above = ('search', 'evaluation', 'training', 'space', 'runs', 'runtime', 'report')\n"
        "assert not [n for n in own if n.split('.')[1] in above], own\n"
        "assert not {'optuna', 'numba', 'llvmlite'} & sys.modules.keys()\n"
    )
