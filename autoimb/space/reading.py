"""A strategy as users hold one: the value, its JSON, or a line of the leaderboard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from autoimb.errors import OptionError, choices
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.draw import STRENGTHS, Space
from autoimb.space.option import Choice, Float, OneOf, Range, Value
from autoimb.space.resampling.component import RESAMPLING
from autoimb.space.resampling.samplers import is_sampler, read_sampler, sampler_text
from autoimb.space.strategy import Strategy

__all__ = ["read_option", "read_strategy"]


def read_option(component: str, value: Any) -> str:
    """Return the name of an option that a search may try, given as a name or a sampler.

    Raises
    ------
    OptionError
        Naming the unknown option and those that exist.
    """
    names = COMPONENTS[component].names
    if value in names:
        return str(value)
    if component == RESAMPLING.name:
        return read_sampler(value)
    raise OptionError(choices(f"{component} option", value, names))


def read_strategy(given: object) -> Strategy:
    """Read a strategy that a search may try as it is.

    Parameters
    ----------
    given : Strategy, mapping, str, Series or DataFrame of one row
        A strategy; its JSON, as a mapping or as text; or one line of a leaderboard, whose columns
        named like the components hold texts such as ``"power(tau=0.5)"``. Other keys are ignored.

    Returns
    -------
    Strategy

    Raises
    ------
    OptionError
        Naming the component, option or parameter that is missing or unknown, or its value with
        the rule that it breaks.
    """
    if isinstance(given, Strategy):
        values: Mapping[str, Any] = given.to_json()
    else:
        values = _mapping(given)
    missing = [name for name in COMPONENTS if name not in values]
    if missing:
        raise OptionError(
            f"A strategy has one option of each of {', '.join(COMPONENTS)}; got none of "
            f"{', '.join(missing)}."
        )
    strategy = Strategy(**{name: _choice(name, values[name]) for name in COMPONENTS})
    Space.of(strategy)  # refuses options that exclude each other
    _check_strengths(strategy)
    return strategy


def _mapping(given: object) -> Mapping[str, Any]:
    wanted = "strategy must be a Strategy, its JSON, or one line of a leaderboard"
    read: Any = given
    if isinstance(given, str):
        try:
            read = json.loads(given)
        except json.JSONDecodeError as error:
            raise OptionError(f"{wanted}; the text is no JSON ({error}): {given[:80]!r}.") from None
    elif hasattr(given, "to_dict"):  # of pandas, which need not be loaded here
        rows = read.to_dict("records") if read.ndim == 2 else [read.to_dict()]
        if len(rows) != 1:
            raise OptionError(f"{wanted}; got a table of {len(rows)} rows.")
        read = rows[0]
    if not isinstance(read, Mapping):
        raise OptionError(f"{wanted}; got {given!r}.")
    return read


def _choice(component: str, given: object) -> Choice:
    if component == RESAMPLING.name and is_sampler(given):
        return Choice(read_sampler(given))
    if isinstance(given, str):
        name, params = _from_text(given)
    elif isinstance(given, Mapping) and isinstance(given.get("name"), str):
        name, params = given["name"], given.get("params") or {}
    else:
        raise OptionError(
            f"The {component} of a strategy must be a text such as 'name(parameter=value)', or a "
            f"dict of name and params; got {given!r}."
        )
    if component == RESAMPLING.name and is_sampler(name):
        return Choice(sampler_text(name, params))
    ranges = COMPONENTS[component][name].ranges
    what = f"parameter of {component} {name!r}"
    for key in params:
        if key not in ranges:
            raise OptionError(choices(what, key, ranges or ["none"]))
    lacking = [key for key in ranges if key not in params]
    if lacking:
        raise OptionError(f"The {component} {name!r} lacks its parameters {', '.join(lacking)}.")
    return Choice(
        name,
        tuple(
            (key, _value(f"{component} {name!r}", key, params[key], ranges[key])) for key in ranges
        ),
    )


def _from_text(text: str) -> tuple[str, dict[str, str]]:
    """Read ``"name(a=1, b=x)"``; what `Choice` writes has neither commas nor signs in values."""
    name, opened, inside = text.strip().partition("(")
    params = {}
    if opened:
        for part in inside.removesuffix(")").split(","):
            key, _, value = part.partition("=")
            params[key.strip()] = value.strip()
    return name.strip(), params


def _value(where: str, key: str, given: object, bounds: Range) -> Value:
    """Check one value, a text or a plain value, against its range."""
    if isinstance(bounds, OneOf):
        for value in bounds.values:
            if given in (value, str(value)) and isinstance(given, bool) <= isinstance(value, bool):
                return value
        raise OptionError(choices(f"{key} of {where}", given, bounds.values))
    number = _number(given)
    low = 0.0 if key in STRENGTHS else bounds.low  # a strength may have given way to another one
    whole = isinstance(bounds, Float) or number.is_integer()
    if not (whole and low <= number <= bounds.high):
        kind = "a number" if isinstance(bounds, Float) else "a whole number"
        raise OptionError(
            f"The {key} of {where} must be {kind} from {low:g} to {bounds.high:g}, got {given!r}."
        )
    return number if isinstance(bounds, Float) else int(number)


def _number(given: object) -> float:
    if isinstance(given, bool):
        return math.nan
    try:
        return float(given)  # type: ignore[arg-type]  # what is none raises
    except (TypeError, ValueError):
        return math.nan


def _check_strengths(strategy: Strategy) -> None:
    strengths = [
        float(value)
        for component in CONTROL
        for key, value in getattr(strategy, component).params
        if key in STRENGTHS
    ]
    if len(strengths) > 1 and sum(strengths) > 1.0 + 1e-9:
        raise OptionError(
            "The strengths of imbalance methods that shift the balance sum to at most 1; those of "
            f"the strategy are {', '.join(f'{value:g}' for value in strengths)}."
        )
