"""Batch balancing: shares, floors and draws of batches.

`tests.training.test_six_tables` checks the prior that networks see by them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoimb.randomness import Key
from autoimb.space.resampling.batch_balancing import batch_shares
from autoimb.space.resampling.component import RESAMPLING
from autoimb.training.trainer import _BalancedStream
from tests.support.tables import (
    chosen,
    dataset_of,
    first_round,
    mixed_table,
    short_plan,
    strategy_with,
)

KEY = Key(1, fold=2, member=3)
checked = settings(derandomize=True)
counts_of = st.lists(st.integers(0, 5_000), min_size=2, max_size=8).filter(any)


@checked
@given(counts_of, st.floats(0.0, 1.0), st.integers(1, 8), st.sampled_from([16, 64, 256]))
def test_every_class_has_its_floor_and_the_others_their_proportions(counts, strength, floor, batch):
    counts = np.array(counts)
    shares = batch_shares(counts, batch, strength=strength, floor=floor)
    assert shares.sum() == pytest.approx(1.0)
    assert (shares[counts == 0] == 0.0).all()
    has = counts > 0
    least = min(floor / batch, 1.0 / has.sum())
    assert (shares[has] >= least - 1e-9).all()
    free = has & (shares > least + 1e-9)
    if not free.any():  # the batch holds no more than the floors
        return
    proportions = shares[free] / counts[free] ** (1.0 - strength)
    np.testing.assert_allclose(proportions, proportions.mean(), rtol=1e-6)
    # who is lifted would have had less
    lifted = has & ~free
    assert (counts[lifted] ** (1.0 - strength) * proportions.mean() <= least + 1e-9).all()


def stream(counts, shares, *, batch=32, key=KEY):
    """A stream of rows 0, 1, 2, ... of which the first are of class 0, and so on."""
    y = np.repeat(np.arange(len(counts)), counts)
    weights = 1.0 + np.arange(len(y)) / len(y)
    rows = 10 * np.arange(len(y))
    shares = np.asarray(shares)
    return _BalancedStream(rows, weights, key, y=y, shares=shares, batch=batch), y, weights


@checked
@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.floats(0.0, 1.0), st.integers(1, 4))
def test_every_batch_has_its_shares_to_the_row_and_the_floor(counts, strength, floor):
    shares = batch_shares(np.array(counts), 32, strength=strength, floor=floor)
    drawn, y, weights = stream(counts, shares)
    got = [drawn.take(32 * batches) for batches in (1, 7, 12)]
    rows = np.concatenate([r for r, _ in got])
    np.testing.assert_array_equal(np.concatenate([w for _, w in got]), weights[rows // 10])
    sizes = np.array([np.bincount(y[r // 10], minlength=len(counts)) for r in rows.reshape(20, 32)])
    assert (np.abs(sizes - 32 * shares) < 1.0).all()
    assert (sizes >= min(floor, 32 // len(counts))).all()
    # exact in the long run: hardly more than a row off after all batches
    assert np.abs(sizes.sum(0) - 20 * 32 * shares).max() < 3.0


def test_the_rows_of_a_class_are_used_up_before_one_comes_again():
    drawn, y, _ = stream([50, 6], [0.75, 0.25], batch=16)
    rows = np.concatenate([drawn.take(16 * n)[0] for n in (1, 2, 21)]) // 10
    for c, count in enumerate([50, 6]):
        own = rows[y[rows] == c]
        whole = len(own) // count
        passes = own[: whole * count].reshape(whole, count)
        assert all(len(set(one)) == count for one in passes)
        assert not np.array_equal(passes[0], passes[1])  # and in another order


def test_rows_that_were_left_out_to_save_time_change_no_share():
    """A row that stands for two makes up for it by the shares, and not by weight once more."""
    frame, y = mixed_table("binary", 600)
    whole = dataset_of(frame, y)
    left = np.sort(np.concatenate([np.flatnonzero(y == 0)[::2], np.flatnonzero(y == 1)]))
    scale = np.where(y[left] == 0, 2.0, 1.0)
    few = replace(
        whole,
        columns=whole.columns.take(left),
        y=y[left],
        weight=scale / scale.mean(),
        sampled_shares=np.array([0.5, 1.0]),
    )
    strategy = strategy_with(
        resampling=chosen(RESAMPLING["batch_balancing"], strength=0.6, floor=1)
    )
    of_all, of_few = (
        first_round(strategy, data, short_plan(data)).rows[0] for data in (whole, few)
    )
    np.testing.assert_allclose(of_few.shares, of_all.shares, rtol=0.02)
    np.testing.assert_allclose(np.ptp(of_few.weights), 0.0, atol=1e-9)  # no row weighs more
    np.testing.assert_allclose(of_few.correction, of_all.correction, atol=0.03)
