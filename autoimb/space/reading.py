"""Reading of strategies from a `Strategy`, its JSON or a row of the leaderboard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from autoimb.errors import OptionError, choices
from autoimb.space.components import COMPONENTS
from autoimb.space.draw import Space
from autoimb.space.option import Choice, Float, OneOf, Range, Value, option_parts
from autoimb.space.resampling.component import RESAMPLING
from autoimb.space.resampling.samplers import is_sampler, read_sampler, sampler_text
from autoimb.space.strategy import STRENGTHS, Strategy
from autoimb.text import number_of

__all__ = ["read_option", "read_strategy"]


def read_option(component: str, value: Any) -> str:
    """Return the name of an option, given as a name or a sampler.

    Raises
    ------
    OptionError
        With the unknown option and the existing ones.
    """
    names = COMPONENTS[component].names
    if value in names:
        return str(value)
    if component == RESAMPLING.name:
        return read_sampler(value)
    raise OptionError(choices(f"{component} option", value, names))


def read_strategy(value: object) -> Strategy:
    """Read a complete strategy.

    Parameters
    ----------
    value : Strategy, mapping, str, Series or DataFrame of one row
        A strategy; its JSON, as a mapping or as text; or one row of a leaderboard, whose columns
        of the components contain texts such as ``"power(tau=0.5)"``. Other keys are ignored.

    Returns
    -------
    Strategy

    Raises
    ------
    OptionError
        With the missing or unknown component, option or parameter, or with the value and the rule
        that it violates.
    """
    if isinstance(value, Strategy):
        values: Mapping[str, Any] = value.to_json()
    else:
        values = _mapping(value)
    missing = [name for name in COMPONENTS if name not in values]
    if missing:
        raise OptionError(
            f"A strategy has one option of each of {', '.join(COMPONENTS)}; got none of "
            f"{', '.join(missing)}."
        )
    strategy = Strategy(**{name: _choice(name, values[name]) for name in COMPONENTS})
    Space.of(strategy)  # This raises OptionError for options that exclude each other.
    if len(strategy.strengths) > 1 and sum(strategy.strengths) > 1.0 + 1e-9:
        raise OptionError(
            "The strengths of imbalance methods that shift the balance sum to at most 1; those of "
            f"the strategy are {', '.join(f'{value:g}' for value in strategy.strengths)}."
        )
    return strategy


def _mapping(value: object) -> Mapping[str, Any]:
    expected = "strategy must be a Strategy, its JSON, or one line of a leaderboard"
    content: Any = value
    if isinstance(value, str):
        try:
            content = json.loads(value)
        except json.JSONDecodeError as error:
            raise OptionError(
                f"{expected}; the text is no JSON ({error}): {value[:80]!r}."
            ) from None
    # The attribute identifies a Series or DataFrame without importing pandas.
    elif hasattr(value, "to_dict"):
        rows = content.to_dict("records") if content.ndim == 2 else [content.to_dict()]
        if len(rows) != 1:
            raise OptionError(f"{expected}; got a table of {len(rows)} rows.")
        content = rows[0]
    if not isinstance(content, Mapping):
        raise OptionError(f"{expected}; got {value!r}.")
    return content


def _choice(component: str, value: object) -> Choice:
    content = {"name": value} if isinstance(value, str) else value
    if not (isinstance(content, Mapping) and isinstance(content.get("name"), str)):
        raise OptionError(
            f"The {component} of a strategy must be a text such as 'name(parameter=value)', or a "
            f"dict of name and params; got {value!r}."
        )
    name, params = option_parts(content["name"])
    params |= content.get("params") or {}
    if component == RESAMPLING.name and is_sampler(name):
        return Choice(sampler_text(name, params))
    ranges = COMPONENTS[component][name].ranges
    option = f"{component} {name!r}"
    if params.keys() != ranges.keys():
        raise OptionError(
            f"The {option} takes the parameters {', '.join(ranges) or 'none'}; "
            f"got {', '.join(params) or 'none'}."
        )
    return Choice(
        name, tuple((key, _value(option, key, params[key], ranges[key])) for key in ranges)
    )


def _value(option_text: str, key: str, value: object, bounds: Range) -> Value:
    """Return a parameter's value, given as text or plain value, after checking its range."""
    if isinstance(bounds, OneOf):
        for candidate in bounds.values:
            # A boolean equals 0 or 1, and is accepted only for a boolean.
            same_kind = isinstance(value, bool) <= isinstance(candidate, bool)
            if value in (candidate, str(candidate)) and same_kind:
                return candidate
        raise OptionError(choices(f"{key} of {option_text}", value, bounds.values))
    number = math.nan if isinstance(value, bool) else number_of(value)
    # A strength may be below its range, since the strengths of two methods are scaled down.
    low = 0.0 if key in STRENGTHS else bounds.low
    has_valid_type = isinstance(bounds, Float) or number.is_integer()
    if not (has_valid_type and low <= number <= bounds.high):
        kind = "a number" if isinstance(bounds, Float) else "a whole number"
        raise OptionError(
            f"The {key} of {option_text} must be {kind} from {low:g} to {bounds.high:g}, "
            f"got {value!r}."
        )
    return number if isinstance(bounds, Float) else int(number)
