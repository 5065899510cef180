"""What the README says is so. ``python tests/test_docs.py`` fills its generated tables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from autoimb.assessment.checks import CHECKS
from autoimb.cli.app import app
from autoimb.space.components import COMPONENTS
from autoimb.space.option import OneOf, Range

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)
SHELL = {"", "bash", "console", "sh", "shell"}


def blocks(*languages: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return [code for language, code in BLOCK.findall(text) if language in languages]


def command_lines() -> list[list[str]]:
    """The README's ``autoimb ...`` lines, as words."""
    joined = "\n".join(blocks(*SHELL)).replace("\\\n", " ").replace("&&", "\n")
    lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith("autoimb ")]


def options_table() -> str:
    """The search space as a Markdown table, written from `COMPONENTS`."""
    lines = ["| component | option | what it does | ranges |", "|---|---|---|---|"]
    for component in COMPONENTS.values():
        for option in component:
            name = f"`{option.name}`" + ("" if option.searched else " (on request)")
            ranges = "; ".join(f"{key} {bounds(own)}" for key, own in option.ranges.items())
            lines.append(f"| {component.name} | {name} | {option.summary} | {ranges} |")
    return "\n".join(lines) + "\n"


def bounds(own: Range) -> str:
    if isinstance(own, OneOf):
        return ", ".join(str(value) for value in own.values)
    return f"{own.low:g} to {own.high:g}" + (" (log)" if own.log else "")


def checks_table() -> str:
    """The checks as a Markdown table, written from `CHECKS`."""
    lines = ["| code | severity | what it looks for | what to do |", "|---|---|---|---|"]
    lines += [f"| `{c.code}` | {c.severity} | {c.title} | {c.advice} |" for c in CHECKS]
    return "\n".join(lines) + "\n"


GENERATED = {"options": options_table, "checks": checks_table}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_in_the_readme(name: str) -> None:
    assert COMMANDS[name].help
    assert name in {words[1] for words in command_lines()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_has_help(name: str) -> None:
    assert [p.name for p in COMMANDS[name].params if not getattr(p, "help", None)] == []


def test_the_readme_uses_commands_and_options_that_exist() -> None:
    for _, name, *words in command_lines():
        if name.startswith("-"):
            continue
        known = {each for p in COMMANDS[name].params for each in p.opts} | {"-h", "--help"}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, (name, used - known)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    code = blocks("python")
    assert code
    exec(compile("\n".join(code), str(README), "exec"), {"__name__": "__readme__"})


def test_generated_tables_are_those_of_the_program() -> None:
    found = dict(TABLE.findall(README.read_text(encoding="utf-8")))
    expected = {name: write() for name, write in GENERATED.items()}
    assert found == expected, "run `python tests/test_docs.py`"


def test_continuous_integration_runs_what_the_readme_says() -> None:
    *_, last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()
    assert last in "\n".join(blocks(*SHELL)).splitlines()


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8")
    after = TABLE.sub(
        lambda found: f"<!-- {found[1]} -->\n{GENERATED[found[1]]()}<!-- /{found[1]} -->", before
    )
    README.write_text(after, encoding="utf-8")
