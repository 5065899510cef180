"""Generated pages of `reports/reference`, written from the declarations of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from autoimb.assessment.checks import CHECKS
from autoimb.cli.app import app
from autoimb.space.components import COMPONENTS
from autoimb.space.option import OneOf, Range
from autoimb.space.partner import PARTNER

__all__ = ["COMMANDS", "PAGES", "REFERENCE", "write_pages"]

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "reports" / "reference"
PROGRAM: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = PROGRAM.commands

Cells = Iterable[str]


def search_space_page() -> str:
    """Return the page of the search space, written from `COMPONENTS`."""
    options = (
        (
            component.name,
            f"`{option.name}`" + ("" if option.searched else " (on request)"),
            option.summary,
            "; ".join(f"{name} {bounds_text(bounds)}" for name, bounds in option.ranges.items()),
        )
        for component in COMPONENTS.values()
        for option in component
    )
    tree_models = ((f"`{option.name}`", option.summary) for option in PARTNER)
    return page(
        "Search space",
        "A strategy is one option of each component. Options marked *on request* are tried only "
        "if they are named. `autoimb options` prints the same.",
        table(("component", "option", "what it does", "ranges"), options),
        "## Tree models\n",
        "They are not options of a strategy: they may share the blend (`partners=`, "
        "`--partners`).\n",
        table(("name", "what it is"), tree_models),
        "Samplers of imbalanced-learn are resampling options as well: see "
        "[Extend the search space](../../examples/guides/extending.md).\n",
    )


def checks_page() -> str:
    """Return the page of the checks, written from `CHECKS`."""
    rows = ((f"`{check.code}`", check.severity, check.title, check.advice) for check in CHECKS)
    return page(
        "Checks",
        "A code always has the same meaning. `autoimb checks` prints the same; how findings are "
        "reported is in [Read the report](../../examples/guides/reading-the-report.md).",
        table(("code", "severity", "what it looks for", "what to do"), rows),
    )


def command_line_page() -> str:
    """Return the page of the command line, written from the declared commands."""
    sections = [
        part
        for name, command in COMMANDS.items()
        for part in (f"## autoimb {name}\n", *command_parts(name, command))
    ]
    return page(
        "Command line",
        "Every command has `-h` and `--help`; `autoimb --version` prints the version. Examples "
        "are in [the guide](../../examples/guides/command-line.md).",
        *sections,
    )


def command_parts(name: str, command: Any) -> list[str]:
    """Return the usage, help and parameters of one command."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = [p.metavar if p.required else f"[{p.metavar}]" for p in arguments]
    usage += [f"{p.opts[0]} {p.metavar}" for p in options if p.required]
    usage += ["[OPTIONS]"] if any(not p.required for p in options) else []
    parts = [f"```text\n{' '.join(['autoimb', name, *usage])}\n```\n"]
    parts += [f"{one_line(text)}\n" for text in (command.help or "").split("\n\n")]
    if arguments:
        parts.append(
            table(("argument", "description"), ((f"`{p.metavar}`", p.help) for p in arguments))
        )
    panels = list(dict.fromkeys(p.rich_help_panel for p in options))
    for panel in panels:
        rows = (
            (option_names(p), default_text(p), p.help)
            for p in options
            if p.rich_help_panel == panel
        )
        parts += [f"### {panel}\n"] if len(panels) > 1 else []
        parts.append(table(("option", "default", "description"), rows))
    return parts


def option_names(option: Any) -> str:
    """Return the names of an option with its placeholder, as code."""
    placeholder = "" if option.is_flag else f" {option.metavar}"
    return ", ".join(f"`{name}{placeholder}`" for name in option.opts)


def default_text(option: Any) -> str:
    """Return the default value of an option; empty where its help describes it."""
    if option.required:
        return "required"
    default = option.default
    has_value = isinstance(default, str | int | float) and not isinstance(default, bool)
    return f"`{default}`" if has_value else ""


def bounds_text(bounds: Range) -> str:
    """Return the range of a parameter in usage."""
    if isinstance(bounds, OneOf):
        return ", ".join(str(value) for value in bounds.values)
    return f"{bounds.low:g} to {bounds.high:g}" + (" (log)" if bounds.log else "")


def page(title: str, purpose: str, *parts: str) -> str:
    """Return a Markdown page with the note that it is generated."""
    note = "<!-- Written by `python -m tests.test_docs`; do not edit. -->"
    return "\n".join([f"# {title}\n", f"{note}\n", f"{purpose}\n", *parts])


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """Return a Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def escaped(text: str | None) -> str:
    """Escape what Markdown would take for a column or a tag, outside of code."""
    escapes = {"|": r"\|", "<": r"\<"}
    text = one_line(text or "")
    return text if text.startswith("`") else text.translate(str.maketrans(escapes))


def one_line(text: str) -> str:
    """Join the lines of a text."""
    return " ".join(text.split())


PAGES: dict[str, Callable[[], str]] = {
    "search-space.md": search_space_page,
    "checks.md": checks_page,
    "command-line.md": command_line_page,
}


def write_pages() -> None:
    """Write all generated pages."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, render in PAGES.items():
        (REFERENCE / name).write_text(render(), encoding="utf-8")
