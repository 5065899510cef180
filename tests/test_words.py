"""Names and texts use the field's own words; these are the private ones that they once used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import autoimb
from autoimb.cli.app import app

PACKAGE = Path(autoimb.__file__).parent
README = PACKAGE.parent / "README.md"
TEMPLATE = PACKAGE / "report" / "template.html.j2"

# what to say instead
OLD = {
    "room": "component",
    "rooms": "components",
    "lever": "imbalance method",
    "levers": "imbalance methods",
    "twin": "matched control",
    "twins": "matched controls",
    "deal": "repeat, or split",
    "deals": "repeats, or splits",
    "dealt": "split",
    "thin": "subsample",
    "thinned": "subsampled",
    "thinning": "subsampling",
    "tick": "checkpoint",
    "ticks": "checkpoints",
    "tilt": "class costs",
    "tilts": "weights",
    "tilted": "weighted by the costs",
    "wish": "costs",
    "owed": "subsample correction",
    "handed": "row state, or result",
    "settle": "init from rows",
    "taste": "first methods tried",
}
OLD_NAMES = {"is_plain": "is_control", "PLAIN": "CONTROL"}  # "plain" alone is a good word

# Names of files on disk that stay as they are, and so may stand where they are read or linked.
REPORTS = re.compile(r"reports/[\w./-]+")


def parts(name: str) -> set[str]:
    """The words of a name, split at underscores and at capitals."""
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def old_in_name(name: str) -> set[str]:
    return (parts(name) & OLD.keys()) | ({name} & OLD_NAMES.keys())


def old_in_text(text: str) -> set[str]:
    """The old words of a text; an old name is one as a whole."""
    names = set(re.findall(r"\w+", REPORTS.sub("", text)))
    return set().union(*map(old_in_name, names))


def names_of(tree: ast.AST) -> Iterator[str]:
    """Every name that a module binds, reads, imports or passes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg or ""
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.name
            yield node.asname or ""
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            yield node.name or ""


def help_of(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """A command's help and that of its parameters, and the same of its subcommands."""
    for text in (command.help, command.short_help, command.epilog):
        yield name, text or ""
    for parameter in command.params:
        for text in (getattr(parameter, "help", None), parameter.metavar, *parameter.opts):
            yield f"{name} {parameter.name}", str(text or "")
    for own, sub in getattr(command, "commands", {}).items():
        yield f"{name} {own}", own
        yield from help_of(sub, f"{name} {own}")


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_no_name_has_an_old_word(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").as_posix()
    names = {own, *names_of(ast.parse(path.read_text(encoding="utf-8")))}
    assert {name: found for name in names if (found := old_in_name(name))} == {}


def test_the_readme_has_no_old_word() -> None:
    assert old_in_text(README.read_text(encoding="utf-8")) == set()


def test_no_help_has_an_old_word() -> None:
    texts = list(help_of(typer.main.get_command(app), "autoimb"))
    assert len(texts) > 50
    assert {place: found for place, text in texts if (found := old_in_text(text))} == {}


def test_the_report_has_no_old_word() -> None:
    """Of all its template: what is shown, what names it and what it is made of."""
    assert old_in_text(TEMPLATE.read_text(encoding="utf-8")) == set()


# --- that the tests above can fail ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("most_ticks", {"ticks"}),
        ("RoomRow", {"room"}),
        ("_LEVERS", {"levers"}),
        ("first_levers", {"levers"}),
        ("space/rooms", {"rooms"}),
        ("is_plain", {"is_plain"}),
        ("PLAIN", {"PLAIN"}),
        ("_plain", set()),
        ("MaxNLocator", set()),
        ("ticker", set()),
        ("broom", set()),
        ("within", set()),
    ],
)
def test_an_old_word_of_a_name_is_found(name: str, found: set[str]) -> None:
    assert old_in_name(name) == found


def test_an_old_word_of_a_text_is_found() -> None:
    assert old_in_text("One choice of each room (`is_plain`).") == {"room", "is_plain"}
    assert old_in_text("Levers help; `reports/benchmarks/levers.md`.") == {"levers"}
    assert old_in_text("See `reports/benchmarks/levers.md`: nothing within.") == set()


@pytest.mark.parametrize(
    "code",
    [
        "lever = 1",
        "x.lever",
        "def lever(): pass",
        "class Lever: pass",
        "def f(lever): pass",
        "f(lever=1)",
        "import lever",
        "import a.lever",
        "from lever import a",
        "from a import lever",
        "from a import b as lever",
        "try: pass\nexcept E as lever: pass",
    ],
)
def test_an_old_word_of_code_is_found(code: str) -> None:
    assert any(map(old_in_name, names_of(ast.parse(code))))


def test_old_words_of_help_are_found() -> None:
    other = typer.Typer()

    @other.command()
    def one() -> None:
        """Print the rooms."""

    @other.command()
    def two(way: str = typer.Option("", metavar="ROOM", help="A lever.")) -> None:
        """Print nothing."""

    texts = help_of(typer.main.get_command(other), "other")
    assert set().union(*(old_in_text(text) for _, text in texts)) == {"rooms", "room", "lever"}
