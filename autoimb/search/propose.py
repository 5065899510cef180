"""Choice of the next trial: a function of the history, the task and the time that is left."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution

from autoimb.data.profile import Profile
from autoimb.evaluation.limits import networks_within
from autoimb.evaluation.task import Task
from autoimb.policy import SearchPolicy
from autoimb.runs.record import APART, RAN, TrialRecord
from autoimb.search.history import KILLED, TrialHistory
from autoimb.search.sampler import ask
from autoimb.space.draw import Space, draw, infeasible
from autoimb.space.partner import PARTNER, Forest
from autoimb.space.portfolio import duels_of, first_networks, methods_of
from autoimb.space.strategy import Strategy, partner

__all__ = ["MAX_USELESS_TRIALS", "Agenda", "Proposal", "propose"]

# No trial is started with fewer seconds left.
_MIN_TRIAL_SECONDS = 0.5
# Number of trials, all failed or infeasible, after which the search ends.
MAX_USELESS_TRIALS = 20
# Number of scored networks, the best of which becomes the control of all duels.
_MIN_CONTROLS = 3


@dataclass(frozen=True, kw_only=True)
class Agenda:
    """What a study may try; unchanged from its start to its end.

    Attributes
    ----------
    task : Task
    space : Space
    profile : Profile
        Profile of the rows of trials, which decides whether options are feasible.
    n_trials : int or None
        Maximum number of strategies: those of a resumed search count; infeasible, repeated and
        killed ones, partners and duels do not.
    n_workers : int
        Number of concurrent trials.
    random_state : int
    partners : tuple of str
        Partners that are tried, in this order.
    min_samples_leaf : int
        Minimum number of training rows in their leaves.
    """

    task: Task
    space: Space
    profile: Profile
    n_trials: int | None = None
    n_workers: int = 1
    random_state: int = 0
    partners: tuple[str, ...] = ()
    min_samples_leaf: int = 1

    @property
    def policy(self) -> SearchPolicy:
        """Settings of the search."""
        return self.task.plan.policy

    @cached_property
    def networks(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and parameters of the first networks."""
        return networks_within(self.space, self.task.limits, self.policy)


@dataclass(frozen=True)
class Proposal:
    """A trial to start.

    Attributes
    ----------
    record : TrialRecord
        Record of the running trial.
    distributions : mapping of str to BaseDistribution
        Distributions of its parameters; empty for a partner.
    infeasible : str or None
        Reason why the strategy cannot be evaluated.
    """

    record: TrialRecord
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    infeasible: str | None = None


def propose(history: TrialHistory, agenda: Agenda, *, left: float) -> Proposal | None:
    """Return what to try next, or None if there is nothing now.

    The order is: a partner whose turn has come; a trial that was cut off; a matched duel, while
    duels are within their share of the time; the first networks; strategies that the sampler draws.

    Parameters
    ----------
    history : TrialHistory
    agenda : Agenda
    left : float
        Remaining seconds of the search.
    """
    due = _next_partner(history, agenda, left=left)
    if due is not None:
        return Proposal(TrialRecord(history.next_number, "partner", due))
    if left <= _MIN_TRIAL_SECONDS or _is_hopeless(history):
        return None
    killed = _next_to_repeat(list(history.records.values()))
    if killed is not None:
        again = replace(killed, number=history.next_number, status="running", reason="")
        return Proposal(again, history.trials[killed.number].distributions)
    # A draw that repeats a known strategy is counted by the number of the next one.
    in_vain = set[str]()
    trials = [history.trials[number] for number in sorted(history.trials)]
    for attempt in range(agenda.policy.suggestions.max_repeated_draws):
        planned = _next_planned(history, agenda, left=left, exclude=in_vain)
        if planned is None:
            return None
        (stage, plan, values), number = planned, history.next_number + attempt
        trial = ask(
            trials,
            values,
            number=number,
            random_state=agenda.random_state,
            policy=agenda.policy,
        )
        try:
            strategy = draw(trial, agenda.space)
        except Exception:
            # Law 7: a failed trial never ends a search.
            in_vain.add(plan)
            continue
        if stage != "duel" and _is_known(strategy, history):
            in_vain.add(plan)
            continue
        reason = infeasible(strategy, agenda.profile)
        if reason is None and stage != "duel":
            reason = agenda.task.limits.broken_by(strategy)
        record = TrialRecord(number, stage, strategy, plan=plan, params=trial.params)
        return Proposal(record, trial.distributions, reason)
    return None


def _next_planned(
    history: TrialHistory, agenda: Agenda, *, left: float, exclude: Container[str]
) -> tuple[Any, str, dict[str, Any]] | None:
    """Return stage, name and fixed parameters of the next trial; the sampler draws the others."""
    records = list(history.records.values())
    plans = {record.plan for record in records}
    if agenda.space.only is not None:
        return None if "only" in plans else ("search", "only", {})
    duel = _next_duel(history, agenda, left=left)
    if duel is not None and duel[0] not in exclude:
        return "duel", *duel
    if not _may_try_new(history, agenda, left=left):
        return None
    for plan, values in agenda.networks:
        if plan not in plans and plan not in exclude:
            return "network", plan, values
    return "search", "", {}


def _next_partner(history: TrialHistory, agenda: Agenda, *, left: float) -> Strategy | None:
    """Return the next partner whose turn has come."""
    settings = agenda.policy.suggestions
    if left < settings.min_partner_seconds:
        return None
    records = list(history.records.values())
    # With several workers the first partner starts together with the first networks.
    tried = sum(record.stage not in APART for record in records) - (agenda.n_workers == 1)
    # Forests of small trees take time, and gain nothing on large tables.
    folds = agenda.policy.folds
    small_forests = (
        len(agenda.task.dataset.y) < folds.rows_for_three_folds
        or agenda.partners != settings.partners
    )
    for name, preceding in zip(agenda.partners, settings.strategies_before_partners):
        strategy = partner(name, costs=agenda.space.costs, min_samples_leaf=agenda.min_samples_leaf)
        model = PARTNER.make(strategy.network)
        small = isinstance(model, Forest) and not model.is_deep
        if tried < preceding or (small and not small_forests):
            continue
        before = [record for record in records if record.strategy == strategy]
        # A partner that was cut off may have ended the program, and gets one more chance.
        if len(before) < 2 and all(record.status == "killed" for record in before):
            return strategy
    return None


def _is_hopeless(history: TrialHistory) -> bool:
    """Return whether so many trials, and all of them, have failed or were infeasible."""
    tried = history.strategies
    useless = [record for record in tried if record.status in ("failed", "infeasible")]
    return len(useless) >= MAX_USELESS_TRIALS and len(useless) == len(tried)


def _next_to_repeat(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the next trial that was cut off and starts once more.

    A trial that ran while the program ended may be the cause, so it gets only one more chance.
    """
    for record in records:
        if record.status != "killed" or record.stage == "partner":
            continue
        same = [r for r in records if (r.strategy, r.stage) == (record.strategy, record.stage)]
        crashes = sum(r.reason == KILLED for r in same)
        if crashes < 2 and all(r.status == "killed" for r in same):
            return record
    return None


def _is_known(strategy: Strategy, history: TrialHistory) -> bool:
    """Return whether a strategy was tried or runs; one that was cut off may be tried once more."""
    return any(
        record.strategy == strategy and record.status != "killed" and record.stage != "duel"
        for record in history.records.values()
    )


def _may_try_new(history: TrialHistory, agenda: Agenda, *, left: float) -> bool:
    """Return whether a strategy may start that was not tried yet, and would end in time."""
    ran = [record for record in history.strategies if record.status in RAN]
    tried = {record.strategy for record in (*ran, *history.running) if not record.apart}
    if agenda.n_trials is not None and len(tried) >= agenda.n_trials:
        return False
    newest = history.strategies[-agenda.policy.suggestions.max_repeated_draws :]
    if len(newest) == agenda.policy.suggestions.max_repeated_draws and all(
        record.status == "infeasible" for record in newest
    ):
        return False
    seconds = [record.seconds for record in ran if record.score is not None]
    return left > max(_MIN_TRIAL_SECONDS, statistics.median(seconds) if seconds else 0.0)


# --- matched duels --------------------------------------------------------------------------------


def _next_duel(
    history: TrialHistory, agenda: Agenda, *, left: float
) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the parameters of the next trial of a duel.

    All duels have the same control network: the best of the first control networks that have a
    score, which is chosen once. The control is trained first. When it has a score, the methods
    follow one by one, on the same network.
    """
    space, task = agenda.space, agenda.task
    if not methods_of(space) or task.duels is None or not _duel_fits(history, agenda, left=left):
        return None
    plans = {record.plan for record in history.records.values() if record.stage == "duel"}
    first = next((record for record in history.duels if record.strategy.is_control), None)
    if "duel.0" not in plans:
        control = _control(history.strategies, agenda)
        return None if control is None else ("duel.0", duels_of(space, control)[0])
    if first is None or not any(record.status == "complete" for record in history.duels):
        return None
    planned = enumerate(duels_of(space, first.strategy))
    return next(
        ((f"duel.{place}", values) for place, values in planned if f"duel.{place}" not in plans),
        None,
    )


def _control(records: Sequence[TrialRecord], agenda: Agenda) -> Strategy | None:
    """Return the best control, once enough of them have a score."""
    controls = [r for r in records if r.score is not None and r.strategy.is_control]
    enough = min(_MIN_CONTROLS, len(first_networks(agenda.space, agenda.policy)))
    if len(controls) < max(enough, 1):
        return None
    return min(controls, key=lambda record: record.merit).strategy


def _duel_fits(history: TrialHistory, agenda: Agenda, *, left: float) -> bool:
    """Return whether another duel fits in the duels' share of the time, and would end in time."""
    comparisons, duels = agenda.policy.comparisons, history.duels
    started = {r.plan for r in history.records.values() if r.stage == "duel"}
    tried = [record for record in history.strategies if record.score is not None]
    # Without a deadline the duels are a share of the strategies, since no clock is read.
    if math.isinf(left):
        return len(started) < comparisons.per_strategy * len(tried)
    # The control comes first and encodes the rows for all duels, so its time is not typical.
    took = [r.seconds for r in duels if r.status == "complete" and not r.strategy.is_control]
    took = took or [record.seconds for record in tried]
    expected = statistics.mean(took) if took else math.inf
    # Duels that run, and the next one, are expected to take the mean time.
    seconds = sum(record.seconds for record in duels)
    seconds += (max(len(started) - len(duels), 0) + 1) * expected
    total = seconds + sum(record.seconds for record in tried)
    return seconds <= comparisons.share * total and comparisons.margin * expected < left
