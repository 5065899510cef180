from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from autoimb.budget import Budget
from autoimb.runtime import progress
from autoimb.runtime.progress import Event, Progress
from autoimb.text import clock
from tests.support.studies import study


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def records():
    return study(n_trials=8).records


def event(records, finished, best):
    return Event(
        finished=None if finished is None else records[finished],
        best=None if best is None else records[best],
        counts={"complete": 3, "failed": 1},
        running=2,
        n_trials=None,
    )


def shown(records, stream, *events, verbose=1):
    with Progress(Budget.start(60.0), metric="f1", verbose=verbose, stream=stream) as tell:
        for finished, best in events:
            tell(event(records, finished, best))
    return stream.getvalue()


def test_piped_lines_say_all(records):
    (line,) = shown(records, io.StringIO(), (None, None), (2, 2), (None, 2)).splitlines()
    assert re.match(r"0:0\d \| (1:00|0:59) left \| trial 2 complete: \d\.\d{4} ", line)
    assert "4 trials (1 failed)" in line
    assert f"best f1 {records[2].score.value:.4f} ± 0.0100 (trial 2)" in line
    assert "\x1b" not in line


def test_piped_lines_are_few_but_tell_every_new_best(records, monkeypatch):
    lines = shown(records, io.StringIO(), (0, 0), (1, 0), (2, 0), (3, 3), (4, 3)).splitlines()
    assert ["trial 0" in lines[0], "trial 3" in lines[1], len(lines)] == [True, True, 2]
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    assert len(shown(records, io.StringIO(), (0, 0), (1, 0), (2, 0)).splitlines()) == 3


def test_a_trial_without_a_score_shows_its_reason(records):
    failed = replace(records[0], status="failed", score=None, reason="ValueError: no")
    line = shown([failed], io.StringIO(), (0, None))
    assert "trial 0 failed: ValueError: no" in line
    assert "best" not in line


def test_a_terminal_has_one_live_line(records):
    text = shown(records, Terminal(), (None, None), (2, 2), (None, 2))
    assert text.count("4 trials (1 failed)") == 3
    assert "\n" not in text
    assert "trial 2 complete" not in text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_lines_that_stay(stream):
    out, long = stream(), "error AIMB002: [bold] " + "long " * 40
    for verbose in (0, 1):
        with Progress(Budget.start(60.0), metric="f1", verbose=verbose, stream=out) as tell:
            tell.tell()
            tell.tell("warning AIMB001: one", long)
        assert out.getvalue().count("\nerror AIMB002: [bold] long") == verbose
    assert long in out.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_silence(records, stream):
    assert shown(records, stream(), (2, 2), verbose=0) == ""


def test_nobody_reads(records):
    stream = io.StringIO()
    tell = Progress(Budget.start(None), metric="f1", stream=stream)
    stream.close()
    tell(event(records, 2, 2))


def test_a_study_tells_of_each_trial_and_of_time():
    events = []
    result = study(n_trials=6, on_event=events.append)
    finished = [e.finished for e in events if e.finished is not None]
    assert finished == list(result.records)
    assert any(e.finished is None and e.running == 1 for e in events)
    assert sum(events[-1].counts.values()) == 6
    assert events[-1].best.number == next(iter(result.results))


def test_clock():
    assert [clock(0), clock(61.9), clock(3661)] == ["0:00", "1:01", "1:01:01"]
