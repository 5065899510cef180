"""The arguments that several commands share, and the small grammar of their values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from autoimb.errors import InputError, OptionError

__all__ = [
    "AsJson",
    "Data",
    "MaxArtifactMb",
    "MaxMemory",
    "MaxPredictSeconds",
    "Out",
    "Pipeline",
    "Run",
    "Target",
    "Weight",
    "column_kinds",
    "json_value",
    "listed",
    "named_folder",
    "seconds",
    "weight_words",
]

_TIME = re.compile(r"(?P<number>[0-9.]+)\s*(?P<unit>[smh])(?:ec|in)?")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_BETWEEN = re.compile(r",(?![^(]*\))")  # commas that no parentheses enclose

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A table: CSV (also compressed), Parquet or Feather; a folder of such parts, or a "
        "pattern of their names.",
    ),
]
Pipeline = Annotated[
    Path, typer.Argument(metavar="PIPELINE", help="A pipeline.autoimb file that a search wrote.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The file to write.")]
Target = Annotated[str, typer.Option("--target", metavar="COL", help="Name of the target column.")]

Weight = Annotated[
    str | None,
    typer.Option(
        "--weight",
        "--sample-weight",
        metavar="COL",
        help="Name of a column of row weights; it is no feature.",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory that everything should fit, as 4GB [default: half of the machine's]. Of a "
        "table that would take more than a sixteenth, rows are drawn: all of the rarer classes as "
        "far as possible, the others standing for several.",
    ),
]

MaxPredictSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="S",
        help="Seconds, as they are counted, that the result may need for a thousand rows on one "
        "thread.",
    ),
]
MaxArtifactMb = Annotated[
    float | None,
    typer.Option(
        "--max-artifact-mb", metavar="MB", help="Megabytes that the file of the result may have."
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def listed(value: str | None) -> list[str] | None:
    """Split ``"a, B(c=1, d=2)"`` into its names; None stays None."""
    if value is None:
        return None
    return [name.strip() for name in _BETWEEN.split(value) if name.strip()]


def named_folder(value: str) -> Path:
    """Read a folder; an empty word, which an unset variable leaves, is not the current one."""
    if not value:
        raise OptionError("--out must name a folder, got ''.")
    return Path(value)


def seconds(value: str) -> float:
    """Read a time: seconds, or a number with the unit ``s``, ``m`` or ``h``."""
    found = _TIME.fullmatch(value.strip())
    try:
        number = float(found["number"]) if found else float(value)
    except ValueError:
        raise OptionError(
            f"--time-budget must be seconds or a time such as 90s, 5m or 1h; got {value!r}."
        ) from None
    return number * _UNITS[found["unit"]] if found else number


def column_kinds(pairs: list[str]) -> dict[str, str]:
    """Read ``["zip=categorical", ...]``."""
    kinds = {}
    for pair in pairs:
        column, equals, kind = pair.rpartition("=")
        if not equals or not column or not kind:
            raise OptionError(f"--kind must look like COLUMN=KIND, got {pair!r}.")
        kinds[column] = kind
    return kinds


def weight_words(value: str | None) -> Any:
    """Read ``--class-weight``: names, ``balanced``, or JSON of class to weight."""
    if value is None or value == "balanced":
        return value
    if value.lstrip()[:1] not in ("{", "["):
        return listed(value)
    return json_value(value, "--class-weight is neither names nor JSON")


def json_value(value: str | None, complaint: str) -> Any:
    """Read an option that is JSON; None stays None."""
    if value is None:
        return None
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise InputError(f"{complaint} ({error}): got {value!r}.") from error
