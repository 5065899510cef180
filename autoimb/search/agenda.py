"""What a study tries before it may choose for itself, and what it evaluates once more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autoimb.budget import Deadline
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.task import Task
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.runs.record import TrialRecord
from autoimb.search.duels import duels_due, next_duel
from autoimb.search.history import KILLED, Proposal, TrialHistory
from autoimb.search.limiting import networks_within
from autoimb.space.draw import Space
from autoimb.space.partner import PARTNER, Bagged

__all__ = ["Agenda", "next_to_repeat"]


@dataclass(frozen=True)
class Agenda:
    """What comes when in a study.

    Attributes
    ----------
    space : Space
    seconds : float
        That the search has.
    duels : bool
        Whether there are rows and folds for matched duels.
    policy : SearchPolicy
    limits : Limits
        What the result may take.
    forests : bool
        Whether forests are among the partners that are tried unless told otherwise: they take time,
        and on large tables they gain nothing.
    """

    space: Space
    seconds: float
    duels: bool = False
    policy: SearchPolicy = DEFAULT_POLICY
    limits: Limits = field(default_factory=Limits)
    forests: bool = True

    @classmethod
    def of(cls, study: Task, space: Space, deadline: Deadline, *, duels: bool = False) -> Agenda:
        """Make the agenda of a study."""
        policy = study.plan.policy
        return cls(
            space,
            deadline.left(),
            duels=duels,
            policy=policy,
            limits=study.limits,
            forests=len(study.dataset.y) < policy.folds.rows_for_three_folds,
        )

    @cached_property
    def _networks(self) -> list[tuple[str, dict[str, Any]]]:
        """The first networks, each with the name of its plan."""
        return networks_within(self.space, self.limits, self.policy)

    def propose(self, history: TrialHistory, *, left: float, new: bool) -> Proposal | None:
        """Return what comes next, if anything.

        First a trial that was cut off; then a matched duel, while duels are within their share;
        then a new one.

        Parameters
        ----------
        history : TrialHistory
        left : float
            Seconds of the search.
        new : bool
            Whether a strategy may be tried that was not tried yet.
        """
        cut_off = next_to_repeat(
            [record for record in history.started if record.stage != "partner"]
        )
        if cut_off is not None:
            return Proposal(cut_off.stage, repeats=cut_off.number)
        if self.space.only is not None:
            return None if "only" in history.plans else Proposal("search", plan="only")
        duel = self._propose_duel(history, left=left)
        if duel is not None:
            return duel
        return self._propose_new(history.plans) if new else None

    def partners_due(self, partners: Sequence[str], *, tried: int, workers: int) -> Sequence[str]:
        """Return the partners that may have begun by now, after so many strategies were tried.

        The first comes at once where another worker begins with the networks.
        """
        if self.seconds < self.policy.suggestions.min_partner_seconds:
            return ()
        tried -= workers == 1
        due = [
            name
            for name, n in zip(partners, self.policy.suggestions.strategies_before_partners)
            if tried >= n
        ]
        if self.forests or tuple(partners) != self.policy.suggestions.partners:
            return due
        return [name for name in due if not isinstance(PARTNER[name].code(), Bagged)]

    def _propose_duel(self, history: TrialHistory, *, left: float) -> Proposal | None:
        plans, policy = history.plans, self.policy
        records, duels = history.strategies, history.duels
        if not self.duels or not duels_due(plans, records, duels, left=left, policy=policy):
            return None
        planned = next_duel(self.space, plans, records, duels, policy=policy)
        if planned is None:
            return None
        plan, values = planned
        return Proposal("duel", values, plan)

    def _propose_new(self, plans: Collection[str]) -> Proposal:
        """Propose the next network of the list, or a strategy that the sampler draws."""
        for name, values in self._networks:
            if name not in plans:
                return Proposal("network", values, name)
        return Proposal("search")


def next_to_repeat(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Find the next trial that was cut off and is to start once more.

    One that ran while the program ended may be what ended it, and gets only one more chance.

    Parameters
    ----------
    records : sequence of TrialRecord
        Of all trials but partners, also of those that run.
    """
    for record in records:
        if record.status != "killed":
            continue
        same = [r for r in records if _work_of(r) == _work_of(record)]
        crashes = sum(r.reason == KILLED for r in same)
        if crashes < 2 and all(r.status == "killed" for r in same):
            return record
    return None


def _work_of(record: TrialRecord) -> tuple[object, ...]:
    return record.strategy, record.stage
