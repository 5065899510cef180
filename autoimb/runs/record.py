"""Record of a trial, a line of the leaderboard, and the stored form of a trial."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import safetensors.numpy
from msgspec import Meta
from numpy.typing import NDArray

from autoimb.arrays import Array, check_arrays
from autoimb.assessment.calibration import Calibrator, Finishing
from autoimb.assessment.uncertainty import Score
from autoimb.evaluation.outcome import Cut, Failed, Infeasible, Outcome, Scored, usable
from autoimb.pipeline.artifact import strategy_arrays, strategy_of
from autoimb.pipeline.fitted import FittedStrategy
from autoimb.pipeline.manifest import StrategyPart
from autoimb.space.strategy import Strategy

__all__ = [
    "APART",
    "RAN",
    "Stage",
    "Status",
    "TrialRecord",
    "pack_trial",
    "unpack_record",
    "unpack_trial",
]

Stage = Literal["network", "search", "partner", "duel"]
Status = Literal["running", "complete", "infeasible", "failed", "timeout", "killed"]

APART: tuple[Stage, ...] = ("partner", "duel")
STATUSES: dict[type[Outcome], Status] = {
    Scored: "complete",
    Infeasible: "infeasible",
    Failed: "failed",
    Cut: "timeout",
}
_Number = Annotated[int, Meta(ge=0, le=10**6)]  # of a trial
_PROBABILITIES = Array("float64", "nC", 0, 1 + 1e-9)  # a mean of ones is one but for rounding

# what `n_trials` counts
RAN: tuple[Status, ...] = ("complete", "failed", "timeout")


@dataclass(frozen=True)
class TrialRecord:
    """One line of the leaderboard.

    Parameters
    ----------
    number : int
        Of the trial in its study.
    stage : {"network", "search", "partner", "duel"}
        Which part of the search asked for it.
    strategy : Strategy
        Of a partner what `autoimb.space.strategy.partner` writes.
    status : Status
        "running" until it ends; no finished search has such a record.
        "complete" was trained for the planned work, or until its own patience ended it; only
        these compete.
        "killed" ran while the whole program was killed or interrupted.
    reason : str
        Why it is not complete, in a sentence; empty for a complete one.
    score : Score or None
        Out of fold.
    seconds : float
        Wall-clock time of the trial.
    plan : str
        Name of a planned trial; empty if the sampler drew the strategy.
    params : mapping of str to value
        Parameters from which the strategy was drawn, by Optuna's names.
    """

    number: _Number
    stage: Stage
    strategy: Strategy
    status: Status = "running"
    reason: str = ""
    score: Score | None = None
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    plan: str = ""
    params: dict[str, bool | int | float | str | None] = field(default_factory=dict, hash=False)

    def ended(self, outcome: Outcome) -> TrialRecord:
        """Return the record of a running trial after its end."""
        result = usable(outcome)
        return replace(
            self,
            status=STATUSES[type(outcome)],
            reason="" if isinstance(outcome, Scored) else outcome.reason,
            score=None if result is None else result.score,
            seconds=outcome.seconds,
        )

    @property
    def apart(self) -> bool:
        """Whether it is none of the strategies that a search ranks: a partner, or a duel's."""
        return self.stage in APART

    @property
    def merit(self) -> tuple[float, int]:
        """Sorts trials that have a score: the better first, then the earlier."""
        utility = -math.inf if self.score is None else self.score.utility
        return -utility, self.number

    @property
    def rank(self) -> tuple[bool, bool, float, int]:
        """Sorts trials: complete ones first, then by score."""
        return self.status != "complete", self.score is None, *self.merit

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


class _Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plain values of a stored trial; `TrialRecord.from_json` describes those of its record.

    Calibrators and class costs made the raw predictions its probabilities; see `Finishing`.
    """

    record: dict[str, Any]
    calibrators: tuple[Calibrator, ...] = ()
    class_costs: tuple[Annotated[float, Meta(ge=0)], ...] | None = None


def pack_trial(
    record: TrialRecord, result: Scored | None
) -> tuple[str, bytes | None, bytes | None]:
    """Return a trial as plain values (JSON), out-of-fold predictions and fitted networks."""
    values: dict[str, Any] = {"record": record.to_json()}
    if result is None:
        return json.dumps(values), None, None
    finishing = result.finishing
    arrays = {"oof": result.oof, "labels": result.labels}
    if finishing is not None:
        arrays["raw"] = finishing.raw
        values["calibrators"] = msgspec.to_builtins(finishing.calibrators)
        values["class_costs"] = finishing.class_costs
    present = {name: array for name, array in arrays.items() if array is not None}
    networks = None if result.fitted is None else _pack_strategy(result.fitted)
    return json.dumps(values), _pack_arrays(present), networks


def unpack_record(content: str) -> TrialRecord:
    """Read the record alone from the plain values of a trial."""
    return TrialRecord.from_json(json.loads(content)["record"])


def unpack_trial(
    content: str, predictions: bytes | None, networks: bytes | None
) -> tuple[TrialRecord, Scored | None]:
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
        finishing = None
        if "raw" in arrays:
            finishing = Finishing(arrays["raw"], values.calibrators, values.class_costs)
        result = Scored(
            score=record.score,
            oof=arrays["oof"],
            finishing=finishing,
            labels=arrays.get("labels"),
            fitted=None if networks is None else _unpack_strategy(networks),
            seconds=record.seconds,
        )
    return record, result


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
