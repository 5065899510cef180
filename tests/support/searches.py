"""Searches that do as little as possible, for tests that do not depend on the networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from autoimb.assessment.structure import Structure
from autoimb.policy import Comparisons, Result, SearchPolicy, Training
from autoimb.report import against
from autoimb.search import prepare

# Two checkpoints whatever the table, few trees, no paired comparison and few bootstrap samples.
MINIMUM: dict[str, Any] = {
    "training": Training(unlimited_seconds=30.0, checkpoints_by_rows=((float("inf"), 2, 1),)),
    "comparisons": Comparisons(share=0.0, per_strategy=0.0),
    "result": Result(replays=2, rule_replicates=2),
}


@contextmanager
def minimal_work(**settings: Any) -> Iterator[None]:
    """Minimize the work of the searches of this process.

    They fit neither reference models nor those that detect dependent rows.

    Parameters
    ----------
    **settings
        Groups of the search policy in place of those of `MINIMUM`.
    """
    policy = SearchPolicy(**MINIMUM | settings)
    with pytest.MonkeyPatch.context() as patch:
        # Every caller without a policy uses the default of the parameter.
        patch.setitem(prepare.prepare.__kwdefaults__, "policy", policy)
        patch.setattr(prepare, "find_structure", lambda *table, **options: Structure())
        patch.setattr(against, "REFERENCES", ())
        yield
