"""What the commands print: the one way to a terminal, and words that several of them use."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from autoimb.text import harmless

__all__ = ["counted", "say", "tried"]


def say(what: object, *, err: bool = False) -> None:
    """Print a line; control characters in names, labels and paths are written out."""
    typer.echo(harmless(str(what)), err=err)


def counted(number: int, what: str) -> str:
    """Write a number of things."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def tried(strategies: Mapping[str, int], apart: Mapping[str, int]) -> str:
    """Write how many strategies there are by status, and what was tried beside them."""
    number = sum(strategies.values())
    told = "1 strategy" if number == 1 else f"{number} strategies"
    shown = ", ".join(f"{count} {name}" for name, count in strategies.items())
    beside = "".join(f", {count} {stage}s" for stage, count in apart.items())
    return f"{told}{f' ({shown})' if shown else ''}{beside}"
