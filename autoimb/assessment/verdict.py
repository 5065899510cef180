"""The verdict: whether the rare class needs special treatment on this table, method by method.

The verdict is about the table and is based on matched duels only. The best strategy of a search is
no evidence for the methods that it contains.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from autoimb.assessment.duels import (
    Gain,
    Word,
    holm,
    holm_tests,
    margin,
    p_of_method,
    row_multiple_needed,
    word,
)

__all__ = ["Duel", "Finding", "Verdict", "verdict"]

MANY_TIMES = 100  # larger multiples of the rows are not printed as numbers


@dataclass(frozen=True)
class Duel:
    """Duel of a method with the control network, and of a balanced ensemble with an ensemble.

    Attributes
    ----------
    component : str
        Component of the method.
    option : str
    method : str
        Description of the method with its parameters.
    reason : str
        Reason why the duel was not run; empty if it was.
    infeasible : bool
        Whether the reason is that the method cannot run on this table.
    control : float
        Score of the control network.
    gain, log_loss : Gain or None
        Gain over the control network, in the metric of the search and in log-loss; above 0 if the
        method is better.
    matched : Gain or None
        Gain of an ensemble on balanced rows over an ensemble of the same size on rows that are not
        balanced, in the metric of the search.
    control_name, matched_name : str
        Descriptions of the two controls.
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
    """Finding about a method on this table.

    Attributes
    ----------
    duel : Duel
    word : {"helps", "hurts", "makes no difference", "not tested enough"} or str
        Outcome of the duel; "not tested" or "infeasible" without a duel.
    p_value : float
        p value, corrected for the number of methods; NaN without a duel.
    sentence : str
        The finding in words.
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
        Findings in the order of the duels.
    sentence : str
        The answer in words.
    """

    findings: tuple[Finding, ...]
    sentence: str


def verdict(duels: Sequence[Duel], *, metric: str, rare: str = "rare class") -> Verdict:
    """Return the verdict on the methods of a space from their duels.

    Parameters
    ----------
    duels : sequence of Duel
        Duel of each method of the space.
    metric : str
        Name of the metric of the search.
    rare : str, optional
        Description of what the methods treat.

    Returns
    -------
    Verdict
        Verdict that lists infeasible methods and methods without a duel, but does not count them.
    """
    p_values = [
        math.nan if duel.gain is None else p_of_method(duel.gain, duel.matched) for duel in duels
    ]
    findings = tuple(
        _finding(duel, p_value, tests, metric)
        for duel, p_value, tests in zip(duels, holm(p_values), holm_tests(p_values))
    )
    return Verdict(findings, _answer(findings, metric, f"Special treatment of the {rare}"))


def _finding(duel: Duel, p_value: float, tests: int, metric: str) -> Finding:
    if duel.gain is None:
        name = "infeasible" if duel.infeasible else "not tested"
        return Finding(duel, name, math.nan, f"{duel.method}: {name}, {duel.reason}.")
    limit = margin(duel.control)
    outcome = word(duel.gain, p_value, limit)
    times = row_multiple_needed(duel.gain, limit, tests=tests, matched=duel.matched)
    sentence = _sentence(duel, duel.gain, outcome, metric, limit=limit, times=times)
    return Finding(duel, outcome, p_value, sentence)


def _sentence(
    duel: Duel, gain: Gain, outcome: Word, metric: str, *, limit: float, times: float
) -> str:
    if not math.isfinite(gain.value):
        return f"{duel.method}: not tested enough, {metric} has no value on so few rows."
    size, evidence = f"{abs(gain.value):.4f}", f"95 % interval {_interval(gain)}"
    if outcome == "helps":
        return f"{duel.method} helps: it {_gains(duel, gain, metric)}."
    if outcome == "hurts":
        return (
            f"{duel.method} hurts: it loses {size} in {metric} against {duel.control_name} "
            f"({evidence})."
        )
    if outcome == "makes no difference":
        return (
            f"{duel.method} makes no difference beyond {limit:.3g} in {metric}: "
            f"{gain.value:+.4f} over {duel.control_name} ({evidence})."
        )
    if duel.matched is not None:
        evidence += f"; {duel.matched.value:+.4f} over {duel.matched_name}"
    multiple = f"about {max(math.ceil(times), 2)} times" if times < MANY_TIMES else "many times"
    return (
        f"{duel.method}: not tested enough, {gain.value:+.4f} in {metric} over "
        f"{duel.control_name} ({evidence}); {multiple} as many rows would tell."
    )


def _gains(duel: Duel, gain: Gain, metric: str) -> str:
    """Return the gains of a method that helps over its controls, in words."""
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


def _answer(findings: Sequence[Finding], metric: str, treatment: str) -> str:
    """Summarise the findings in one sentence."""
    duels: dict[Word | str, list[Duel]] = defaultdict(list)
    for finding in findings:
        duels[finding.word].append(finding.duel)
    helps, n_worse = duels["helps"], len(duels["hurts"])
    n_even, n_open = len(duels["makes no difference"]), len(duels["not tested enough"])
    n_tested = len(helps) + n_worse + n_even + n_open
    if not n_tested:
        reasons = {duel.reason for duel in duels["not tested"]}
        reason = f": {reasons.pop()}" if len(reasons) == 1 else ""
        return f"{treatment} was not tested on this table{reason}."
    tests = f"{n_tested} method{'s' if n_tested > 1 else ''} tested by paired comparisons"
    if helps:
        gains_of = ((duel.gain, duel) for duel in helps if duel.gain is not None)
        gain, best = max(gains_of, key=lambda pair: pair[0].value)
        further = f", and {len(helps) - 1} more help" if len(helps) > 1 else ""
        gains = _gains(best, gain, metric)
        return f"{treatment} helps on this table: {best.method} {gains}{further}; {tests}."
    conclusion = "is not shown to help" if n_open else "does not help"
    counts = [f"{n_even} no different"] * bool(n_even) + [f"{n_worse} worse"] * bool(n_worse)
    counts += [f"inconclusive for {n_open} (see the intervals)"] * bool(n_open)
    return (
        f"{treatment} {conclusion} on this table: of {tests}, none is better; {', '.join(counts)}."
    )
