"""How the tests are tested: what is counted, what is mutated, which releases are the oldest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from reports.benchmarks.cases import ROOT
from reports.benchmarks.coverage import coverage
from reports.benchmarks.mutants import mutants
from reports.benchmarks.mutants.mutations import OPERATORS
from reports.benchmarks.mutants.mutations import mutants as all_mutants
from reports.benchmarks.versions.versions import asked, oldest_releases


def changed(code: str) -> dict[str, list[str]]:
    """All mutants of a module by their operators."""
    found: dict[str, list[str]] = {}
    source = code.encode()
    for one in all_mutants(source):
        found.setdefault(one.operator, []).append(one.of(source).decode())
    return found


@pytest.mark.parametrize(
    ("code", "operator", "expected"),
    [
        ("a < b", "comparison", ["(a <= b)"]),
        ("a == b in c", "comparison", ["(a != b in c)", "(a == b not in c)"]),
        ("a - b", "arithmetic", ["(a + b)"]),
        ("a *= b", "arithmetic", ["a /= b"]),
        ("-a", "arithmetic", ["(a)"]),
        ("a and b", "boolean", ["(a or b)"]),
        ("not a", "boolean", ["(a)"]),
        ("f(3, True)", "constant", ["f(4, True)", "f(3, False)"]),
        ("x = .5\ny = 0.0", "constant", ["x = 1.0\ny = 0.0", "x = .5\ny = 1.0"]),
        ("def f(a, b=3): 'x'", "default argument", ["def f(a, b=4): 'x'"]),
        ("def f(*, b=False): 'x'", "default argument", ["def f(*, b=True): 'x'"]),
        ("def f(): return a", "return value", ["def f(): return None"]),
        ("def f(): raise a", "removed statement", ["def f(): pass"]),
        ("f('é')", "removed statement", ["pass"]),
        ("a.b = c", "removed statement", ["pass"]),
        ("if a: b", "negated condition", ["if (not a): b"]),
        ("[a for a in b if a]", "negated condition", ["[a for a in b if (not a)]"]),
    ],
)
def test_an_operator_makes_its_mutants(code: str, operator: str, expected: list[str]) -> None:
    assert sorted(changed(code)[operator]) == sorted(expected)


@pytest.mark.parametrize(
    "code",
    [
        "x: A | B",
        "def f(a: A | None) -> A | B: return None",
        "__all__ = [*a, 1]",
        "if TYPE_CHECKING:\n    import a",
        "@dataclass(frozen=True)\nclass A: 'x'",
        "f'{a + 1}'",
        "a = b",
    ],
)
def test_types_texts_and_lists_of_names_are_left(code: str) -> None:
    assert changed(code) == {}


def test_a_mutant_knows_its_lines_and_whether_importing_runs_it() -> None:
    source = b"a = 1\ndef f(b=2):\n    return g(\n        b,\n        3,\n    )\n"
    found = {(one.operator, one.after): one for one in all_mutants(source)}
    assert found["constant", "2"].imported
    assert found["default argument", "3"].imported
    inside = found["constant", "4"]
    assert (inside.imported, inside.line, inside.first, inside.last) == (False, 5, 3, 5)


def test_every_mutant_of_the_package_is_a_module() -> None:
    for module, mutant in mutants.draw(300, seed=0):
        source = (ROOT / module).read_bytes()
        assert mutant.of(source) != source
        compile(mutant.of(source), module, "exec")


def test_mutants_are_drawn_by_their_seed() -> None:
    drawn = mutants.draw(300, seed=0)
    assert drawn[:20] == mutants.draw(20, seed=0)
    assert drawn[:20] != mutants.draw(20, seed=1)
    operators = {one.operator for _, one in drawn}
    assert operators <= OPERATORS.keys()
    assert len(operators) >= 7


TRIED = """
import os, signal
def test_fine(): pass
def test_wrong(): assert False
def test_endless():
    while True: pass
def test_dead(): os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_became_of_tests_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_tried.py").write_text(TRIED, encoding="utf-8")
    code = (
        "import sys, json\n"
        "from reports.benchmarks.mutants.warm import attempt\n"
        "for names, limit in json.loads(sys.argv[1]):\n"
        "    print(json.dumps(attempt([f'test_tried.py::test_{n}' for n in names], limit)))"
    )
    asked = [["fine"], 60], [["fine", "wrong", "endless"], 60], [["endless"], 2], [["dead"], 60]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asked)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        ["passed", ""],
        ["failed", "test_tried.py::test_wrong"],
        ["time", ""],
        ["died", ""],
    ]


def test_the_oldest_release_is_the_lower_bound() -> None:
    requirements = [Requirement("a>=2.1,<4"), Requirement("b"), Requirement("c>=3")]
    assert oldest_releases(requirements) == ["a==2.1", "c==3"]
    assert {"numpy", "torch", "pytest"} <= {each.name for each in asked()}


def test_the_tests_run_as_much_as_is_asked_for() -> None:
    total = coverage.summed(coverage.ROWS.read())
    assert coverage.floor() == 90
    assert total["lines"] >= coverage.floor()
    assert total["arcs"] >= coverage.floor()
