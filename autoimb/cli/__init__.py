"""The command line: one module for each kind of work, heavy imports inside the commands."""

from autoimb.cli.app import main

__all__ = ["main"]
