"""Options of the search space: entries with a name, a summary, ranges, rules and code."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from autoimb.errors import OptionError, choices
from autoimb.text import shown

if TYPE_CHECKING:
    from autoimb.data.profile import Profile

__all__ = [
    "Choice",
    "Component",
    "Float",
    "Int",
    "OneOf",
    "Option",
    "Range",
    "Rule",
    "Sizes",
    "Value",
    "minority_at_least",
    "option_parts",
    "work_at_most",
]

Value = float | int | str | bool

# Maximum work of a single option, as a multiple of the planned work of a trial.
_TIMES = 2.0
# Planned operations of a trial in a search of the default five minutes with two workers.
_OPERATIONS = 640e9


@dataclass(frozen=True)
class Float:
    """A range of real numbers, including its ends."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Int:
    """A range of integers, including its ends."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class OneOf:
    """A set of values, the simplest first."""

    values: tuple[Value, ...]


Range = Float | Int | OneOf
Rule = Callable[["Profile"], str | None]
Sizes = Callable[[np.ndarray, float], np.ndarray]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Choice:
    """An option of a component with its parameters.

    Attributes
    ----------
    name : str
    params : tuple of (str, value)
        Parameters in the order of the option's ranges.
    """

    name: str
    params: tuple[tuple[str, Value], ...] = ()

    @property
    def values(self) -> dict[str, Value]:
        """The parameters by name."""
        return dict(self.params)

    @property
    def brief(self) -> str:
        """The option with its parameters, rounded to three digits."""
        return self._text(lambda value: f"{value:.3g}" if isinstance(value, float) else str(value))

    def __str__(self) -> str:
        """Return the exact text, which `option_parts` can split."""
        return self._text(str)

    def _text(self, write: Callable[[Value], str]) -> str:
        inside = ", ".join(f"{key}={write(value)}" for key, value in self.params)
        return f"{self.name}({inside})" if inside else self.name


def option_parts(text: str) -> tuple[str, dict[str, Any]]:
    """Split text such as ``"power(tau=0.5)"`` into name and parameters, without checking them.

    Values are constants of Python, or words as text.

    Raises
    ------
    OptionError
        If the text is neither a name nor a call of a name with keywords only.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            values = ((key.arg or "**", key.value) for key in node.keywords)
            return node.func.id, {
                key: value.id if isinstance(value, ast.Name) else ast.literal_eval(value)
                for key, value in values
            }
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    raise OptionError(
        f"An option is written like SVMSMOTE or SVMSMOTE(k_neighbors=3); got {shown(text)}."
    )


@dataclass(frozen=True)
class Option(Generic[ResultT]):
    """One choice of a component.

    Attributes
    ----------
    name : str
    code : callable
        Function of the component's arguments and, by name, of the option's parameters, which
        returns a value of the component's type.
    ranges : mapping of str to Range
        The parameters with their search ranges.
    rules : tuple of callables
        Functions that return None, or the reason why the option cannot run on a table.
    exact : bool
        Whether the prior in a member's training rows is known in closed form, which then corrects
        the probabilities (law 4); otherwise they are calibrated out of fold.
    searched : bool
        Whether a search includes the option by default.
    sizes : callable or None
        ``(counts (C,), strength) -> counts (C,)``: approximate number of rows of each class after
        the option; None if it does not change them.
    """

    name: str
    code: Callable[..., ResultT]
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
        """The low end of every range, or its first value."""
        return {
            key: bounds.values[0] if isinstance(bounds, OneOf) else bounds.low
            for key, bounds in self.ranges.items()
        }

    def feasible(self, profile: Profile) -> str | None:
        """Return why the option cannot run on a table, or None if it can."""
        for rule in self.rules:
            sentence = rule(profile)
            if sentence is not None:
                return f"{self.name} {sentence}"
        return None


class Component(Generic[ResultT]):
    """One axis of the search space: a table of options, in the order of their definition.

    The type parameter is the type that all options return, as in ``Component[Resampled]``.

    Parameters
    ----------
    name : str
    summary : str
        Description of the component in one sentence.
    """

    def __init__(self, name: str, summary: str) -> None:
        self.name = name
        self.summary = summary
        self._options: dict[str, Option[ResultT]] = {}
        self._fallback: Callable[[str], Option[ResultT]] = self._unknown

    def option(
        self,
        *rules: Rule,
        exact: bool = True,
        searched: bool = True,
        sizes: Sizes | None = None,
        **ranges: Range,
    ) -> Callable[[Callable[..., ResultT]], Callable[..., ResultT]]:
        """Return a decorator that adds a function as an option under the function's name."""

        def enter(code: Callable[..., ResultT]) -> Callable[..., ResultT]:
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

    def fallback(self, code: Callable[[str], Option[ResultT]]) -> Callable[[str], Option[ResultT]]:
        """Set the decorated function, which builds an option of any other name or raises."""
        self._fallback = code
        return code

    def _unknown(self, name: str) -> Option[ResultT]:
        raise OptionError(choices(f"{self.name} option", name, self.names))

    def make(self, choice: Choice, *args: Any, **kwargs: Any) -> ResultT:
        """Call the code of a chosen option with the arguments and the chosen parameters."""
        return self[choice.name].code(*args, **kwargs, **choice.values)

    @property
    def names(self) -> tuple[str, ...]:
        """All options, in order."""
        return tuple(self._options)

    def __getitem__(self, name: str) -> Option[ResultT]:
        return self._options[name] if name in self._options else self._fallback(name)

    def __iter__(self) -> Iterator[Option[ResultT]]:
        return iter(self._options.values())


def minority_at_least(count: int) -> Rule:
    """Return a rule that requires a minimum number of rows of the rarest class."""

    def rule(profile: Profile) -> str | None:
        if profile.minority_count >= count:
            return None
        return (
            f"needs at least {count} rows of the rarest class in the table, "
            f"got {profile.minority_count}."
        )

    return rule


def work_at_most(operations: Callable[[Profile], float], because: str) -> Rule:
    """Return a rule that limits an option's work, in operations, relative to that of a trial.

    Without a plan, the planned work is that of a trial in a default search.
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
