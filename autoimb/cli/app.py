"""The command ``autoimb``: its commands, their help, and the exit status after an error."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from autoimb import __version__
from autoimb.cli.options import with_options
from autoimb.cli.runs import checks, export, options, report, status
from autoimb.cli.searching import INTERRUPTED, refit, search
from autoimb.cli.serving import evaluate, inspect, predict
from autoimb.cli.terminal import say
from autoimb.errors import AutoImbError

__all__ = ["app", "main"]

USER_MISTAKE = 2

app = typer.Typer(
    name="autoimb",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _PanelCommand(TyperCommand):
    """A command whose help groups options by their panel, in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section of help for each panel."""
        sections = defaultdict(list)
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            default = "Arguments" if parameter.param_type_name == "argument" else "Options"
            title = parameter.rich_help_panel or default
            sections[title].append(parameter.get_help_record(ctx))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _overview(context: typer.Context, version: bool = False) -> None:
    """Find the best strategy for an imbalanced table: one search, one pipeline, one report."""
    if version:
        say(f"autoimb {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        say(context.get_help())


app.callback(invoke_without_command=True)(with_options(_overview))
COMMANDS = (search, status, report, options, checks, predict, evaluate, inspect, export, refit)
for command in COMMANDS:
    app.command(cls=_PanelCommand)(with_options(command))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str or None
        The words after ``autoimb``; None takes them from the process, and then a time budget
        counts from the start of the process, imports included.

    Returns
    -------
    int
        0, or 2 after a user's mistake (one line on stderr), or 3 where a check saw what
        ``--fail-on`` names, or 130 after an interruption.
    """
    # A shell that ended in exec hands over its start time, which is much older than the program:
    # no start takes longer than a second.
    started = time.monotonic() - (min(_process_age(), 1.0) if arguments is None else 0.0)
    try:
        code = app(args=arguments, prog_name="autoimb", standalone_mode=False, obj=started)
    except (KeyboardInterrupt, typer.Abort):
        say("autoimb: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.TyperException as error:
        return _complain(error.format_message())
    except OSError as error:
        culprit = f"{error.filename}: " if error.filename else ""
        return _complain(f"{culprit}{error.strerror or error}")
    except AutoImbError as error:
        return _complain(str(error))
    return code if isinstance(code, int) else 0


def _complain(sentence: str) -> int:
    say(f"autoimb: error: {' '.join(sentence.split())}", err=True)
    return USER_MISTAKE


def _process_age() -> float:
    """Return the seconds since this process started; 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        started = float(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22, in ticks since boot
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0
