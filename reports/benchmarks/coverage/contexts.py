"""A plugin of pytest: each test is a context of coverage, and what became of it is kept."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest
from coverage import Coverage

from reports.benchmarks.cases import ROOT

__all__ = ["TESTS"]

TESTS = ROOT / ".coverage_tests.json"  # of each test by its id: passed or not, and its seconds

_seen: dict[str, dict[str, float]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Name what is run while a test runs after it."""
    measured = Coverage.current()
    assert measured is not None
    measured.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        measured.switch_context("")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Sum up the seconds of a test; it has passed if it ran and no part of it failed."""
    own = _seen.setdefault(report.nodeid, {"passed": True, "seconds": 0.0})
    own["passed"] = bool(own["passed"]) and report.outcome == "passed"
    own["failed"] = bool(own.get("failed")) or report.outcome == "failed"
    own["seconds"] += report.duration


def pytest_sessionfinish() -> None:
    """Leave what was seen where `mutants` finds it, beside what other runs have seen."""
    before = json.loads(TESTS.read_text(encoding="utf-8")) if TESTS.exists() else {}
    TESTS.write_text(json.dumps(before | _seen), encoding="utf-8")
