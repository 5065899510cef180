"""The numbered laws stand in the repository, each with the tests that prove it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAWS = re.split(r"^\d+\. ", (ROOT / "reports" / "laws.md").read_text("utf-8"), flags=re.MULTILINE)
TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
CITED = re.compile(r"\blaws? (\d+)", re.IGNORECASE)


def test_every_law_has_tests_that_exist() -> None:
    assert len(LAWS) == 11  # what stands before the first, and ten
    for law in LAWS[1:]:
        tests = TEST.findall(law)
        assert tests, law
        for file, name in tests:
            text = (ROOT / "tests" / file).read_text("utf-8")
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), (file, name)


def test_only_laws_that_there_are_are_cited() -> None:
    cited = {
        (path.name, int(number))
        for folder in ("autoimb", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for number in CITED.findall(path.read_text("utf-8"))
    }
    assert cited
    assert {each for each in cited if not 1 <= each[1] <= 10} == set()
