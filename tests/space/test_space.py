"""The search space in words: every option with its ranges, and which tables it can't run on.

After a change that is meant, ``python -m tests.space.test_space > tests/space/space.txt`` writes it
anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from autoimb.space.components import COMPONENTS
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.option import OneOf, Option, Range
from autoimb.space.partner import PARTNER

COLUMNS = ((10, 0), (0, 10), (5, 5), (500, 0))
LITTLE = 1e6  # operations, of which any work is many times as much


@dataclass(frozen=True)
class Table:
    """What feasibility looks at."""

    n_rows: int
    minority_count: int
    n_numbers: int
    n_categories: int
    operations: float | None
    n_classes: int = 2

    def __str__(self) -> str:
        planned = "" if self.operations is None else f", {self.operations:g} operations"
        return (
            f"{self.n_rows} rows, {self.minority_count} rare, {self.n_numbers} numbers, "
            f"{self.n_categories} categories{planned}"
        )


def tables() -> list[Table]:
    """Too few rare rows; and work that is told to several digits, or just too much by default."""
    return [
        Table(1_000, 5, 10, 0, LITTLE),
        Table(1_000, 6, 10, 0, None),
        *(Table(20_000, 400, *columns, LITTLE) for columns in COLUMNS),
        *(Table(200_000, 2_000, *columns, None) for columns in COLUMNS),
    ]


def lines() -> Iterator[str]:
    for component in (*COMPONENTS.values(), PARTNER):
        yield f"{component.name}: {component.summary}"
        for option in component:
            yield f"  {option.name}: {option.summary}"
            yield f"    {flags(option)}"
            if component is PARTNER:
                yield f"    {option.code(**option.lowest)}"
            if component is ENSEMBLE:
                shape = option.code(**option.lowest)
                yield (
                    f"    at least {shape.members} members, {shape.rounds} rounds; "
                    f"continues: {shape.continues}; weighs: {shape.weighs}"
                )
            for key, bounds in option.ranges.items():
                yield f"    {key}: {range_of(bounds)}"
            for table, rule in product(tables(), option.rules):
                reason = rule(table)
                if reason is not None:
                    yield f"    {table}: {reason}"


def flags(option: Option) -> str:
    sizes = "as it gets" if option.sizes is None else option.sizes.__name__
    exact = "exact" if option.exact else "calibrated"
    return f"{'searched' if option.searched else 'on request'}, {exact}, {sizes}"


def range_of(bounds: Range) -> str:
    if isinstance(bounds, OneOf):
        return f"one of {bounds.values}"
    return f"{bounds.low!r} to {bounds.high!r}{', logarithmic' if bounds.log else ''}"


def test_the_space_is_what_is_written_down() -> None:
    """Any change of a range, a flag, a rule or a sentence shows."""
    written = Path(__file__).with_name("space.txt").read_text(encoding="utf-8")
    assert list(lines()) == written.splitlines()


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())
