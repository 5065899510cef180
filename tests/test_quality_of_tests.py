"""How the tests are tested."""

from __future__ import annotations

from reports.benchmarks.coverage import coverage


def test_the_tests_run_as_much_as_is_asked_for() -> None:
    total = coverage.summed(coverage.ROWS.read())
    assert coverage.floor() == 90
    assert total["lines"] >= coverage.floor()
    assert total["arcs"] >= coverage.floor()
