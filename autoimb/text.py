"""Text for terminals, spreadsheets and messages: escaping, shortening and formatting."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence, Set
from reprlib import Repr
from typing import Any

__all__ = ["BRIEF", "BriefRepr", "clock", "harmless", "no_formula", "number_of", "shown"]

MAX_SHOWN = 200  # characters of a value in a message
ORDERS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # change the direction
CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode: controls, surrogates, separators of lines
FORMULA = tuple("=+-@\t\r\n＝＋－＠")

BRIEF = Repr()  # at most two items, each of at most 30 characters
BRIEF.maxlist = BRIEF.maxtuple = 2
BRIEF.maxstring = BRIEF.maxlong = BRIEF.maxother = 30


def harmless(text: str) -> str:
    r"""Escape control characters as in JSON (``\u001b``), except tabs and new lines.

    Escape codes in a header or a label then can't move the cursor, colour or rename the terminal,
    or change the direction of text. JSON keeps its meaning.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(char):04x}" if _controls(char) else char for char in text)


def _controls(char: str) -> bool:
    return char not in "\n\t" and (unicodedata.category(char) in CONTROL or char in ORDERS)


def no_formula(text: str) -> str:
    """Prefix text that a spreadsheet would compute with an apostrophe; keep numbers."""
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def number_of(value: Any) -> float:
    """Return a number, or text of a number, as a float; NaN for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def shown(value: object) -> str:
    """Write any value in one short line, for a message."""
    if isinstance(value, int) and value.bit_length() > 1_000:
        return f"a number of {value.bit_length():,} bits"  # Python refuses to write so many digits
    line = " ".join(repr(value).split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."


def clock(seconds: float) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class BriefRepr:
    """Base of classes with fields whose repr shows shapes and lengths, not contents."""

    __slots__ = ()

    def __repr__(self) -> str:
        names: tuple[str, ...] = type(self).__match_args__  # type: ignore[attr-defined]  # its fields
        parts = (f"{name}={_brief(getattr(self, name))}" for name in names)
        return f"{type(self).__name__}({', '.join(parts)})"


def _brief(value: Any) -> str:
    """Write a value in about thirty characters at most."""
    kind = type(value).__name__
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    if hasattr(type(value), "__match_args__"):
        return f"{kind}(...)"
    if isinstance(value, Mapping | Sequence | Set) and not isinstance(value, str | bytes):
        return f"<{kind} of {len(value)}>"
    return BRIEF.repr(value)
