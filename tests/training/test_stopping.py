"""Which checkpoint a fold keeps, by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from autoimb.assessment.stopping import Stopping

NAN = np.nan


def steps(
    *folds: Sequence[float], chooses: Sequence[int] = (0, 0), patience: int = 9
) -> Iterator[Stopping]:
    """What is known after each checkpoint; `folds` are the measures of each fold's rows."""
    stopping = Stopping.initial(len(folds))
    choosers = [[k] if own else [1 - k] for k, own in enumerate(chooses)]
    for values in zip(*folds):
        stopping = stopping.after(values, choosers=choosers, patience=patience)
        yield stopping


def test_a_fold_keeps_the_best_mean_of_three_checkpoints_of_the_others():
    stopping = list(steps([0, 0, 0, 0, 0, 0], [1, 2, 3, 2, 1, 0]))
    assert [one.chosen.tolist() for one in stopping] == [
        [0, 0],  # too few for a mean: the last one stands
        [1, 1],
        [2, 2],
        [3, 2],  # of the second fold's rows (2 + 3 + 2) / 3 is more than (1 + 2 + 3) / 3
        [3, 2],
        [3, 2],
    ]
    assert [one.newest for one in stopping] == [(0, 1), (0, 1), (0, 1), (0,), (), ()]
    np.testing.assert_allclose(stopping[-1].best, [7 / 3, 0])
    np.testing.assert_allclose(stopping[-1].curve, [0.5, 0.75, 1, 7 / 6, 1, 0.5])
    assert stopping[-1].values == tuple((0, value) for value in (1, 2, 3, 2, 1, 0))


def test_choosing_rows_of_its_own_choose_for_a_fold():
    *_, stopping = steps([0, 0, 0, 9, 0, 0], [3, 3, 3, 0, 0, 0], chooses=(5, 0))
    assert stopping.chosen.tolist() == [3, 3]  # by its own rows; by the other's, which are the same
    *_, stopping = steps([3, 3, 3, 0, 0, 0], [0, 0, 0, 9, 0, 0], chooses=(5, 0))
    assert stopping.chosen.tolist() == [2, 2]
    *_, stopping = steps([3, 3, 3, 0, 0, 0], [0, 0, 0, 9, 0, 0])
    assert stopping.chosen.tolist() == [3, 2]


@pytest.mark.parametrize(("better_at", "kept"), [(4, 4), (5, 5), (6, 2)])
def test_a_better_one_counts_as_long_as_patience_lasts(better_at, kept):
    values = [0.0] * 8
    values[better_at] = 1.0
    *_, stopping = steps([0.0] * 8, values, patience=3)
    assert stopping.chosen.tolist() == [kept, 2]


def test_all_have_ended_when_the_last_has():
    flat, rising = [0.0] * 9, [0.0, 0.0, 0.0, 1.0, *[0.0] * 5]
    assert [one.ended for one in steps(flat, rising, patience=3)] == [False] * 6 + [True] * 3
    assert [one.ended for one in steps(flat, flat, patience=3)] == [False] * 5 + [True] * 4


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_the_values_of_a_fold_never_move_its_checkpoint(patience):
    """Nor through the checkpoint at which the training stops, which the other folds decide."""
    random = np.random.default_rng(8)

    def chosen(values):
        stopping = Stopping.initial(3)
        for measures in values:
            stopping = stopping.after(
                measures, choosers=[[1, 2], [0, 2], [0, 1]], patience=patience
            )
            if stopping.ended:
                break
        return stopping.chosen

    for _ in range(100):
        values = random.normal(size=(12, 3))
        changed = values.copy()
        changed[:, 1] = random.normal(size=12)
        assert chosen(changed)[1] == chosen(values)[1]


def test_what_is_not_defined_is_left_out_of_a_mean():
    *_, stopping = steps([NAN, 1.0, NAN, NAN], [2.0, NAN, NAN, NAN])
    np.testing.assert_allclose(stopping.curve, [2.0, 1.5, 1.5, 1.0])
    assert stopping.chosen.tolist() == [2, 2]
