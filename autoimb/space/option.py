"""What an option of the search space is: one entry with name, sentence, ranges, rule and code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from autoimb.errors import OptionError, choices

__all__ = [
    "Float",
    "Int",
    "OneOf",
    "Option",
    "Profile",
    "Range",
    "Room",
    "Rule",
    "Twin",
    "Value",
    "minority_at_least",
    "work_at_most",
]

Value = float | int | str | bool

_TIMES = 2.0  # the planned work of a trial, that a single option may cost
_OPERATIONS = 640e9  # of a trial, in a search of the default five minutes on two workers


class Profile(Protocol):
    """What feasibility may look at: counts, never rows."""

    @property
    def n_rows(self) -> int:
        """Rows of the table."""

    @property
    def minority_count(self) -> int:
        """Rows of the rarest class."""

    @property
    def n_classes(self) -> int:
        """Classes of the target."""

    @property
    def n_numbers(self) -> int:
        """Numeric columns."""

    @property
    def n_categories(self) -> int:
        """Categorical columns."""

    @property
    def operations(self) -> float | None:
        """Floating-point operations planned for a trial; None where nothing was planned."""


@dataclass(frozen=True)
class Float:
    """A real range, ends included."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Int:
    """An integer range, ends included."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class OneOf:
    """A few values, the first one the plainest."""

    values: tuple[Value, ...]


Range = Float | Int | OneOf
Rule = Callable[[Profile], str | None]
Sizes = Callable[[np.ndarray, float], np.ndarray]
Twin = Callable[[Mapping[str, Any]], tuple[str, dict[str, Value]]]


@dataclass(frozen=True)
class Option:
    """One choice of a room.

    Attributes
    ----------
    name : str
    code : callable
        Takes the option's parameters by name, and what its room gives.
    ranges : mapping of str to Range
        The parameters and where they are searched.
    rules : tuple of callables
        Each answers None, or the sentence why the option can't run on a table.
    exact : bool
        Whether the prior that a member sees is known by formula, so that it is corrected by it
        (law 4); otherwise the probabilities are calibrated out of fold.
    samples_rows : bool
        Ensembles only: whether members draw balanced rows, which leaves nothing for the rooms
        before them to do.
    searched : bool
        Whether a search tries it unless told otherwise.
    sizes : callable or None
        ``(counts (C,), strength) -> counts (C,)``: the rows of each class that it leaves, or about
        so many; None where it leaves as many as it gets.
    twin : callable or None
        ``(parameters) -> (name, parameters)``: the option of the same room that it is held
        against, as large and without its lever; None where the plain option is.
    """

    name: str
    code: Callable[..., Any]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    exact: bool = True
    samples_rows: bool = False
    searched: bool = True
    sizes: Sizes | None = None
    twin: Twin | None = None

    @property
    def summary(self) -> str:
        """The first line of the code's docstring."""
        return (inspect.getdoc(self.code) or "").partition("\n")[0]

    @property
    def lowest(self) -> dict[str, Value]:
        """The low end of every range, and of a few values the first."""
        return {
            key: bounds.values[0] if isinstance(bounds, OneOf) else bounds.low
            for key, bounds in self.ranges.items()
        }

    def feasible(self, profile: Profile) -> str | None:
        """Return None where the option can run on such a table, else the sentence why not."""
        for rule in self.rules:
            sentence = rule(profile)
            if sentence is not None:
                return f"{self.name} {sentence}"
        return None


class Room:
    """One axis of the search space: a table of options, in the order in which they were written.

    Parameters
    ----------
    name : str
    summary : str
        One sentence.
    """

    def __init__(self, name: str, summary: str) -> None:
        self.name = name
        self.summary = summary
        self._options: dict[str, Option] = {}

    def option(
        self,
        *rules: Rule,
        exact: bool = True,
        samples_rows: bool = False,
        searched: bool = True,
        sizes: Sizes | None = None,
        twin: Twin | None = None,
        **ranges: Range,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Enter the decorated function as an option under its own name."""

        def enter(code: Callable[..., Any]) -> Callable[..., Any]:
            name = code.__name__
            self._options[name] = Option(
                name, code, ranges, rules, exact, samples_rows, searched, sizes, twin
            )
            return code

        return enter

    @property
    def names(self) -> tuple[str, ...]:
        """All options, in order."""
        return tuple(self._options)

    def __getitem__(self, name: str) -> Option:
        if name not in self._options:
            raise OptionError(choices(f"{self.name} option", name, self._options))
        return self._options[name]

    def __iter__(self) -> Iterator[Option]:
        return iter(self._options.values())


def minority_at_least(count: int) -> Rule:
    """Demand so many rows of the rarest class."""

    def rule(profile: Profile) -> str | None:
        if profile.minority_count >= count:
            return None
        return (
            f"needs at least {count} rows of the rarest class in the table, "
            f"got {profile.minority_count}."
        )

    return rule


def work_at_most(operations: Callable[[Profile], float], because: str) -> Rule:
    """Demand that the work, in operations, is within what a trial is planned to be.

    Without a plan it must be within that of a trial in a default search.
    """

    def rule(profile: Profile) -> str | None:
        planned = profile.operations or _OPERATIONS
        needed = operations(profile)
        if needed <= _TIMES * planned:
            return None
        return (
            f"would need {needed / planned:.1f} times the work that is planned for a trial "
            f"({because}; {profile.n_rows:,} rows)."
        )

    return rule
