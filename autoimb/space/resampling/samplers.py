"""Samplers of imbalanced-learn as options of the component, with parameters that the user fixed.

Such an option has the name that scikit-learn prints for the estimator, ``SVMSMOTE`` or
``SVMSMOTE(k_neighbors=3)``, with the parameters that differ from their defaults, sorted. The
sampler is rebuilt from this name. imbalanced-learn is imported when the first such name is read.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.data.profile import Profile
from autoimb.data.values import text_of
from autoimb.errors import InfeasibleError, OptionError, choices
from autoimb.foreign import validate_parameters
from autoimb.space.option import Option, Rule, option_parts
from autoimb.space.resampling.component import (
    NEIGHBOURS,
    RESAMPLING,
    Resampled,
    Rows,
    check_classes_kept,
)
from autoimb.space.resampling.neighbours import neighbour_space
from autoimb.text import shown

__all__ = [
    "checked_labels",
    "is_sampler",
    "read_sampler",
    "sampler_text",
]

Params = Mapping[str, Any]

_MODULES = ("over_sampling", "under_sampling", "combine")  # of imbalanced-learn
_BY_LABEL = ("sampling_strategy", "shrinkage")  # parameters that may name classes
_CATEGORICAL = "categorical_features"  # a parameter that the encoded table gives


# --- names ----------------------------------------------------------------------------------------


@cache
def _classes() -> dict[str, type]:
    """Return the samplers that imbalanced-learn exports, by class name."""
    modules = [import_module(f"imblearn.{name}") for name in _MODULES]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


@cache
def _defaults(name: str) -> dict[str, Any]:
    """Return the parameters of a sampler with their defaults."""
    parameters = inspect.signature(_classes()[name]).parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def is_sampler(name: object) -> bool:
    """Return whether a name is that of a class; names of other options are in lower case."""
    return isinstance(name, str) and name[:1].isupper()


def read_sampler(value: object) -> str:
    """Return the name of the option for a sampler, given as an instance, a class name or a name.

    Raises
    ------
    OptionError
        With the unknown class or parameter, or with the value that JSON cannot represent.
    """
    if isinstance(value, str):
        return sampler_text(*(option_parts(value) if is_sampler(value) else (value, {})))
    name = type(value).__name__
    if _classes().get(name) is not type(value):
        raise OptionError(
            f"resampling takes {', '.join(RESAMPLING.names)}, and samplers of imbalanced-learn as "
            f"instances or by class name: {', '.join(_classes())}; got {shown(value)}."
        )
    params: dict[str, Any] = value.get_params(deep=False)  # type: ignore[attr-defined]  # a sampler
    return sampler_text(name, params)


def sampler_text(name: str, params: Params) -> str:
    """Check a sampler's class and parameters, and return the name of the option for it.

    Raises
    ------
    OptionError
    """
    if name not in _classes():
        message = choices("resampling option", name, [*RESAMPLING.names, *_classes()])
        raise OptionError(
            f"{message} The capitalized ones are class names of imbalanced-learn samplers, which "
            "can also be given as instances."
        )
    defaults = _defaults(name)
    plain = {}
    for key, value in params.items():
        if key not in defaults:
            raise OptionError(choices(f"parameter of {name}", key, defaults))
        if key == _CATEGORICAL:
            _check_categorical(name, value)
        elif value is not defaults[key]:
            plain[key] = _plain(name, key, value)
    changed = {key: plain[key] for key in sorted(plain) if plain[key] != defaults[key]}
    # The values are checked by the sampler's own validation.
    categories = {_CATEGORICAL: "auto"} if _CATEGORICAL in defaults else {}
    try:
        validate_parameters(_classes()[name](**changed, **categories))
    except ValueError as error:
        raise OptionError(" ".join(str(error).split())) from None
    written = ", ".join(f"{key}={value!r}" for key, value in changed.items())
    return f"{name}({written})" if written else name


def _check_categorical(name: str, value: object) -> None:
    if not (value is None or (isinstance(value, str) and value == "auto")):
        raise OptionError(
            f"The {_CATEGORICAL} of {name} must be None or 'auto', since the kinds of columns say "
            f"which are categorical (kinds= overrules them); got {shown(value)}."
        )


def _plain(name: str, key: str, value: object) -> Any:
    """Return a parameter as a JSON value, with class labels as text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {text_of(label): _plain(name, key, item) for label, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(name, key, item) for item in value]
        return [text_of(item) for item in items] if key in _BY_LABEL else items
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise OptionError(
        f"The {key} of {name} must be a number, text, boolean or None, or a list or dict of them, "
        f"since strategies are kept as JSON; got {shown(value)}."
    )


def checked_labels(text: str, classes: Iterable[object]) -> None:
    """Check that the classes in a sampler's parameters are classes of the target.

    Parameters
    ----------
    text : str
        Name of any option of the component.
    classes : iterable of object

    Raises
    ------
    OptionError
    """
    if not is_sampler(text):
        return
    name, params = option_parts(text)
    labels = [text_of(label) for label in classes]
    for key in _BY_LABEL:
        value = params.get(key)
        for label in value if isinstance(value, list | dict) else ():
            if label not in labels:
                raise OptionError(choices(f"class in the {key} of {name}", label, labels))


# --- options --------------------------------------------------------------------------------------


@RESAMPLING.fallback
@cache
def _sampler_option(text: str) -> Option[Resampled]:
    """Return the option for a sampler; its parameters are fixed, so it has no ranges."""
    text = read_sampler(text)
    name, params = option_parts(text)
    selects = _selects_rows(name, params)
    code = partial(_resample, name=name, params=params, selects=selects)
    summary = (inspect.getdoc(_classes()[name]) or "").partition("\n")[0]
    code.__doc__ = f"{summary.rstrip('.')} (imbalanced-learn)."
    rules: list[Rule] = [] if selects else [partial(_unsuited, name)]
    if name not in ("RandomOverSampler", "RandomUnderSampler"):
        rules.append(NEIGHBOURS)
    return Option(text, code, rules=tuple(rules), exact=False)


def _selects_rows(name: str, params: Params) -> bool:
    """Return whether a sampler selects rows, as opposed to computing new ones."""
    if name == "RandomOverSampler":  # With a shrinkage it adds noise to numbers.
        return params.get("shrinkage") is None
    if name == "ClusterCentroids":  # The default is soft voting: the centres themselves.
        return bool(params.get("voting") == "hard")
    return name in set(import_module("imblearn.under_sampling").__all__)


def _unsuited(name: str, profile: Profile) -> str | None:
    """Return why a sampler cannot compute new rows of the columns of a table, or None if it can."""
    numbers, categories = profile.n_numbers, profile.n_categories
    if name == "SMOTENC":
        suited, needs = numbers and categories, "numeric and categorical columns"
    elif name == "SMOTEN":
        suited, needs = not numbers, "categorical columns only"
    else:
        suited, needs = not categories, "no categorical columns, as it interpolates numbers"
    if suited:
        return None
    return (
        f"needs {needs}; the table has {numbers} numeric and {categories} categorical columns. Use "
        "smote, which suits all tables, or a sampler that selects rows."
    )


# --- running them ---------------------------------------------------------------------------------


def _resample(
    part: Rows, *, random_state: int, name: str, params: Params, selects: bool
) -> Resampled:
    if name == "SMOTEN" and part.encoded.numbers.shape[1]:
        raise InfeasibleError(
            f"{name} needs categorical columns only and the rows have numbers, of which some may "
            "be statistics of categories with many levels."
        )
    x = _space(part.encoded, selects=selects)
    sampler = _classes()[name](**_fitted_params(part, random_state, name=name, params=params))
    with warnings.catch_warnings():
        # The causes of these warnings are known or visible in the result.
        warnings.simplefilter("ignore")
        try:
            new_x, new_y = sampler.fit_resample(x, part.y)
        except MemoryError:
            raise
        except Exception as error:
            # Any other error is caused by this method on these rows, and the trial is infeasible.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InfeasibleError(f"{name} can't resample these rows: {reason}") from error
    new_x, new_y = np.asarray(new_x, dtype=np.float64), np.asarray(new_y, dtype=np.int64)
    check_classes_kept(new_y, part.y, name)
    source, is_real = _sources(sampler, (x, part.y), (new_x, new_y))
    rows, synthetic = np.sort(source[is_real]), new_x[~is_real]
    if not len(synthetic):
        return Resampled(rows)
    if selects or not np.isfinite(synthetic).all():
        raise InfeasibleError(f"{name} returned rows that are not in the table or not finite.")
    return Resampled(rows, _encoded(synthetic, part.encoded), new_y[~is_real])


def _fitted_params(part: Rows, random_state: int, *, name: str, params: Params) -> dict[str, Any]:
    """Return the parameters for a fold, with seed, possible neighbours and columns of codes."""
    accepted = _defaults(name)
    fitted = dict(params)
    if "random_state" in accepted and fitted.get("random_state") is None:
        fitted["random_state"] = random_state
    if "k_neighbors" in accepted:
        rarest = int(np.unique(part.y, return_counts=True)[1].min())
        if rarest < 2:
            raise InfeasibleError(
                f"{name} needs at least 2 training rows of a class to add to, got {rarest}."
            )
        asked = fitted.get("k_neighbors", accepted["k_neighbors"])
        fitted["k_neighbors"] = min(asked, rarest - 1)
    if _CATEGORICAL in accepted:
        numbers = part.encoded.numbers.shape[1]
        fitted[_CATEGORICAL] = list(range(numbers, numbers + part.encoded.codes.shape[1]))
    for key in _BY_LABEL:
        if isinstance(fitted.get(key), dict):
            fitted[key] = {part.labels.index(c): value for c, value in fitted[key].items()}
        elif isinstance(fitted.get(key), list):
            fitted[key] = [part.labels.index(c) for c in fitted[key]]
    return fitted


def _space(encoded: Encoded, *, selects: bool) -> np.ndarray:
    """Return the rows as input of a sampler, float64 and without negative zeros.

    Samplers that compute new rows get unchanged numbers and codes, so that new rows can be
    converted back. A table without categories has codes too, 0 or 1: indicators of missing numbers.
    """
    space = neighbour_space(encoded) if selects else np.hstack([encoded.numbers, encoded.codes])
    return np.asarray(space, dtype=np.float64) + 0.0


def _encoded(synthetic: np.ndarray, like: Encoded) -> Encoded:
    """Convert new rows back to encoded rows, with codes rounded to the nearest valid one."""
    numbers = like.numbers.shape[1]
    max_codes = np.array(like.cardinalities, dtype=np.int64) - 1
    return Encoded(
        numbers=synthetic[:, :numbers].astype(np.float32),
        codes=np.clip(np.rint(synthetic[:, numbers:]), 0, max_codes).astype(np.int32),
        cardinalities=like.cardinalities,
    )


Labelled = tuple[np.ndarray, np.ndarray]


def _sources(
    sampler: Any, original: Labelled, resampled: Labelled
) -> tuple[np.ndarray, np.ndarray]:
    """Return the original row of each resampled row as a position, and whether there is one.

    Samplers that select rows report them. For the others, a resampled row that equals an original
    row is identified with it, in the order of rows; surplus equal rows are new. Both results have
    shape (m,).
    """
    if hasattr(sampler, "sample_indices_"):
        source = np.asarray(sampler.sample_indices_, dtype=np.int64)
        return source, (original[0][source] == resampled[0]).all(axis=1)
    equal_rows: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for position, row in enumerate(np.column_stack(original)):
        equal_rows[row.tobytes()].append(position)
    rows = (equal_rows[row.tobytes()] for row in np.column_stack(resampled))
    source = np.array([positions.popleft() if positions else -1 for positions in rows])
    return source, source >= 0
