"""Streams of random numbers, named so that no two purposes share one.

NumPy pads short seeds with zeros, so ``default_rng([s])`` and ``default_rng([s, 0, 0])`` are the
same stream. Here the key of a stream always has all fields, of which the purpose is one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, unique

import numpy as np

__all__ = ["Key", "Purpose", "seed_for", "stream"]


@unique
class Purpose(IntEnum):
    """Purpose of a stream of random numbers; its value is never reused for another purpose."""

    FOLDS = 1  # splits of the table into folds
    HOLD_OUT = 2  # halves of a hold-out: one chooses the checkpoint, one is scored
    GROUPS = 3  # stratified groups of rows in cross-fitting
    TRAINING_ROWS = 4  # rows of a study whose table is too large
    SCORED_ROWS = 5  # rows that are scored if not all are
    RESAMPLING = 6  # the seed of a resampling method, by fold
    OVER_SAMPLED = 7  # rows that are duplicated
    UNDER_SAMPLED = 8  # rows that remain after under-sampling
    KEPT_FLAGGED = 10  # flagged rows that a cleaning method restores
    CENTROID_ROWS = 11  # rows that stand in for centres with the same nearest row
    MEMBER_ROWS = 12  # rows of an ensemble's member
    FIRST_WEIGHTS = 13
    FIRST_ROWS = 14  # rows from which first weights are initialized
    FIRST_BIASES = 15  # rows from whose mean first biases are drawn
    BATCHES = 16  # order of a member's rows
    BATCH_SHARES = 17  # where balanced batches begin
    DROPOUT = 18  # dropout masks of a member
    DROPOUT_OFFSETS = 19  # windows of these masks, which a pack shares
    SAMPLER = 20  # Optuna's sampler, by trial
    BLEND_BAGS = 21
    REFERENCE_ROWS = 22  # rows of a reference model, by fold
    RULE_ROWS = 23  # rows that a decision rule is fitted on
    BIN_ROWS = 24  # rows that determine the bins of numbers
    TREES = 26  # columns that the splits of trees may choose from, by fold
    STATISTIC_ROWS = 27  # inner folds of the target statistics
    DUELS = 28  # the seed of matched duels
    COMPARED_ROWS = 29  # rows on which networks are compared with their mean
    CHECK_ROWS = 30  # bootstrap samples that a decision rule is fitted on anew
    TEST_ROWS = 31  # rows that are held out for a test
    REPLAY_ROWS = 32  # rows on which the choice is replayed if not all are used
    REPLAYS = 33  # bootstrap samples of these rows
    DRAWN_ROWS = 34  # sampled rows of a table that exceeds the memory, by class
    UNSEEN_ROWS = 35  # rows outside the study, which estimate the level of the result
    STRUCTURE = 37  # splits and rows that show whether rows depend on each other, by column


@dataclass(frozen=True)
class Key:
    """Owner of random numbers.

    Attributes
    ----------
    seed : int
        Seed of the study, from 0; 0 for streams that do not depend on it.
    fold, member, round : int
        Position of a member of the ensemble, each counted from 0.
    """

    seed: int
    fold: int = 0
    member: int = 0
    round: int = 0

    @property
    def of_pack(self) -> Key:
        """Key shared by the folds and members that are trained together."""
        return replace(self, fold=0, member=0)

    def stream(self, purpose: Purpose, index: int = 0) -> np.random.Generator:
        """Return the stream of random numbers of a purpose, at its start.

        Parameters
        ----------
        purpose : Purpose
        index : int
            Number of the stream among those of the purpose: a trial, a class of a batch.

        Returns
        -------
        Generator
            A different stream for each key, purpose and index.
        """
        key = (int(purpose), self.fold, self.member, self.round, index)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def stream(purpose: Purpose, seed: int, *, fold: int = 0, index: int = 0) -> np.random.Generator:
    """Return the stream of a purpose that no member of an ensemble owns; see `Key.stream`."""
    return Key(seed, fold).stream(purpose, index)


def seed_for(purpose: Purpose, seed: int, *, fold: int = 0, index: int = 0) -> int:
    """Return the first number of a stream, from 0 to 2^31 - 1, for packages that take a seed."""
    return int(stream(purpose, seed, fold=fold, index=index).integers(2**31))
