"""What a study tries before it may choose for itself, and what it evaluates once more."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autoimb.search.budget import Deadline
from autoimb.search.choose import is_plain
from autoimb.search.ledger import Ledger
from autoimb.search.planning import CONFIRMING, Plan
from autoimb.search.record import Stage, TrialRecord
from autoimb.space.draw import Space
from autoimb.space.portfolio import BEFORE_LEVERS, first_levers, first_networks, unbalanced_twin

__all__ = ["Agenda", "next_to_confirm"]

SHARE = 0.3  # of the search's time, at its end: for survivors
SURVIVORS = 8
FEW_MINORITY_ROWS = 100  # below, the scores of more strategies say nothing more
TASTE = 6  # levers of different kinds, that tell whether to go on with levers or with networks
ENOUGH = 40  # strategies where minority rows are few


@dataclass(frozen=True)
class Agenda:
    """What comes when in a study.

    Attributes
    ----------
    space : Space
    seconds : float
        That the search has.
    repeats : bool
        Whether survivors are cross-validated on further deals of the rows to folds, and not on
        the same with more work.
    most : float
        Strategies, after which there is nothing to do but to confirm them.
    """

    space: Space
    seconds: float
    repeats: bool = False
    most: float = math.inf

    @classmethod
    def of(cls, plan: Plan, space: Space, deadline: Deadline) -> Agenda:
        """Make the agenda of a plan: few minority rows tell few strategies apart.

        Among many that are equally good the best score is luck, so below 100 minority rows the
        rest of the time goes to more networks of the same strategies, on other folds.
        """
        repeats = bool(plan.folds.further)
        few = min(plan.effort.outline.class_counts) < FEW_MINORITY_ROWS
        most = ENOUGH if repeats and few and deadline.finite else math.inf
        return cls(space, deadline.left(), repeats=repeats, most=most)

    def plan_ahead(self, ledger: Ledger, ranked: Sequence[TrialRecord], *, left: float) -> bool:
        """Enqueue the next planned trial: networks without a lever, levers on the best, networks.

        When the time for them has come, survivors come first; and before all the twin of the best
        balanced ensemble, so that the verdict compares it with one as large.

        Parameters
        ----------
        ledger : Ledger
        ranked : sequence of TrialRecord
            The trials that compete, best first.
        left : float
            Seconds of the search.

        Returns
        -------
        bool
            Whether there is anything left to try.
        """
        if ledger.waiting:
            return True
        twins = ((record.number, unbalanced_twin(self.space, record.strategy)) for record in ranked)
        number, twin = next(((n, params) for n, params in twins if params is not None), (0, None))
        if twin is not None and f"twin.{number}" not in ledger.plans:
            ledger.enqueue(twin, stage="lever", plan=f"twin.{number}")
            return True
        enough = len(ranked) >= self.most
        if enough or left < SHARE * self.seconds:
            survivor = next_to_confirm(
                ranked,
                ledger.confirmed,
                seconds=left,
                repeats=self.repeats,
                most=len(ranked) if enough else SURVIVORS,
            )
            if survivor is not None:
                ledger.enqueue_again(survivor.number)
                return True
        if enough:
            return False
        for stage, plan, params in self._planned(ranked):
            if plan not in ledger.plans:
                ledger.enqueue(params, stage=stage, plan=plan)
                break
        return True

    def _planned(
        self, ranked: Sequence[TrialRecord]
    ) -> Iterator[tuple[Stage, str, dict[str, Any]]]:
        networks: list[tuple[Stage, str, dict[str, Any]]] = [
            ("network", f"network.{i}", params)
            for i, params in enumerate(first_networks(self.space))
        ]
        yield from networks[:BEFORE_LEVERS]
        plain = next((record for record in ranked if is_plain(record)), None)
        levers: list[tuple[Stage, str, dict[str, Any]]] = []
        if plain is not None:
            levers = [
                ("lever", f"lever.{i}", params)
                for i, params in enumerate(first_levers(self.space, plain.strategy))
            ]
        yield from levers[:TASTE]
        others = networks[BEFORE_LEVERS:], levers[TASTE:]
        helps = plain is not None and not is_plain(ranked[0])
        for planned in reversed(others) if helps else others:
            yield from planned


def next_to_confirm(
    ranked: Sequence[TrialRecord],
    confirmed: Collection[int],
    *,
    seconds: float,
    repeats: bool = False,
    most: int = SURVIVORS,
) -> TrialRecord | None:
    """Find the next trial to evaluate once more, with more work.

    A study of many trials gives each little work. What that ends, and not its own patience, may be
    better than its score: so the last part of a search goes to the best of such trials, and to the
    best without a lever, against which the verdict holds the others. Where confirming means other
    folds instead of longer training, it goes to the best, however they ended.

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

    Returns
    -------
    TrialRecord or None
        None where more work would change nothing, or would not end in time.
    """
    plain = [record for record in ranked if is_plain(record)]
    for record in [*plain[:1], *ranked[:most]]:
        ran_out = 0 < record.planned <= len(record.curve)
        once = record.status == "complete" and record.stage != "confirm"
        new = once and record.number not in confirmed
        if new and (ran_out or repeats) and record.seconds * CONFIRMING < seconds:
            return record
    return None
