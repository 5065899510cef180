"""What a table holds reaches neither a terminal as an order nor a spreadsheet as a formula."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoimb.cli import main
from autoimb.pipeline.artifact import save
from autoimb.text import harmless, no_formula, shown
from tests.support.pipelines import pipeline, table

RED = "\x1b[31mred\x07"
LINK = '=HYPERLINK("http://x")'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("Zoë 漢字 👩‍👧", "Zoë 漢字 👩‍👧"),
        (RED, r"\u001b[31mred\u0007"),
        ("a\rb\x7f\x9b1m", r"a\u000db\u007f\u009b1m"),
        ("\u202eabc\u2028\ud800", r"\u202eabc\u2028\ud800"),
    ],
)
def test_control_characters_are_written_out(text: str, expected: str) -> None:
    assert harmless(text) == expected
    assert json.loads(harmless(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("text", [LINK, "+1+1", "-1+1", "@sum", "\t=1", "\r=1", "＝1+1"])
def test_formulas_get_an_apostrophe(text: str) -> None:
    assert no_formula(text) == f"'{text}"
    assert no_formula(f"a{text}") == f"a{text}"


def test_numbers_are_no_formulas() -> None:
    for text in ("", "'=1", "-1", "+2.5e3", "1+1"):
        assert no_formula(text) == text


def test_what_was_given_is_shown_in_one_short_line() -> None:
    assert shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])"
    assert shown(10**5_000) == "a number of 16,610 bits"
    assert len(shown("a" * 1_000)) == 203


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder with a pipeline of two hostile labels, and a table."""
    labels = np.array([RED, LINK], dtype=object)
    save(replace(pipeline(), classes=labels), tmp_path / "p.autoimb")
    rows = table(40).assign(y=[LINK, RED] * 20)
    rows.rename(columns={"y": f"y{RED}"}).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path


def test_no_command_prints_an_escape_code(served: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, rows = str(served / "p.autoimb"), str(served / "rows.csv")
    assert main(["inspect", file]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["classes"] == [RED, LINK]
    assert main(["evaluate", file, rows, "--target", f"y{RED}"]) == 0
    assert main(["search", rows, "--target", "z"]) == 2
    assert main(["evaluate", file, rows, "--target", f"z{RED}"]) == 2
    assert main(["predict", file, rows, "-o", str(served / f"{RED}.csv")]) == 0
    out, err = capfd.readouterr()
    assert "\x1b" not in out + err
    assert "\x07" not in out + err
    assert r"\u001b[31mred\u0007" in out
    assert r"\u001b[31mred\u0007" in err


@pytest.mark.parametrize("guard", [False, True])
def test_labels_that_are_formulas_are_guarded_on_request(served: Path, guard: bool) -> None:
    out = served / "out.csv"
    words = ["predict", str(served / "p.autoimb"), str(served / "rows.csv"), "-o", str(out)]
    assert main([*words, "--guard-formulas"] if guard else words) == 0
    with out.open(newline="") as file:
        labels = {row["prediction"] for row in csv.DictReader(file)}
    assert labels <= {f"'{LINK}" if guard else LINK, RED}
    assert any("HYPERLINK" in label for label in labels)
