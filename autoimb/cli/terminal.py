"""The one way to a terminal."""

from __future__ import annotations

import typer

from autoimb.text import harmless

__all__ = ["say"]


def say(text: object, *, err: bool = False) -> None:
    """Print a line; control characters in names, labels and paths are written out."""
    typer.echo(harmless(str(text)), err=err)
