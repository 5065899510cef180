"""An evaluation that says what workers share, in a module that keeps an exception of its import.

Some packages do so, and with it they keep the frames of whoever imports them.
"""

from __future__ import annotations

import os

import numpy as np

from autoimb.assessment.judge import Judge
from autoimb.evaluation.trial import Failed, Outcome
from autoimb.training.fit import Job

try:
    raise ImportError("No such package.")
except ImportError as error:
    KEPT = error


def evaluate(job: Job, judge: Judge) -> Outcome:
    """Say where values are kept, who made one of them, and who is asked."""
    made = job.data._once(0)(("maker",), lambda: np.array([os.getpid()]))
    job.data.encoder(0)
    return Failed(f"{job.data._store._folder} {int(made[0])} {os.getpid()}")
