"""Text on its way to a terminal, a spreadsheet or a sentence: that of others, and times."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence, Set
from reprlib import Repr
from typing import Any

__all__ = ["BRIEF", "BriefRepr", "clock", "harmless", "no_formula", "shown"]

LONGEST_SHOWN = 200  # characters of a value in a sentence
ORDERS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # turn the order of what follows
CONTROL = ("Cc", "Cs", "Zl", "Zp")  # of Unicode: controls, half characters, separators of lines
FORMULA = tuple("=+-@\t\r\n＝＋－＠")

BRIEF = Repr()  # of a few values, each of at most 30 characters
BRIEF.maxlist = BRIEF.maxtuple = 2
BRIEF.maxstring = BRIEF.maxlong = BRIEF.maxother = 30


def harmless(text: str) -> str:
    r"""Write control characters as JSON escapes them (``\u001b``), but for tabs and new lines.

    Escape codes in a header or a label can't move the cursor, colour or rename the terminal, nor
    turn what follows around; JSON stays the same JSON.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(one):04x}" if _controls(one) else one for one in text)


def _controls(one: str) -> bool:
    return one not in "\n\t" and (unicodedata.category(one) in CONTROL or one in ORDERS)


def no_formula(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would compute; numbers stay as they are."""
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def shown(value: object) -> str:
    """Write a value that was given in one short line, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 1_000:
        return f"a number of {value.bit_length():,} bits"  # whose digits Python may not write
    line = " ".join(repr(value).split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}..."


def clock(seconds: float) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class BriefRepr:
    """Base of classes with fields: their repr names shapes and lengths, not contents."""

    __slots__ = ()

    def __repr__(self) -> str:
        names: tuple[str, ...] = type(self).__match_args__  # type: ignore[attr-defined]  # its fields
        parts = (f"{name}={_brief(getattr(self, name))}" for name in names)
        return f"{type(self).__name__}({', '.join(parts)})"


def _brief(value: Any) -> str:
    """Write a value in at most some thirty characters."""
    kind = type(value).__name__
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    if hasattr(type(value), "__match_args__"):
        return f"{kind}(...)"
    if isinstance(value, Mapping | Sequence | Set) and not isinstance(value, str | bytes):
        return f"<{kind} of {len(value)}>"
    return BRIEF.repr(value)
