"""Output to the terminal."""

from __future__ import annotations

import json

import typer

from autoimb.text import harmless

__all__ = ["as_text", "say"]


def say(text: object, *, err: bool = False) -> None:
    """Print a line; control characters in names, labels and paths are written out."""
    typer.echo(harmless(str(text)), err=err)


def as_text(value: object) -> str:
    """Write a plain value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)
