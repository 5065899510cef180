"""States of trainings that wait at a rung, as sealed files: what another driver goes on from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from autoimb.assessment.stopping import Stopping
from autoimb.fields import Array, FieldError, check_arrays, fields, integer
from autoimb.runs.seal import Arrays, read_sealed, sealed
from autoimb.training.checkpoints import Checkpoints
from autoimb.training.states import Waiting

__all__ = ["read_state", "state_bytes"]

_MOST_STEPS = 2**53
_COUNTS = fields(
    {
        "checkpoint": integer(1, 2**31),
        "steps": integer(0, _MOST_STEPS),
        "updates": integer(0, _MOST_STEPS),
    }
)
# a training may have diverged after the checkpoint that it keeps
_FLAT = {name: Array("float32", undefined=True) for name in ("values", "mean", "square")}
_FLAT |= {"averaged": Array("float32", undefined=True), "kept": Array("float32")}
_SHOWN = {
    "measured": Array("float64", 2, undefined=True),
    "best": Array("float64", low=-np.inf),  # before there is a running mean
    "chosen": Array("int64", low=0),
    "newest": Array("int64", low=0),
    "curve": Array("float64", undefined=True),
    "floor": Array("float64", undefined=True),
    "rows": Array("int64", low=0),  # scored ones of each fold
    "posteriors": Array("float64", 3, 0, 1 + 1e-9),  # of all folds, one after the other
}
_ARRAYS = _FLAT | _SHOWN


def state_bytes(waiting: Waiting, *, run: str, number: int) -> bytes:
    """Return the content of the file of a state.

    Parameters
    ----------
    waiting : Waiting
        That may go on: what has ended leaves none.
    run : str
        The name of the study.
    number : int
        The trial that left it.
    """
    shown, stopping = waiting.shown, waiting.shown.stopping
    arrays = waiting.arrays | {
        "kept": shown.weights.numpy(),
        "measured": np.array(stopping.values, dtype=np.float64),
        "best": stopping.best,
        "chosen": stopping.chosen,
        "newest": np.array(stopping.newest, dtype=np.int64),
        "curve": np.array(stopping.curve, dtype=np.float64),
        "floor": np.array(stopping.floor, dtype=np.float64),
        "rows": np.array([one.shape[1] for one in shown.posteriors], dtype=np.int64),
        "posteriors": np.concatenate(shown.posteriors, axis=1),
    }
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return sealed(whole, {"counts": json.dumps(waiting.counts)}, run=run, number=number)


def read_state(path: Path, *, run: str, number: int) -> Waiting:
    """Read the file of a state; nothing in it is executed.

    Raises
    ------
    Exception
        Of any kind, where it is not what `state_bytes` wrote for this trial of this study.
    """
    header, arrays = read_sealed(path, run=run, number=number)
    counts = json.loads(header["counts"])
    _COUNTS(counts, "counts")
    check_arrays(_ARRAYS, arrays, "the state")
    _check_fit(arrays, checkpoints=counts["checkpoint"])
    stopping = Stopping(
        values=tuple(map(tuple, arrays["measured"].tolist())),
        best=arrays["best"],
        chosen=arrays["chosen"],
        newest=tuple(arrays["newest"].tolist()),
        curve=tuple(arrays["curve"].tolist()),
        floor=tuple(arrays["floor"].tolist()),
    )
    folds = np.split(arrays["posteriors"], np.cumsum(arrays["rows"])[:-1], axis=1)
    return Waiting(
        arrays={name: arrays[name] for name in _FLAT if name != "kept"},
        counts=counts,
        shown=Checkpoints(
            stopping=stopping,
            weights=torch.from_numpy(arrays["kept"]),
            posteriors=tuple(map(np.ascontiguousarray, folds)),
        ),
    )


def _check_fit(arrays: Arrays, *, checkpoints: int) -> None:
    """Check that the arrays of a state fit each other and its count of checkpoints."""
    folds, rows = len(arrays["rows"]), arrays["posteriors"].shape[1]
    shapes = dict.fromkeys(_FLAT, arrays["values"].shape)
    shapes |= {"best": (folds,), "chosen": (folds,), "measured": (checkpoints, folds)}
    shapes |= {"curve": (checkpoints,), "floor": (checkpoints,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise FieldError(f"the state.{name}", f"of the shape {shape}", arrays[name].shape)
    for name, most in (("chosen", checkpoints - 1), ("newest", folds - 1), ("rows", rows)):
        if (arrays[name] > most).any():
            raise FieldError(f"the state.{name}", f"at most {most}", int(arrays[name].max()))
    if arrays["rows"].sum() != rows:
        raise FieldError("the state.rows", f"{rows} in all", int(arrays["rows"].sum()))
