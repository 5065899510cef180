"""What a study tries before it may choose for itself, and what it evaluates once more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from autoimb.search.budget import Deadline
from autoimb.search.choose import is_plain
from autoimb.search.ledger import Ledger
from autoimb.search.planning import CONFIRMING
from autoimb.search.record import Stage, TrialRecord
from autoimb.space.draw import Space
from autoimb.space.portfolio import first_levers, first_networks

__all__ = ["next_to_confirm", "plan_ahead"]

SHARE = 0.3  # of the search's time, at its end: for survivors
SURVIVORS = 8


def plan_ahead(
    ledger: Ledger,
    space: Space,
    ranked: Sequence[TrialRecord],
    *,
    deadline: Deadline,
    seconds: float,
) -> None:
    """Enqueue the next planned trial: networks without a lever, then levers on the best.

    When the time for them has come, survivors come first.

    Parameters
    ----------
    ledger : Ledger
    space : Space
    ranked : sequence of TrialRecord
        The trials that compete, best first.
    deadline : Deadline
        Of the search.
    seconds : float
        That the search had at its start.
    """
    if ledger.waiting:
        return
    left = deadline.left()
    if left < SHARE * seconds:
        survivor = next_to_confirm(ranked, ledger.confirmed, seconds=left)
        if survivor is not None:
            ledger.enqueue_again(survivor.number)
            return
    planned: list[tuple[Stage, str, dict[str, Any]]] = [
        ("network", f"network.{i}", params) for i, params in enumerate(first_networks(space))
    ]
    plain = next((record for record in ranked if is_plain(record)), None)
    if plain is not None:
        levers = first_levers(space, plain.strategy)
        planned += [("lever", f"lever.{i}", params) for i, params in enumerate(levers)]
    for stage, plan, params in planned:
        if plan not in ledger.plans:
            ledger.enqueue(params, stage=stage, plan=plan)
            return


def next_to_confirm(
    ranked: Sequence[TrialRecord], confirmed: Collection[int], *, seconds: float
) -> TrialRecord | None:
    """Find the next trial to evaluate once more, with more work.

    A study of many trials gives each little work. What that ends, and not its own patience, may be
    better than its score: so the last part of a search goes to the best of such trials, and to the
    best without a lever, against which the verdict holds the others.

    Parameters
    ----------
    ranked : sequence of TrialRecord
        The trials that compete, best first.
    confirmed : collection of int
        The trials that were confirmed already, or are being confirmed.
    seconds : float
        That are left.

    Returns
    -------
    TrialRecord or None
        None where more work would change nothing, or would not end in time.
    """
    for record in _survivors(ranked):
        if record.number not in confirmed and record.seconds * CONFIRMING < seconds:
            return record
    return None


def _survivors(ranked: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
    """Yield the best trial without a lever, then the best: those whose planned ticks ran out."""
    plain = next((record for record in ranked if is_plain(record)), None)
    best = ranked[:SURVIVORS]
    for record in best if plain is None else [plain, *best]:
        ran_out = 0 < record.planned <= len(record.curve)
        if record.status == "complete" and record.stage != "confirm" and ran_out:
            yield record
