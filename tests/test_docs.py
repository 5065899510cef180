"""Check the user documentation: its commands, code, links, length and generated pages.

``python -m tests.test_docs`` writes the generated pages of `reports/reference`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from autoimb import __version__
from tests.support.reference_pages import COMMANDS, PAGES, REFERENCE, ROOT, write_pages

README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.md"))
DOCUMENTS = [README, *GUIDES]
LINKING = [
    *DOCUMENTS,
    CHANGELOG,
    *sorted((ROOT / "reports" / "design").glob("*.md")),
    *sorted(REFERENCE.glob("*.md")),
]
MAX_README_WORDS = 1_100
MAX_SEARCHES_IN_GUIDES = 4
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
SHELL = {"", "bash", "console", "sh", "shell"}


def path_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(document: Path, *languages: str) -> list[str]:
    text = document.read_text(encoding="utf-8")
    return [code for language, code in BLOCK.findall(text) if language in languages]


def command_lines() -> list[list[str]]:
    """Return the ``autoimb ...`` lines of README and guides, as words."""
    code = "\n".join(block for document in DOCUMENTS for block in blocks(document, *SHELL))
    joined = code.replace("\\\n", " ").replace("&&", "\n")
    lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith("autoimb ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_and_every_command_an_example(name: str) -> None:
    assert COMMANDS[name].help
    assert [p.name for p in COMMANDS[name].params if not getattr(p, "help", None)] == []
    assert name in {words[1] for words in command_lines()}


def test_examples_use_commands_and_options_that_exist() -> None:
    for _, name, *words in command_lines():
        if name.startswith("-"):
            continue
        options = {option for p in COMMANDS[name].params for option in p.opts} | {"-h", "--help"}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options, (name, used - options)


@pytest.mark.usefixtures("minimal_work")
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "python")], ids=path_id)
def test_python_of_a_document_runs(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(document, "python"))
    # Two trials run the same code in less time, also on a busy machine.
    code = re.sub(r"time_budget=\d+", "n_trials=2, time_budget=None", code)
    exec(compile(code, str(document), "exec"), {"__name__": "__document__"})


def test_readme_has_python() -> None:
    assert blocks(README, "python")


def test_guides_search_a_few_times_at_most() -> None:
    code = "\n".join(block for guide in GUIDES for block in blocks(guide, "python"))
    assert code.count(".fit(") <= MAX_SEARCHES_IN_GUIDES


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_that_of_the_program(name: str) -> None:
    text = (REFERENCE / name).read_text(encoding="utf-8")
    assert text == PAGES[name](), "run `python -m tests.test_docs`"


@pytest.mark.parametrize("document", LINKING, ids=path_id)
def test_relative_links_point_to_files(document: Path) -> None:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    relative = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    assert [target for target in relative if not (document.parent / target).exists()] == []


def test_readme_links_every_guide_and_reference_page() -> None:
    targets = set(LINK.findall(README.read_text(encoding="utf-8")))
    pages = {path_id(path) for path in [*GUIDES, *REFERENCE.glob("*.md")]}
    assert pages <= targets, pages - targets


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= MAX_README_WORDS


def test_changelog_and_citation_name_the_version() -> None:
    assert f"## [{__version__}]" in CHANGELOG.read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {__version__}" in citation.splitlines()


def test_continuous_integration_runs_what_the_readme_says() -> None:
    *_, last, slow = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()
    documented = last.removesuffix(" \\")
    assert documented in "\n".join(blocks(README, *SHELL)).splitlines()
    assert slow.strip() == "&& python -m pytest -n 2 --dist loadfile -m slow"
    assert documented.endswith(slow.strip(" &").replace("slow", "'not slow'"))


if __name__ == "__main__":
    write_pages()
