"""What is kept of a trial: a line of the leaderboard, and the files a resumed search reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from safetensors import safe_open

from autoimb.assessment.calibration import Calibrator, Finishing
from autoimb.assessment.uncertainty import Score
from autoimb.evaluation.outcome import Cut, Failed, Infeasible, Outcome, Pruned, Scored, Trace
from autoimb.pipeline.artifact import strategy_arrays, strategy_of
from autoimb.pipeline.contents import Array, check_arrays
from autoimb.pipeline.manifest import StrategyPart
from autoimb.runs.seal import read_sealed, sealed, sealed_header
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
    "read_header",
    "read_trial",
    "read_weights",
    "standing",
    "trial_bytes",
    "usable",
    "weights_bytes",
]

Stage = Literal["network", "method", "search", "confirm", "partner", "duel"]
Status = Literal["complete", "partial", "pruned", "infeasible", "failed", "timeout", "killed"]

APART: tuple[Stage, ...] = ("partner", "duel")
STATUSES: dict[type[Outcome], Status] = {
    Pruned: "pruned",
    Infeasible: "infeasible",
    Failed: "failed",
    Cut: "timeout",
}
_Number = Annotated[int, Meta(ge=0, le=10**6)]  # of a trial
_Count = Annotated[int, Meta(ge=0, le=2**31)]
_PROBABILITIES = Array("float64", 2, 0, 1 + 1e-9)  # a mean of ones is one but for rounding

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
    status : {"complete", "partial", "pruned", "infeasible", "failed", "timeout", "killed"}
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


class _Calibration(msgspec.Struct):
    """How the raw predictions of a trial became its probabilities."""

    calibrators: tuple[Calibrator, ...]
    class_costs: tuple[Annotated[float, Meta(ge=0)], ...] | None


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
    """A finished trial as read back from its files.

    Parameters
    ----------
    record : TrialRecord
    result : Scored or None
        What a pipeline could be made of, with the fitted networks where they were kept.
    params : dict
        The values that the study drew, by Optuna's names.
    """

    record: TrialRecord
    result: Scored | None
    params: dict[str, Any]


def usable(outcome: Outcome) -> Scored | None:
    """Return what a pipeline could be made of: also of a trial that its deadline ended."""
    if isinstance(outcome, Cut):
        return outcome.best
    return outcome if isinstance(outcome, Scored) else None


def trial_bytes(
    record: TrialRecord, result: Scored | None, params: Mapping[str, Any], *, run: str
) -> bytes:
    """Return the content of a trial's file: the record in the header, predictions as arrays.

    Parameters
    ----------
    record : TrialRecord
    result : Scored or None
    params : mapping of str to value
        What the study drew, by Optuna's names.
    run : str
        The name of the study.
    """
    finishing = None if result is None else result.finishing
    named = {} if result is None else {"oof": result.oof, "labels": result.labels}
    if finishing is not None:
        named["raw"] = finishing.raw
    arrays = {name: np.ascontiguousarray(a) for name, a in named.items() if a is not None}
    header = {"record": json.dumps(record.to_json()), "params": json.dumps(dict(params))}
    if finishing is not None:
        calibration = _Calibration(finishing.calibrators, finishing.class_costs)
        header["finishing"] = msgspec.json.encode(calibration).decode()
    return sealed(arrays, header, run=run, number=record.number)


def weights_bytes(fitted: FittedStrategy, *, run: str, number: int) -> bytes:
    """Return the content of a trial's second file: its fitted networks."""
    arrays = {name: np.ascontiguousarray(a) for name, a in strategy_arrays(fitted).items()}
    header = {"strategy": msgspec.json.encode(fitted.part()).decode()}
    return sealed(arrays, header, run=run, number=number)


def read_header(path: Path, *, run: str, number: int) -> TrialRecord:
    """Read the record alone.

    Parameters
    ----------
    path : Path
    run : str
        The study that the file must be of.
    number : int
        The trial that it must be of.

    Raises
    ------
    Exception
        Of any kind, where it is not what `trial_bytes` wrote.
    """
    with safe_open(path, framework="numpy") as file:
        header = sealed_header(file, run=run, number=number)
    return TrialRecord.from_json(json.loads(header["record"]))


def read_trial(path: Path, *, run: str, number: int) -> StoredTrial:
    """Read a trial's file; the networks are in another one.

    Raises
    ------
    Exception
        Of any kind, where it is not what `trial_bytes` wrote for this trial of this study.
    """
    header, arrays = read_sealed(path, run=run, number=number)
    record = TrialRecord.from_json(json.loads(header["record"]))
    result = None
    if record.score is not None and "oof" in arrays:
        kinds = {"oof": _PROBABILITIES, "raw": _PROBABILITIES, "labels": Array("int64", low=0)}
        check_arrays({name: kinds[name] for name in arrays}, arrays, "the trial")
        result = Scored(
            score=record.score,
            oof=arrays["oof"],
            finishing=_finishing(arrays.get("raw"), header.get("finishing")),
            labels=arrays.get("labels"),
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
    return StoredTrial(record, result, msgspec.json.decode(header["params"], type=dict[str, Any]))


def _finishing(raw: np.ndarray | None, text: str | None) -> Finishing | None:
    if raw is None or text is None:
        return None
    calibration = msgspec.json.decode(text, type=_Calibration)
    return Finishing(raw, calibration.calibrators, calibration.class_costs)


def read_weights(path: Path, *, run: str, number: int) -> FittedStrategy:
    """Read a trial's fitted networks; it raises as `read_trial` does."""
    header, arrays = read_sealed(path, run=run, number=number)
    return strategy_of(msgspec.json.decode(header["strategy"], type=StrategyPart), arrays)
