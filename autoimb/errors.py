"""Errors of autoimb.

::

    AutoImbError
    ├── InputError (ValueError)      invalid input; the message names culprit, rule and choices
    │   ├── TableError               the table itself: not a table file, no rows, repeated names
    │   ├── SchemaError              columns: missing, or of another kind than in the schema
    │   │   └── CellError (TypeError)    a cell holds neither text, number nor date
    │   ├── TargetError              the target: unknown, missing values, one class
    │   ├── OptionError              an unknown option, metric or parameter value
    │   └── BudgetError              a budget that no search can keep
    ├── ArtifactError (ValueError)   a pipeline file that can't be read
    ├── RunError                     the RUN folder: unwritable, in use, holding another search
    │   └── ClusterLostError         the cluster is lost; the search ends with its completed trials
    ├── InfeasibleError              an option that can't run on this table (recorded, never fatal)
    └── DeadlineExceeded             the budget ended during a step (recorded, never fatal)
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from autoimb.text import harmless

__all__ = [
    "ArtifactError",
    "AutoImbError",
    "BudgetError",
    "CellError",
    "ClusterLostError",
    "DeadlineExceeded",
    "InfeasibleError",
    "InputError",
    "OptionError",
    "RunError",
    "SchemaError",
    "TableError",
    "TargetError",
    "check_choice",
    "choices",
]


class AutoImbError(Exception):
    """Base of the errors that autoimb raises on purpose."""

    def __str__(self) -> str:
        return harmless(super().__str__())  # a traceback goes to a terminal


class InputError(AutoImbError, ValueError):
    """Invalid input of the user."""


class TableError(InputError):
    """Table that can't be used as it is."""


class SchemaError(InputError):
    """Column that is missing or differs from the schema."""


class CellError(SchemaError, TypeError):
    """Cell that is neither text, number nor date."""


class TargetError(InputError):
    """Target that can't be learned."""


class OptionError(InputError):
    """Unknown option, metric or parameter value."""


class BudgetError(InputError):
    """Budget that no search can keep."""


class ArtifactError(AutoImbError, ValueError):
    """Pipeline file that can't be read."""


class RunError(AutoImbError):
    """RUN folder that can't be used."""


class ClusterLostError(RunError):
    """Cluster that can't be reached any more."""


class InfeasibleError(AutoImbError):
    """Option that can't run on this table; the leaderboard shows the message."""


class DeadlineExceeded(AutoImbError):  # noqa: N818  a signal, not a mistake
    """End of the budget during a step of the search."""


def check_choice(
    kind: str, value: object, allowed: Collection[Any], error: type[InputError] = OptionError
) -> None:
    """Raise an error with the message of `choices` unless the value is one of the valid names."""
    if value not in allowed:
        raise error(choices(kind, value, allowed))


def choices(kind: str, value: object, allowed: Iterable[object]) -> str:
    """Return the message for an unknown name.

    Parameters
    ----------
    kind : str
        Kind of the name, for example ``"metric"``.
    value : object
        The unknown name.
    allowed : iterable of object
        All valid names.

    Returns
    -------
    str
        One sentence with the nearest name, if one is near, and all choices.
    """
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {value!r}.{hint} Choices: {', '.join(names)}."
