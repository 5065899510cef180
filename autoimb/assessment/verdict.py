"""The verdict: whether the rare class needs special treatment on this table, method by method.

It is about the table, and rests on matched duels alone: what a search found best says nothing of
the methods that it happened to hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from autoimb.assessment.duels import Gain, Word, holm, margin, most_rows_needed, word
from autoimb.policy import SearchPolicy

__all__ = ["Duel", "Finding", "Verdict", "verdict"]

MANY_TIMES = 100  # the rows that a duel would need, from where on the number says nothing


@dataclass(frozen=True)
class Duel:
    """A method against its matched control.

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
        The matched control's score.
    gain, log_loss : Gain or None
        In the asked metric, and in log-loss; above 0 where the method is better.
    """

    component: str
    option: str
    method: str
    reason: str = ""
    infeasible: bool = False
    control: float = math.nan
    gain: Gain | None = None
    log_loss: Gain | None = None


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
    p_values = [math.nan if duel.gain is None else duel.gain.p_value for duel in duels]
    findings = tuple(
        _finding(duel, p_value, metric, policy) for duel, p_value in zip(duels, holm(p_values))
    )
    found = Verdict(findings, "")
    return Verdict(findings, _answer(found, metric, f"Special treatment of the {rare}"))


def _finding(duel: Duel, p_value: float, metric: str, policy: SearchPolicy) -> Finding:
    if duel.gain is None:
        name = "infeasible" if duel.infeasible else "not tested"
        return Finding(duel, name, math.nan, f"{duel.method}: {name}, {duel.reason}.")
    limit = margin(duel.control, policy)
    said = word(duel.gain, p_value, limit, policy)
    return Finding(duel, said, p_value, _sentence(duel, duel.gain, said, metric, limit, policy))


def _sentence(
    duel: Duel, gain: Gain, said: Word, metric: str, limit: float, policy: SearchPolicy
) -> str:
    if not math.isfinite(gain.value):
        return f"{duel.method}: not tested enough, {metric} has no value on so few rows."
    size, found = f"{abs(gain.value):.4f}", _interval(gain)
    if said == "helps":
        return f"{duel.method} helps: it gains {size} in {metric} ({found})."
    if said == "hurts":
        return f"{duel.method} hurts: it loses {size} in {metric} ({found})."
    if said == "makes no difference":
        return (
            f"{duel.method} makes no difference beyond {limit:.3g} in {metric}: "
            f"{gain.value:+.4f} ({found})."
        )
    times = most_rows_needed(gain, limit, policy)
    many = f"about {max(ceil(times), 2)} times" if times < MANY_TIMES else "many times"
    return (
        f"{duel.method}: not tested enough, {gain.value:+.4f} in {metric} ({found}); "
        f"{many} as many rows would tell."
    )


def _interval(gain: Gain) -> str:
    low, high = gain.interval
    return f"95 % interval {low:+.4f} to {high:+.4f}"


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
        return (
            f"{treatment} helps on this table: {best.duel.method} gains "
            f"{best.duel.gain.value:.4f} in {metric} over the same network without it "
            f"({_interval(best.duel.gain)}){others}; {duels}."
        )
    how = "is not shown to help" if open_ else "does not help"
    counts = [(len(even), "no different"), (len(hurts), "worse")]
    counts += [(len(open_), "not tested enough to tell")]
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"{treatment} {how} on this table: of {duels}, none is better; {said}."


def _value(finding: Finding) -> float:
    return -math.inf if finding.duel.gain is None else finding.duel.gain.value
