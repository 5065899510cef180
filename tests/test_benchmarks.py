"""The benchmarks' command line, rows and reports; nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.benchmarks.__main__ import QUESTIONS, main, module, report
from reports.benchmarks.rows import Rows, by

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("reports/benchmarks/*/*.jsonl"))


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of one thread says so to all of its process; other tests keep theirs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_every_folder_is_a_question_that_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert set(FOLDERS) == set(QUESTIONS)
    assert [name for name in QUESTIONS if f"  {name} " not in listed] == []
    guide = (ROOT / "reports" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert [name for name in QUESTIONS if f"| `{name}` |" not in guide] == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_run_has_help(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([question, "run", "--help"])
    assert ended.value.code == 0
    assert "--again" in capsys.readouterr().out


def test_an_unknown_question_is_an_error() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wealth", "run"])
    assert ended.value.code == 2


def test_a_row_carries_where_it_comes_from(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", by("data", "seed"))
    rows.append([{"data": "ecoli", "seed": 0, "score": 0.5}])
    (row,) = rows.read()
    assert row["commit"]
    assert {"python", "autoimb", "torch"} <= row["versions"].keys()
    assert row["cores"] >= 1


def test_the_last_row_counts_and_another_commits_can_be_run_again(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", by("data"))
    old = [{"data": name, "score": 0.1, "commit": "0000000"} for name in ("ecoli", "glass")]
    rows.path.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert rows.known() == {("ecoli",), ("glass",)}
    assert rows.known(again=True) == set()
    rows.append([{"data": "ecoli", "score": 0.2}])
    assert rows.known(again=True) == {("ecoli",)}
    assert {row["data"]: row["score"] for row in rows.read()} == {"ecoli": 0.2, "glass": 0.1}


@pytest.mark.parametrize("question", ["damage", "serving"])
def test_a_report_is_what_its_rows_say(question: str) -> None:
    asked = module(question)
    assert asked.render(asked.ROWS.read()) == report(question).read_text(encoding="utf-8")
