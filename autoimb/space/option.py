"""What an option of the search space is: one entry with name, sentence, ranges, rule and code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from autoimb.errors import OptionError, choices

__all__ = [
    "Choice",
    "Component",
    "Float",
    "Int",
    "OneOf",
    "Option",
    "Profile",
    "Range",
    "Rule",
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
Made = TypeVar("Made")


@dataclass(frozen=True)
class Choice:
    """An option of a component with its parameters.

    Attributes
    ----------
    name : str
    params : tuple of (str, value)
        In the order of the option's ranges.
    """

    name: str
    params: tuple[tuple[str, Value], ...] = ()

    @property
    def values(self) -> dict[str, Value]:
        """The parameters by name."""
        return dict(self.params)

    @property
    def brief(self) -> str:
        """The option with its parameters, to three digits."""
        return self._text(lambda value: f"{value:.3g}" if isinstance(value, float) else str(value))

    def __str__(self) -> str:
        """Write it exactly: `autoimb.space.reading.read_strategy` reads it back."""
        return self._text(
            lambda value: repr(float(value)) if isinstance(value, float) else str(value)
        )

    def _text(self, write: Callable[[Value], str]) -> str:
        inside = ", ".join(f"{key}={write(value)}" for key, value in self.params)
        return f"{self.name}({inside})" if inside else self.name


@dataclass(frozen=True)
class Option(Generic[Made]):
    """One choice of a component.

    Attributes
    ----------
    name : str
    code : callable
        Takes the option's parameters by name, and what its component gives; returns what its
        component calls for.
    ranges : mapping of str to Range
        The parameters and where they are searched.
    rules : tuple of callables
        Each answers None, or the sentence why the option can't run on a table.
    exact : bool
        Whether the prior that a member sees is known by formula, so that it is corrected by it
        (law 4); otherwise the probabilities are calibrated out of fold.
    searched : bool
        Whether a search tries it unless told otherwise.
    sizes : callable or None
        ``(counts (C,), strength) -> counts (C,)``: the rows of each class that it leaves, or about
        so many; None where it leaves as many as it gets.
    """

    name: str
    code: Callable[..., Made]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    exact: bool = True
    searched: bool = True
    sizes: Sizes | None = None

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


class Component(Generic[Made]):
    """One axis of the search space: a table of options, in the order in which they were written.

    What all its options return is the component's type: ``Component[Resampled]``.

    Parameters
    ----------
    name : str
    summary : str
        One sentence.
    """

    def __init__(self, name: str, summary: str) -> None:
        self.name = name
        self.summary = summary
        self._options: dict[str, Option[Made]] = {}
        self._fallback: Callable[[str], Option[Made]] = self._unknown

    def option(
        self,
        *rules: Rule,
        exact: bool = True,
        searched: bool = True,
        sizes: Sizes | None = None,
        **ranges: Range,
    ) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
        """Enter the decorated function as an option under its own name."""

        def enter(code: Callable[..., Made]) -> Callable[..., Made]:
            self._options[code.__name__] = Option(
                code.__name__,
                code,
                ranges,
                rules,
                exact=exact,
                searched=searched,
                sizes=sizes,
            )
            return code

        return enter

    def fallback(self, code: Callable[[str], Option[Made]]) -> Callable[[str], Option[Made]]:
        """Enter the decorated function as what makes an option of any other name, or refuses it."""
        self._fallback = code
        return code

    def _unknown(self, name: str) -> Option[Made]:
        raise OptionError(choices(f"{self.name} option", name, self.names))

    def make(self, choice: Choice, *given: Any, **named: Any) -> Made:
        """Call a chosen option's code with its parameters and what the component gives it."""
        return self[choice.name].code(*given, **named, **choice.values)

    @property
    def names(self) -> tuple[str, ...]:
        """All options, in order."""
        return tuple(self._options)

    def __getitem__(self, name: str) -> Option[Made]:
        return self._options[name] if name in self._options else self._fallback(name)

    def __iter__(self) -> Iterator[Option[Made]]:
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
