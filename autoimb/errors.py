"""The errors of autoimb, all of them.

::

    AutoImbError
    ├── InputError (ValueError)      a user's mistake: culprit, rule, value and choices are named
    │   ├── TableError               the table itself: not a table file, no rows, repeated names
    │   ├── SchemaError              columns: missing, of another kind than the schema says
    │   │   └── CellError (TypeError)    a cell holds neither text, number nor date
    │   ├── TargetError              the target: unknown, missing values, one class
    │   ├── OptionError              an unknown option, metric or parameter value
    │   └── BudgetError              a budget that no search can keep
    ├── ArtifactError (ValueError)   a pipeline file that can't be read
    ├── RunError                     the RUN folder: unwritable, in use, holding another search
    │   └── ClusterLostError         what trials ran on is gone: the search ends with what it had
    ├── InfeasibleError              an option that can't run on this table (recorded, never fatal)
    └── DeadlineExceeded             the budget ended inside a station (recorded, never fatal)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
    "choices",
]


class AutoImbError(Exception):
    """Base of everything autoimb raises on purpose."""

    def __str__(self) -> str:
        return harmless(super().__str__())  # a traceback goes to a terminal


class InputError(AutoImbError, ValueError):
    """A user's mistake."""


class TableError(InputError):
    """The table can't be used as it is."""


class SchemaError(InputError):
    """A column is missing or is not what the schema says."""


class CellError(SchemaError, TypeError):
    """A cell holds something that is neither text, number nor date."""


class TargetError(InputError):
    """The target can't be learned from."""


class OptionError(InputError):
    """An unknown option, metric or parameter value."""


class BudgetError(InputError):
    """A budget that no search can keep."""


class ArtifactError(AutoImbError, ValueError):
    """A pipeline file that can't be read."""


class RunError(AutoImbError):
    """The RUN folder can't be used."""


class ClusterLostError(RunError):
    """What trials ran on can't be reached any more."""


class InfeasibleError(AutoImbError):
    """An option can't run on this table; the sentence is kept in the leaderboard."""


class DeadlineExceeded(AutoImbError):  # noqa: N818  a signal between stations, not a mistake
    """The budget ended inside a station."""


def choices(
    what: str, value: object, allowed: Iterable[object], *, likely: Iterable[str] | None = None
) -> str:
    """Write the sentence for an unknown name.

    Parameters
    ----------
    what : str
        What was being named, for example ``"metric"``.
    value : object
        The name that was given.
    allowed : iterable of object
        The names that exist.
    likely : iterable of str, optional
        The names that may be suggested; by default all that exist.

    Returns
    -------
    str
        One sentence with the nearest name, if one is near, and all choices.
    """
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(value), names if likely is None else likely, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {value!r}.{hint} Choices: {', '.join(names)}."
