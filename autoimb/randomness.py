"""Every stream of random numbers, by name: no two purposes share one.

NumPy pads short seeds with zeros, so ``default_rng([s])`` and ``default_rng([s, 0, 0])`` are one
stream. Here a stream's key always has all of its fields, and its purpose is one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, unique

import numpy as np

__all__ = ["Key", "Purpose", "seed_for", "stream"]


@unique
class Purpose(IntEnum):
    """What random numbers are drawn for. A number is never given to another purpose."""

    FOLDS = 1  # splits of the table into folds, by repeat
    HOLD_OUT = 2  # halves of a hold-out: one chooses, one scores
    GROUPS = 3  # stratified groups of rows in cross-fitting
    TRAINING_ROWS = 4  # rows of a study whose table is too large
    SCORED_ROWS = 5  # rows that are scored where not all are
    RESAMPLING = 6  # the seed of a resampling method, by fold
    OVER_SAMPLED = 7  # rows that are duplicated
    UNDER_SAMPLED = 8  # rows that stay
    KEPT_FLAGGED = 10  # flagged rows that a cleaning method keeps all the same
    CENTROID_ROWS = 11  # rows that stand in for centres with the same nearest row
    MEMBER_ROWS = 12  # rows of an ensemble's member
    FIRST_WEIGHTS = 13
    FIRST_ROWS = 14  # rows that a start looks at
    FIRST_BIASES = 15  # of a start that looks at rows
    BATCHES = 16  # order of a member's rows
    BATCH_SHARES = 17  # where balanced batches begin
    DROPOUT = 18  # a member's masks
    DROPOUT_OFFSETS = 19  # windows of the masks, which a pack shares
    SAMPLER = 20  # Optuna's, by trial
    BLEND_BAGS = 21
    REFERENCE_ROWS = 22  # rows of a reference model, by fold
    RULE_ROWS = 23  # rows that a decision rule is fitted on
    BIN_ROWS = 24  # rows that cut the bins of numbers
    SPIKE_ROWS = 25  # rows that tell which values stand out
    TREES = 26  # columns that the splits of trees may choose from, by fold
    STATISTIC_ROWS = 27  # inner folds of the rows that tell what a level says
    DUELS = 28  # the seed of matched duels
    COMPARED_ROWS = 29  # rows on which networks are compared with their mean
    CHECK_ROWS = 30  # bootstrap samples that a decision rule is fitted on anew
    TEST_ROWS = 31  # rows that are held out for a test
    REPLAY_ROWS = 32  # rows that a choice is replayed on where not all are
    REPLAYS = 33  # bootstrap samples of them
    DRAWN_ROWS = 34  # rows of a table that memory does not hold, by class
    UNSEEN_ROWS = 35  # rows that a study left out, which tell the level of what is deployed
    STRUCTURE = 37  # splits and rows that tell whether rows belong together, by column


@dataclass(frozen=True)
class Key:
    """Whose random numbers they are; `stream` adds what they are for.

    Attributes
    ----------
    seed : int
        The study's, from 0.
    repeat, fold, member, round : int
        Of the ensemble's members, each from 0.
    rung : int
        Which step of a training that goes on from the last, from 0.
    """

    seed: int
    repeat: int = 0
    fold: int = 0
    member: int = 0
    round: int = 0
    rung: int = 0

    @property
    def of_pack(self) -> Key:
        """The key of what all folds and members share that train side by side."""
        return replace(self, fold=0, member=0)

    def stream(self, purpose: Purpose, index: int = 0) -> np.random.Generator:
        """Return the stream of a purpose; see the function `stream`."""
        return stream(
            purpose,
            self.seed,
            repeat=self.repeat,
            fold=self.fold,
            member=self.member,
            round_=self.round,
            rung=self.rung,
            index=index,
        )


def stream(
    purpose: Purpose,
    seed: int,
    *,
    repeat: int = 0,
    fold: int = 0,
    member: int = 0,
    round_: int = 0,
    rung: int = 0,
    index: int = 0,
) -> np.random.Generator:
    """Return the stream of random numbers of a purpose, at its start.

    Parameters
    ----------
    purpose : Purpose
    seed : int
        Of the study, from 0; 0 for what no study's seed may change.
    repeat, fold, member, round_, rung : int
        Whose it is, from 0.
    index : int
        Which of several that a purpose counts itself: a trial, a class of a batch.

    Returns
    -------
    Generator
        Another one for every combination of the arguments.
    """
    key = (int(purpose), repeat, fold, member, round_, rung, index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def seed_for(purpose: Purpose, seed: int, *, repeat: int = 0, fold: int = 0, index: int = 0) -> int:
    """Return the first number of a stream, from 0 to 2^31 - 1, for packages that take a seed."""
    own = stream(purpose, seed, repeat=repeat, fold=fold, index=index)
    return int(own.integers(2**31))
