"""What a study tries before it may choose for itself, and what it evaluates once more."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autoimb.budget import Deadline
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.runs.journal import Journal
from autoimb.runs.record import Stage, TrialRecord
from autoimb.space.draw import Space
from autoimb.space.portfolio import first_methods, first_networks, matched_control_of
from autoimb.training.plan import Plan

__all__ = ["Agenda", "next_to_confirm"]


@dataclass(frozen=True)
class Agenda:
    """What comes when in a study.

    Attributes
    ----------
    space : Space
    seconds : float
        That the search has.
    repeats : bool
        Whether survivors are cross-validated on further repeats, other random splits of all rows
        into folds, and not on the same folds with more work.
    most : float
        Strategies, after which there is nothing to do but to confirm them.
    policy : SearchPolicy
    """

    space: Space
    seconds: float
    repeats: bool = False
    most: float = math.inf
    policy: SearchPolicy = DEFAULT_POLICY

    @classmethod
    def of(cls, plan: Plan, space: Space, deadline: Deadline) -> Agenda:
        """Make the agenda of a plan: few minority rows tell few strategies apart.

        Among many that are equally good the best score is luck, so below 100 minority rows the
        rest of the time goes to more networks of the same strategies, on other folds.
        """
        repeats = bool(plan.folds.further)
        policy = plan.policy
        few = min(plan.effort.outline.class_counts) < policy.rare_rows_for_many_strategies
        limited = repeats and few and deadline.finite
        most = policy.strategies_on_few_rare_rows if limited else math.inf
        return cls(space, deadline.left(), repeats=repeats, most=most, policy=policy)

    def plan_ahead(self, journal: Journal, ranked: Sequence[TrialRecord], *, left: float) -> bool:
        """Enqueue the next planned trial: controls, imbalance methods on the best, more networks.

        A control is a strategy without an imbalance method. Before all others comes the matched
        control of the best balanced ensemble, so that the verdict compares it with one as large;
        then survivors, when the time for them has come.

        Parameters
        ----------
        journal : Journal
        ranked : sequence of TrialRecord
            The trials that compete, best first.
        left : float
            Seconds of the search.

        Returns
        -------
        bool
            Whether there is anything left to try.
        """
        if journal.waiting:
            return True
        if self.space.only is not None:
            return self._plan_only(journal)
        found = (
            (record.number, matched_control_of(self.space, record.strategy)) for record in ranked
        )
        number, control = next(
            ((n, params) for n, params in found if params is not None), (0, None)
        )
        if control is not None and f"matched_control.{number}" not in journal.plans:
            journal.enqueue(control, stage="method", plan=f"matched_control.{number}")
            return True
        enough = len(ranked) >= self.most
        if enough or left < self.policy.confirming_share * self.seconds:
            survivor = next_to_confirm(
                ranked,
                journal.confirmed,
                seconds=left,
                repeats=self.repeats,
                most=len(ranked) if enough else self.policy.confirmed_trials,
                work=self.policy.confirming_work,
            )
            if survivor is not None:
                journal.enqueue_again(survivor.number)
                return True
        if enough:
            return False
        for stage, plan, params in self._planned(ranked):
            if plan not in journal.plans:
                journal.enqueue(params, stage=stage, plan=plan)
                break
        return True

    def partners_due(self, partners: Sequence[str], *, tried: int, workers: int) -> Sequence[str]:
        """Return the partners that may have begun by now, after so many strategies were tried.

        The first comes at once where another worker begins with the networks.
        """
        if self.seconds < self.policy.least_partner_seconds:
            return ()
        tried -= workers == 1
        return partners[: sum(tried >= n for n in self.policy.strategies_before_partners)]

    @staticmethod
    def _plan_only(journal: Journal) -> bool:
        """Enqueue the one strategy of the space, once."""
        if "only" in journal.plans:
            return False
        journal.enqueue({}, stage="search", plan="only")
        return True

    def _planned(
        self, ranked: Sequence[TrialRecord]
    ) -> Iterator[tuple[Stage, str, dict[str, Any]]]:
        networks: list[tuple[Stage, str, dict[str, Any]]] = [
            ("network", f"network.{i}", params)
            for i, params in enumerate(first_networks(self.space, self.policy))
        ]
        before, tried = self.policy.networks_before_methods, self.policy.methods_before_others
        yield from networks[:before]
        control = next((record for record in ranked if record.strategy.is_control), None)
        methods: list[tuple[Stage, str, dict[str, Any]]] = []
        if control is not None:
            methods = [
                ("method", f"method.{i}", params)
                for i, params in enumerate(first_methods(self.space, control.strategy, self.policy))
            ]
        yield from methods[:tried]
        others = networks[before:], methods[tried:]
        helps = control is not None and not ranked[0].strategy.is_control
        for planned in reversed(others) if helps else others:
            yield from planned


def next_to_confirm(
    ranked: Sequence[TrialRecord],
    confirmed: Collection[int],
    *,
    seconds: float,
    repeats: bool,
    most: int,
    work: int,
) -> TrialRecord | None:
    """Find the next trial to evaluate once more, with more work.

    A study of many trials gives each little work. What that ends, and not its own patience, may be
    better than its score: so the last part of a search goes to the best of such trials, and to the
    best control, against which the verdict holds the others. Where confirming means other folds
    instead of longer training, it goes to the best, however they ended.

    Parameters
    ----------
    ranked : sequence of TrialRecord
        The trials that compete, best first.
    confirmed : collection of int
        The trials that were confirmed already, or are being confirmed.
    seconds : float
        That are left.
    repeats : bool
        See `Agenda`.
    most : int
        How many of the best.
    work : int
        Times the work of a trial that confirming takes.

    Returns
    -------
    TrialRecord or None
        None where more work would change nothing, or would not end in time.
    """
    control = [record for record in ranked if record.strategy.is_control]
    for record in [*control[:1], *ranked[:most]]:
        ran_out = 0 < record.planned <= len(record.curve)
        once = record.status == "complete" and record.stage != "confirm"
        new = once and record.number not in confirmed
        if new and (ran_out or repeats) and record.seconds * work < seconds:
            return record
    return None
