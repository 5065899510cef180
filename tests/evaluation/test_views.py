"""What a pipeline's networks say one at a time."""

from dataclasses import dataclass, replace

import numpy as np

from autoimb.assessment.calibration import Calibrator
from autoimb.data.schema import parse
from autoimb.evaluation.views import single_views
from tests.support.pipelines import N_FOLDS, pipeline, table

PIPELINE = pipeline()


def rows():
    return parse(table(40, random_state=2), PIPELINE.schema)


def alone(number: int):
    """The pipeline of one strategy, not calibrated."""
    plain = Calibrator.identity(2)
    strategy = replace(PIPELINE.strategies[number], calibrator=plain, class_costs=None)
    return replace(PIPELINE, strategies=(strategy,), weights=(1.0,))


def test_the_mean_of_the_views_is_what_a_new_row_gets():
    one = alone(0)
    views = single_views(one, rows())
    assert views.shape == (N_FOLDS, 40, 2)
    assert np.ptp(views, axis=0).max() > 1e-3
    np.testing.assert_allclose(views.mean(axis=0), one.blended(rows()), rtol=1e-6)


def test_a_view_of_a_blend_has_a_network_of_each_strategy():
    views = single_views(PIPELINE, rows())
    apart = [
        single_views(replace(PIPELINE, strategies=(each,), weights=(1.0,)), rows())
        for each in PIPELINE.strategies
    ]
    np.testing.assert_allclose(views, 0.7 * apart[0] + 0.3 * apart[1], rtol=1e-6)


def test_trees_have_a_view_for_each_fold():
    one = alone(0)
    trees = tuple(Const(share) for share in (0.1, 0.2))
    one = replace(one, strategies=(replace(one.strategies[0], packs=(), trees=trees),))
    views = single_views(one, rows())
    np.testing.assert_allclose(views[:, :, 1], np.repeat([[0.1], [0.2]], 40, axis=1))


@dataclass(frozen=True)
class Const:
    """Trees that say the same of every row."""

    share: float

    def predictor(self):
        return lambda columns: np.tile([1 - self.share, self.share], (columns.n_rows, 1))
