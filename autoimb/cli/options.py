"""Arguments and options of all commands, by the name of the parameter.

Options of ``autoimb search`` that are parameters of `AutoImbClassifier` or of its `fit` have the
type, the default and the first sentence of the description there. `PANELS` holds the placeholder of
each option, how its text is read, and what the help of a command line adds.
"""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from autoimb.errors import InputError, OptionError

__all__ = [
    "OPTIONS",
    "Option",
    "class_weight",
    "folder",
    "listed",
    "seconds",
    "threshold",
    "tree_models",
    "with_options",
]

KEYWORD = inspect.Parameter.KEYWORD_ONLY
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool}

_COMMA = re.compile(r",(?![^(]*\))")  # that no parentheses enclose
_TIME = re.compile(r"([0-9.]+)\s*([smh])(?:ec|in)?")
# Of numpydoc: names, the first word of the type, the default if there is one, and the description.
_ENTRY = re.compile(r"^(\w[\w, ]*) : (\w*).*?(?:, default=(.*))?\n((?:    .*\n?)+)", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=\.) ")  # between two sentences


def listed(text: str) -> list[str]:
    """Split ``"a, B(c=1, d=2)"`` into its names."""
    return [name.strip() for name in _COMMA.split(text) if name.strip()]


def seconds(text: str) -> float:
    """Read a time: seconds, or a number with the unit ``s``, ``m`` or ``h``."""
    match = _TIME.fullmatch(text.strip())
    number, unit = match.groups() if match else (text, "s")
    try:
        return float(number) * UNITS[unit]
    except ValueError:
        raise OptionError(
            f"--time-budget must be seconds or a time such as 90s, 5m or 1h; got {text!r}."
        ) from None


def folder(text: str) -> Path:
    """Read a folder; the empty text of an unset variable is not the current one."""
    if not text:
        raise OptionError("--out must name a folder, got ''.")
    return Path(text)


def _column_kinds(pairs: list[str]) -> dict[str, str]:
    """Read ``["zip=categorical", ...]``."""
    kinds = {}
    for pair in pairs:
        column, _, kind = pair.rpartition("=")
        if not column or not kind:
            raise OptionError(f"--kind must look like COLUMN=KIND, got {pair!r}.")
        kinds[column] = kind
    return kinds


def tree_models(text: str) -> list[str] | None:
    """Read names, ``auto`` or ``none``."""
    return None if text == "none" else listed(text)


def threshold(text: str) -> str | float:
    """Read a probability, or a rule such as ``recall>=0.8``."""
    try:
        return float(text)
    except ValueError:
        return text


def class_weight(text: str) -> Any:
    """Read names, ``balanced``, or JSON of class to weight."""
    if text == "balanced":
        return text
    if not text.lstrip().startswith(("{", "[")):
        return listed(text)
    return _json(text, "--class-weight is neither names nor JSON")


def _json(text: str, complaint: str = "--cost-matrix is no JSON") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{complaint} ({error}): got {text!r}.") from error


@dataclass(frozen=True)
class Option:
    """How a command line writes a parameter.

    Attributes
    ----------
    metavar : str or None
        Placeholder of the value; None for a flag.
    help : str
        Description, which follows that of the estimator.
    names : str
        The names of the option where they are not that of the parameter.
    read : callable or None
        Converts the text of an option that is used.
    kind : type or None
        The type of an option where it is not that of the parameter.
    default : object
        The default of an option where it is not that of the parameter.
    """

    metavar: str | None = None
    help: str = ""
    names: str = ""
    read: Callable[[Any], Any] | None = None
    kind: Any = None
    default: object = ...


PANELS = {
    "Arguments": {
        "component": Option("COMPONENT", "One component only [default: all]."),
        "pipeline": Option("PIPELINE", "A pipeline.autoimb file that a search wrote."),
        "run": Option("RUN", "The folder of a search."),
        "data": Option(
            "DATA",
            "A table: CSV (also compressed), Parquet or Feather; a folder of such parts, or a "
            "pattern of their names.",
        ),
    },
    "Options": {
        "version": Option(help="Print the version."),
        "out": Option("OUT", "The file to write.", "--out -o"),
        "page": Option("FILE", "The file to write [default: RUN/report.html].", "--out -o"),
        "form": Option("F", "autoimb, or joblib (a pickle).", "--format"),
        "threshold": Option(
            "RULE",
            "Decision rule in place of the fitted one (two classes): a probability, or "
            '"recall>=0.8", "precision>=0.5".',
            read=threshold,
        ),
        "keep": Option(
            "A,B", "Columns of DATA to copy to OUT, before the predictions.", read=listed
        ),
        "guard_formulas": Option(
            help="Put an apostrophe before labels and copied text that a spreadsheet would "
            "compute, as =1+1."
        ),
        "metric": Option("M", names="--metric -m"),
        "random_state": Option(
            "N",
            "In Python the default is another one each time; a run is repeated and resumed by its "
            "command.",
            "--random-state --seed",
            default=0,
        ),
        "run_dir": Option(
            "RUN", "The folder to write [default: runs/<name of DATA>].", "--out", folder
        ),
        "resume": Option(help="Go on with the search in RUN."),
        "fail_on": Option(
            "SEVERITY",
            "Exit with status 3 after a finding of this severity or a graver one: info, warning, "
            "error. Everything is written all the same.",
        ),
        "dry_run": Option(
            help="Print what the search would do, with the findings of the checks before it, and "
            "end: nothing is trained or written."
        ),
        "as_json": Option(None, "Print it as JSON.", "--json"),
        "quiet": Option(None, "No progress, no summary.", "--quiet -q"),
    },
    "Search space": {
        "resampling": Option("A,B", "For example smote,SVMSMOTE.", read=listed),
        "loss": Option("A,B", read=listed),
        "ensemble": Option("A,B", read=listed),
        "network": Option("A,B", read=listed),
        "partners": Option(
            "A,B", "Give auto, none, or names: small_trees,forest.", read=tree_models
        ),
        "min_samples_leaf": Option("N"),
        "blend": Option("B"),
        "strategy": Option("JSON", "As inspect prints it, or a row of leaderboard.csv as JSON."),
    },
    "Data": {
        "target": Option("COL", "Name of the target column."),
        "weight": Option(
            "COL",
            "Name of a column of row weights, which is not a feature.",
            "--weight --sample-weight",
        ),
        "kinds": Option("COL=KIND", "May be repeated.", "--kind", _column_kinds, list[str]),
        "drop": Option("A,B", "Columns to leave out.", read=listed),
        "pos_label": Option("L"),
        "allow_many_classes": Option(),
        "max_memory": Option(
            "SIZE",
            "Memory for everything, as 4GB [default: half of the machine's]. Of a table that would "
            "take more than a sixteenth of it, rows are drawn: all of the rarer classes as far as "
            "possible, the others standing for several.",
        ),
    },
    "Validation": {
        "cv": Option("N", kind=int),
        "groups": Option("A,B", "Names of columns, which are not features.", read=listed),
        "time": Option(
            "A,B",
            "Names of columns, which are not features but for what recurs (weekdays).",
            read=listed,
        ),
        "gap": Option("TIME"),
        "keep_time": Option(),
        "test": Option("FILE", "A table with the target.", kind=Path),
        "holdout": Option("SHARE"),
    },
    "Decision": {
        "class_weight": Option(
            "A,B", "Names, balanced, or JSON of class to weight.", read=class_weight
        ),
        "cost_matrix": Option("JSON", "For example [[0, 1], [40, 0]].", read=_json),
        "cost_in_loss": Option(),
    },
    "Limits": {
        "time_budget": Option(
            "TIME",
            "The start of the program counts; 90s, 5m and 1h are accepted as well [default: 5m, or "
            "none with --n-trials or --strategy].",
            read=seconds,
            default=None,
        ),
        "n_trials": Option("N", names="--n-trials --trials"),
        "max_predict_seconds": Option("S"),
        "max_artifact_mb": Option("MB"),
    },
    "Cluster": {
        "n_jobs": Option(
            "J",
            "In Python the default is 1, as a library must not take a machine that others use; a "
            "command is alone.",
            "--n-jobs --jobs",
            default=-1,
        ),
        "schedule": Option("S"),
        "backend": Option("B"),
        "scheduler": Option(
            "ADDRESS",
            "Address of the Dask scheduler, as tcp://HOST:8786. J counts its threads, -1 uses all "
            "of them.",
        ),
    },
}
OPTIONS = {name: option for panel in PANELS.values() for name, option in panel.items()}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _read_estimator() -> tuple[dict[str, inspect.Parameter], dict[str, str]]:
    """Read the parameters of `AutoImbClassifier` and of its `fit` from the docstrings.

    The module is parsed and not imported, so that ``--help`` needs neither torch nor scikit-learn.

    Returns
    -------
    parameters : dict of str to Parameter
        Those that are options, with their default and a type that a text can be read as.
    summaries : dict of str to str
        The first sentence of each description, with the names of options for those of parameters.
    """
    module = ast.parse(pkgutil.get_data("autoimb", "estimator.py") or "")
    (estimator,) = (node for node in module.body if isinstance(node, ast.ClassDef))
    methods = {node.name: node for node in estimator.body if isinstance(node, ast.FunctionDef)}
    flags = {f"`{name}`": _flag(name) for name in OPTIONS}
    parameters, summaries = {}, {}
    for node in (estimator, methods["fit"]):
        for names, kind, default, text in _ENTRY.findall(ast.get_docstring(node) or ""):
            parts = re.split(r"(`\w+`)", _SENTENCE.split(" ".join(text.split()))[0])
            summary = "".join(flags.get(part, part) for part in parts).replace("`", "")
            for name in OPTIONS.keys() & set(names.split(", ")):
                value = ast.literal_eval(default or "None")
                parameters[name] = inspect.Parameter(
                    name, KEYWORD, default=value, annotation=TYPES.get(kind, str)
                )
                summaries[name] = summary
    return parameters, summaries


PARAMETERS, SUMMARIES = _read_estimator()


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare the parameters of a command as its arguments and options, and read their values.

    The parameters of the estimator take the place of ``**parameters``.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters = dict(signature.parameters)
    if parameters.pop("parameters", None):
        parameters |= PARAMETERS
    declared = [p for name, p in parameters.items() if name not in OPTIONS]  # typer's context
    declared += [_declared(parameters[name]) for name in OPTIONS if name in parameters]

    @wraps(command)
    def run(**values: Any) -> None:
        for name, value in values.items():
            read = OPTIONS[name].read if name in OPTIONS else None
            if read is not None and value is not None:
                values[name] = read(value)
        command(**values)

    run.__annotations__ = {parameter.name: parameter.annotation for parameter in declared}
    # Typer reads the signature; mypy does not know the attribute.
    run.__signature__ = signature.replace(parameters=declared)  # type: ignore[attr-defined]
    return run


def _declared(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter with what typer needs to know of it."""
    name, option = parameter.name, OPTIONS[parameter.name]
    default: Any = parameter.default if option.default is ... else option.default
    if default is parameter.empty:
        default = ...  # required, to typer
    panel = next(panel for panel, options in PANELS.items() if name in options)
    value = (typer.Argument if panel == "Arguments" else typer.Option)(
        default,
        *([] if panel == "Arguments" else option.names.split() or [_flag(name)]),
        metavar=option.metavar,
        help=f"{SUMMARIES.get(name, '')} {option.help}".strip(),
        rich_help_panel=panel,
    )
    kind = option.kind or (str if option.read else parameter.annotation)
    return inspect.Parameter(name, KEYWORD, default=value, annotation=kind)
