"""The record of a trial, a line of the leaderboard, and what a resumed search reads of a trial."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
import safetensors.numpy
from msgspec import Meta
from numpy.typing import NDArray

from autoimb.arrays import Array, check_arrays
from autoimb.assessment.calibration import Calibrator, Finishing
from autoimb.assessment.uncertainty import Score
from autoimb.evaluation.outcome import Cut, Failed, Infeasible, Outcome, Pruned, Scored, Trace
from autoimb.pipeline.artifact import strategy_arrays, strategy_of
from autoimb.pipeline.manifest import StrategyPart
from autoimb.space.strategy import Strategy

if TYPE_CHECKING:
    from autoimb.pipeline.fitted import FittedStrategy

__all__ = [
    "APART",
    "RAN",
    "Stage",
    "Status",
    "StoredTrial",
    "TrialRecord",
    "pack_trial",
    "standing",
    "unpack_record",
    "unpack_trial",
    "usable",
]

Stage = Literal["network", "method", "search", "confirm", "partner", "duel"]
Status = Literal[
    "running", "complete", "partial", "pruned", "infeasible", "failed", "timeout", "killed"
]

APART: tuple[Stage, ...] = ("partner", "duel")
STATUSES: dict[type[Outcome], Status] = {
    Pruned: "pruned",
    Infeasible: "infeasible",
    Failed: "failed",
    Cut: "timeout",
}
_Number = Annotated[int, Meta(ge=0, le=10**6)]  # of a trial
_Count = Annotated[int, Meta(ge=0, le=2**31)]
_PROBABILITIES = Array("float64", "nC", 0, 1 + 1e-9)  # a mean of ones is one but for rounding

# what `n_trials` counts
RAN: tuple[Status, ...] = ("complete", "partial", "pruned", "failed", "timeout")


@dataclass(frozen=True)
class TrialRecord:
    """One line of the leaderboard.

    Parameters
    ----------
    number : int
        Of the trial in its study.
    stage : {"network", "method", "search", "confirm", "partner", "duel"}
        Which part of the search asked for it.
    strategy : Strategy
        Of a partner what `autoimb.space.strategy.partner` writes.
    status : Status
        "running" until it ends; no finished search has such a record.
        "complete" had all its folds, and the planned work or as much as its own patience wanted;
        only these compete. "partial" was scored at a lower rung, and may go on.
        "killed" ran while the whole program was killed or interrupted.
    reason : str
        Why it is not complete, in a sentence; empty for a complete one.
    score : Score or None
        Out of fold.
    seconds : float
        Wall-clock time that the strategy took in all, at this rung and those before.
    epochs : tuple of int
        Epochs of each fold.
    curve, floor : tuple of float
        The measure of the out-of-fold predictions by checkpoint: the mean over folds, and the
        worst fold.
    planned : int
        Checkpoints of the planned work.
    rung : float
        How many times the planned work its training on a split was in all.
    ended : bool
        Whether its own patience ended it, so that more work would change nothing.
    follows : int or None
        The trial of the same strategy at the rung below.
    """

    number: _Number
    stage: Stage
    strategy: Strategy
    status: Status
    reason: str
    score: Score | None
    seconds: Annotated[float, Meta(ge=0)]
    epochs: tuple[_Count, ...] = ()
    curve: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    planned: _Count = 0
    rung: Annotated[float, Meta(ge=0, le=1e6)] = 1.0
    ended: bool = False
    follows: _Number | None = None

    @classmethod
    def of(
        cls,
        number: int,
        outcome: Outcome,
        *,
        stage: Stage,
        strategy: Strategy,
        rung: float = 1.0,
        before: TrialRecord | None = None,
    ) -> TrialRecord:
        """Return the record of an outcome; `before` is the strategy's at the rung below."""
        result = usable(outcome)
        if result is not None:
            trace = result.trace
        else:
            trace = outcome.trace if isinstance(outcome, Pruned) else Trace()
        return cls(
            number=number,
            stage=stage,
            strategy=strategy,
            status=_status(outcome, rung),
            reason="" if isinstance(outcome, Scored) else outcome.reason,
            score=None if result is None else result.score,
            seconds=outcome.seconds + (0.0 if before is None else before.seconds),
            epochs=trace.checkpoints,
            curve=trace.curve,
            floor=trace.floor,
            planned=trace.planned,
            rung=rung,
            ended=trace.ended,
            follows=None if before is None else before.number,
        )

    @property
    def confirmed(self) -> bool:
        """Whether it was scored on folds that had not chosen it."""
        return self.stage == "confirm"

    @property
    def apart(self) -> bool:
        """Whether it is none of the strategies that a search ranks: a partner, or a duel's."""
        return self.stage in APART

    @property
    def merit(self) -> tuple[float, int]:
        """Sorts trials of one rung that have a score: the better first, then the earlier."""
        utility = -math.inf if self.score is None else self.score.utility
        return -utility, self.number

    @property
    def rank(self) -> tuple[bool, bool, bool, float, int]:
        """Sorts trials: complete ones first, confirmed ones before others, then by score."""
        return self.status != "complete", not self.confirmed, self.score is None, *self.merit

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        score = None if self.score is None else self.score.to_json()
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {"strategy": self.strategy.to_json(), "score": score}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialRecord:
        """Read what `to_json` wrote; a value of another kind or range raises `ValueError`."""
        strategy = Strategy.from_json(data["strategy"])
        return msgspec.convert(dict(data) | {"strategy": strategy}, cls)


class _Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the raw predictions of a trial became its probabilities."""

    calibrators: tuple[Calibrator, ...]
    class_costs: tuple[Annotated[float, Meta(ge=0)], ...] | None


class _Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plain values of a stored trial; `TrialRecord.from_json` describes those of its record."""

    record: dict[str, Any]
    params: dict[str, bool | int | float | str | None]
    plans: tuple[str, ...]
    calibration: _Calibration | None = None


def _status(outcome: Outcome, rung: float) -> Status:
    if isinstance(outcome, Scored):
        return "complete" if rung >= 1 or outcome.trace.ended else "partial"
    return STATUSES[type(outcome)]


def standing(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Leave out the trials whose strategy has ended at a higher rung."""
    known = tuple(records)
    passed = {record.follows for record in known if record.status in ("complete", "partial")}
    return tuple(record for record in known if record.number not in passed)


@dataclass(frozen=True)
class StoredTrial:
    """A trial as a store holds it.

    Parameters
    ----------
    record : TrialRecord
    result : Scored or None
        What a pipeline could be made of, with the fitted networks where they are stored.
    params : mapping of str to value
        The values that the study drew, by Optuna's names.
    plans : tuple of str
        The planned trials that were proposed since the trial before started, this one among them;
        the others repeated a known strategy.
    """

    record: TrialRecord
    result: Scored | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    plans: tuple[str, ...] = ()


def usable(outcome: Outcome) -> Scored | None:
    """Return what a pipeline could be made of: also of a trial that its deadline ended."""
    if isinstance(outcome, Cut):
        return outcome.best
    return outcome if isinstance(outcome, Scored) else None


def pack_trial(trial: StoredTrial) -> tuple[str, bytes | None, bytes | None]:
    """Return a trial as plain values (JSON), out-of-fold predictions and fitted networks."""
    values = {
        "record": trial.record.to_json(),
        "params": dict(trial.params),
        "plans": list(trial.plans),
    }
    result = trial.result
    if result is None:
        return json.dumps(values), None, None
    finishing = result.finishing
    arrays = {"oof": result.oof, "labels": result.labels}
    if finishing is not None:
        arrays["raw"] = finishing.raw
        calibration = _Calibration(finishing.calibrators, finishing.class_costs)
        values["calibration"] = msgspec.to_builtins(calibration)
    present = {name: array for name, array in arrays.items() if array is not None}
    networks = None if result.fitted is None else _pack_strategy(result.fitted)
    return json.dumps(values), _pack_arrays(present), networks


def unpack_record(content: str) -> TrialRecord:
    """Read the record alone from the plain values of a trial."""
    return TrialRecord.from_json(json.loads(content)["record"])


def unpack_trial(content: str, predictions: bytes | None, networks: bytes | None) -> StoredTrial:
    """Read what `pack_trial` returned.

    Raises
    ------
    Exception
        Of any kind, where it is something else.
    """
    # An undefined score is NaN, which json reads and msgspec refuses.
    values = msgspec.convert(json.loads(content), _Values)
    record, result = TrialRecord.from_json(values.record), None
    if predictions is not None and record.score is not None:
        arrays = safetensors.numpy.load(predictions)
        kinds = {"oof": _PROBABILITIES, "raw": _PROBABILITIES, "labels": Array("int64", "n", low=0)}
        check_arrays({name: kinds[name] for name in arrays}, arrays, "the trial")
        result = Scored(
            score=record.score,
            oof=arrays["oof"],
            finishing=_finishing(arrays.get("raw"), values.calibration),
            labels=arrays.get("labels"),
            fitted=None if networks is None else _unpack_strategy(networks),
            trace=Trace(
                record.curve,
                record.floor,
                record.planned,
                record.ended,
                record.confirmed,
                record.epochs,
            ),
            seconds=record.seconds,
        )
    return StoredTrial(record, result, values.params, values.plans)


def _finishing(raw: NDArray[Any] | None, calibration: _Calibration | None) -> Finishing | None:
    if raw is None or calibration is None:
        return None
    return Finishing(raw, calibration.calibrators, calibration.class_costs)


def _pack_strategy(fitted: FittedStrategy) -> bytes:
    """Write a fitted strategy as safetensors, with its plain values in the header."""
    part = msgspec.json.encode(fitted.part()).decode()
    return _pack_arrays(strategy_arrays(fitted), {"strategy": part})


def _unpack_strategy(content: bytes) -> FittedStrategy:
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    part = msgspec.json.decode(header["__metadata__"]["strategy"], type=StrategyPart)
    return strategy_of(part, safetensors.numpy.load(content))


def _pack_arrays(
    arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None
) -> bytes:
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(safetensors.numpy.save(contiguous, metadata))
