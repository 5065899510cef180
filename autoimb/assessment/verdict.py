"""The verdict: whether the rare class needs special treatment on this table, method by method.

It is about the table, and rests on matched duels alone: what a search found best says nothing of
the methods that it happened to hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from autoimb.assessment.duels import (
    Gain,
    Word,
    holm,
    holm_tests,
    margin,
    most_rows_needed,
    p_of_method,
    word,
)
from autoimb.policy import SearchPolicy

__all__ = ["Duel", "Finding", "Verdict", "verdict"]

MANY_TIMES = 100  # the rows that a duel would need, from where on the number says nothing


@dataclass(frozen=True)
class Duel:
    """A method against the control network, and a balanced ensemble against another one as well.

    Attributes
    ----------
    component : str
        Of the method.
    option : str
    method : str
        With its parameters, in words.
    reason : str
        Why it was not fought; empty where it was.
    infeasible : bool
        Whether the reason is that it can't run on this table.
    control : float
        The control network's score.
    gain, log_loss : Gain or None
        Over the control network, in the asked metric and in log-loss; above 0 where the method is
        better.
    matched : Gain or None
        Of an ensemble on balanced rows, over one as large on rows as they are; in the asked metric.
    control_name, matched_name : str
        The two controls in words.
    """

    component: str
    option: str
    method: str
    reason: str = ""
    infeasible: bool = False
    control: float = math.nan
    gain: Gain | None = None
    log_loss: Gain | None = None
    matched: Gain | None = None
    control_name: str = "the same network without it"
    matched_name: str = ""


@dataclass(frozen=True)
class Finding:
    """What is known of a method on this table.

    Attributes
    ----------
    duel : Duel
    word : {"helps", "hurts", "makes no difference", "not tested enough"} or str
        "not tested" or "infeasible" where there was no duel.
    p_value : float
        Corrected for the number of methods; NaN where there was no duel.
    sentence : str
    """

    duel: Duel
    word: Word | str
    p_value: float
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Answer to "does the rare class need special treatment on this table?".

    Attributes
    ----------
    findings : tuple of Finding
        One a method, in the order given.
    sentence : str
        The answer in plain words.
    """

    findings: tuple[Finding, ...]
    sentence: str

    def of(self, word: str) -> tuple[Finding, ...]:
        """Return the findings of one word."""
        return tuple(finding for finding in self.findings if finding.word == word)


def verdict(
    duels: Sequence[Duel], *, metric: str, rare: str = "rare class", policy: SearchPolicy
) -> Verdict:
    """Judge the methods from their duels.

    Parameters
    ----------
    duels : sequence of Duel
        One a method of the space.
    metric : str
        What was asked for, in words.
    rare : str, optional
        What the methods treat, in words.
    policy : SearchPolicy
        Levels and margin of the tests.

    Returns
    -------
    Verdict
        Infeasible methods and those without a duel are listed, and not counted.
    """
    p_values = [
        math.nan if duel.gain is None else p_of_method(duel.gain, duel.matched) for duel in duels
    ]
    findings = tuple(
        _finding(duel, p_value, tests, metric, policy)
        for duel, p_value, tests in zip(duels, holm(p_values), holm_tests(p_values))
    )
    found = Verdict(findings, "")
    return Verdict(findings, _answer(found, metric, f"Special treatment of the {rare}"))


def _finding(duel: Duel, p_value: float, tests: int, metric: str, policy: SearchPolicy) -> Finding:
    if duel.gain is None:
        name = "infeasible" if duel.infeasible else "not tested"
        return Finding(duel, name, math.nan, f"{duel.method}: {name}, {duel.reason}.")
    limit = margin(duel.control, policy)
    said = word(duel.gain, p_value, limit, policy)
    times = most_rows_needed(duel.gain, limit, policy, tests=tests, matched=duel.matched)
    sentence = _sentence(duel, duel.gain, said, metric, limit=limit, times=times)
    return Finding(duel, said, p_value, sentence)


def _sentence(
    duel: Duel, gain: Gain, said: Word, metric: str, *, limit: float, times: float
) -> str:
    if not math.isfinite(gain.value):
        return f"{duel.method}: not tested enough, {metric} has no value on so few rows."
    size, found = f"{abs(gain.value):.4f}", f"95 % interval {_interval(gain)}"
    if said == "helps":
        return f"{duel.method} helps: it {_gains(duel, gain, metric)}."
    if said == "hurts":
        return (
            f"{duel.method} hurts: it loses {size} in {metric} against {duel.control_name} "
            f"({found})."
        )
    if said == "makes no difference":
        return (
            f"{duel.method} makes no difference beyond {limit:.3g} in {metric}: "
            f"{gain.value:+.4f} over {duel.control_name} ({found})."
        )
    if duel.matched is not None:
        found += f"; {duel.matched.value:+.4f} over {duel.matched_name}"
    many = f"about {max(ceil(times), 2)} times" if times < MANY_TIMES else "many times"
    return (
        f"{duel.method}: not tested enough, {gain.value:+.4f} in {metric} over "
        f"{duel.control_name} ({found}); {many} as many rows would tell."
    )


def _gains(duel: Duel, gain: Gain, metric: str) -> str:
    """Say what a method that helps gains, and over which controls."""
    if duel.matched is None:
        return (
            f"gains {gain.value:.4f} in {metric} over {duel.control_name} (95 % interval "
            f"{_interval(gain)})"
        )
    return (
        f"gains {duel.matched.value:.4f} and {gain.value:.4f} in {metric} over "
        f"{duel.matched_name} and over {duel.control_name} (95 % intervals "
        f"{_interval(duel.matched)} and {_interval(gain)})"
    )


def _interval(gain: Gain) -> str:
    low, high = gain.interval
    return f"{low:+.4f} to {high:+.4f}"


def _answer(found: Verdict, metric: str, treatment: str) -> str:
    """Answer in one sentence what the findings come to."""
    helps, hurts = found.of("helps"), found.of("hurts")
    even, open_ = found.of("makes no difference"), found.of("not tested enough")
    tested = len(helps) + len(hurts) + len(even) + len(open_)
    if not tested:
        reasons = {finding.duel.reason for finding in found.of("not tested")}
        why = f": {reasons.pop()}" if len(reasons) == 1 else ""
        return f"{treatment} was not tested on this table{why}."
    duels = f"{tested} method{'s' if tested > 1 else ''} tested by matched duels"
    if helps:
        best = max(helps, key=_value)
        assert best.duel.gain is not None  # it helps
        others = f", and {len(helps) - 1} more help" if len(helps) > 1 else ""
        gains = _gains(best.duel, best.duel.gain, metric)
        return f"{treatment} helps on this table: {best.duel.method} {gains}{others}; {duels}."
    how = "is not shown to help" if open_ else "does not help"
    said = [f"{len(even)} no different"] * bool(even) + [f"{len(hurts)} worse"] * bool(hurts)
    said += [f"inconclusive for {len(open_)} (see the intervals)"] * bool(open_)
    return f"{treatment} {how} on this table: of {duels}, none is better; {', '.join(said)}."


def _value(finding: Finding) -> float:
    return -math.inf if finding.duel.gain is None else finding.duel.gain.value
