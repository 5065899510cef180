"""What a study knows: the records and results of its trials, and whose networks are kept."""

from __future__ import annotations

from dataclasses import replace

from autoimb.evaluation.outcome import Scored
from autoimb.policy import SearchPolicy
from autoimb.runs.record import TrialRecord, standing
from autoimb.training.pruning import Bar

__all__ = ["Known"]

# Number of the best trials whose fitted networks are retained; a blend takes at most ten.
_MAX_NETWORKS = 12


class Known:
    """The records and results of a study while it runs.

    Parameters
    ----------
    policy : SearchPolicy
        How many networks are kept.

    Attributes
    ----------
    records : dict of int to TrialRecord
        Of all trials, by number.
    results : dict of int to Scored
        What could be exported, of each strategy from its highest rung; most without networks.
    """

    def __init__(self, policy: SearchPolicy) -> None:
        self._policy = policy
        self.records: dict[int, TrialRecord] = {}
        self.results: dict[int, Scored] = {}

    @property
    def standing(self) -> tuple[TrialRecord, ...]:
        """The records of all strategies, partners and duels, by number."""
        return standing(self.records[number] for number in sorted(self.records))

    @property
    def strategies(self) -> list[TrialRecord]:
        """The records of all trials of the search, at any rung; partners and duels are none."""
        return [record for record in self.records.values() if not record.apart]

    @property
    def duels(self) -> list[TrialRecord]:
        """The records of matched duels, by number."""
        return [self.records[n] for n in sorted(self.records) if self.records[n].stage == "duel"]

    @property
    def _partners(self) -> tuple[int, ...]:
        """The numbers of the partners that gave something, also where time ended their growth."""
        return tuple(n for n in sorted(self.results) if self.records[n].stage == "partner")

    @property
    def ranked(self) -> list[TrialRecord]:
        """The usable trials of strategies, complete ones first, best first.

        A strategy competes as its highest rung says, better or worse. Partners and duels don't.
        """
        held = [self.records[number] for number in self.results]
        known = [record for record in held if not record.apart]
        return sorted(known, key=lambda record: record.rank)

    @property
    def has_control(self) -> bool:
        """Whether a strategy without a method is usable, so that methods can be put into it."""
        return any(record.strategy.is_control for record in self.ranked)

    @property
    def bar(self) -> Bar | None:
        """What a trial must reach to go on; None while nothing is complete."""
        held = (self.records[number] for number in self.results)
        planned = [record for record in held if not (record.confirmed or record.apart)]
        best = min(planned, key=lambda record: record.rank, default=None)
        if best is None or best.status != "complete":
            return None
        return Bar.of(best.curve, best.floor, best.planned, self._policy)

    def usable(self) -> dict[int, Scored]:
        """Return what can be exported: of complete trials, else what the deadline left."""
        usable = [record.number for record in self.ranked if record.status == "complete"]
        if not any(self.results[number].fitted is not None for number in usable):
            every = (record.number for record in self.ranked)
            usable = [number for number in every if self.results[number].fitted is not None]
        return {n: self.results[n] for n in (*usable, *(self._partners if usable else ()))}

    def add(self, record: TrialRecord, result: Scored | None) -> Scored | None:
        """Add a trial; return its result, with its networks only while it is among the best."""
        self.records[record.number] = record
        if result is None:
            return None
        self.results[record.number] = result
        if result.fitted is None or record.number in self._kept():
            return result
        return replace(result, fitted=None)

    def drop(self) -> list[int]:
        """Forget the networks that are not kept, and all of the rungs that were passed.

        Returns
        -------
        list of int
            The trials that have lost their networks.
        """
        competing, kept, lost = {record.number for record in self.standing}, self._kept(), []
        for number, result in list(self.results.items()):
            if number in competing & kept:
                continue
            if result.fitted is not None:
                lost.append(number)
            if number in competing:
                self.results[number] = replace(result, fitted=None)
            else:
                del self.results[number]
        return lost

    def _kept(self) -> set[int]:
        """Return the trials whose networks are kept: the best, the best control, and partners.

        Of the confirmed ones and of the others apart: one that was confirmed may score less than
        many that still wait for it, and be the best when all are.
        """
        competing = {record.number for record in self.standing}
        ranked = [record for record in self.ranked if record.number in competing]
        again = [record.number for record in ranked if record.confirmed]
        once = [record.number for record in ranked if not record.confirmed]
        control = [record.number for record in ranked if record.strategy.is_control]
        return {*again[:_MAX_NETWORKS], *once[:_MAX_NETWORKS], *control[:1], *self._partners}
