"""Strategy selection on imbalanced tables with neural networks.

The public names load on first use, so ``import autoimb`` and ``autoimb --help`` are quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from autoimb.version import __version__ as __version__

if TYPE_CHECKING:
    from autoimb.data.sample import Sample, read
    from autoimb.errors import (
        ArtifactError,
        AutoImbError,
        BudgetError,
        InputError,
        OptionError,
        RunError,
        SchemaError,
        TableError,
        TargetError,
    )
    from autoimb.estimator import AutoImbClassifier
    from autoimb.pipeline.artifact import load
    from autoimb.pipeline.fitted import FittedPipeline
    from autoimb.report.planned import dry_run
    from autoimb.space.strategy import Strategy

__all__ = [
    "ArtifactError",
    "AutoImbClassifier",
    "AutoImbError",
    "BudgetError",
    "FittedPipeline",
    "InputError",
    "OptionError",
    "RunError",
    "Sample",
    "SchemaError",
    "Strategy",
    "TableError",
    "TargetError",
    "dry_run",
    "load",
    "read",
]

_HOMES = {
    "AutoImbClassifier": "autoimb.estimator",
    "FittedPipeline": "autoimb.pipeline.fitted",
    "Sample": "autoimb.data.sample",
    "Strategy": "autoimb.space.strategy",
    "dry_run": "autoimb.report.planned",
    "load": "autoimb.pipeline.artifact",
    "read": "autoimb.data.sample",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'autoimb' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "autoimb.errors")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
