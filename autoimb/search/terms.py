"""What all drivers of a shared study must agree in, and what the first of them plans for all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from autoimb.data.folds import FoldPlan
from autoimb.policy import SearchPolicy
from autoimb.runs.seal import hash_of
from autoimb.search.prepare import Prepared
from autoimb.search.request import LIMITS, table_bytes
from autoimb.version import __version__

__all__ = ["first_plan", "terms_of"]


def terms_of(prepared: Prepared) -> dict[str, Any]:
    """Return what a search is of, as plain values by the words of an error.

    Parameters
    ----------
    prepared : Prepared
        Sees: all rows, which enter as a hash.

    Returns
    -------
    dict of str to value
        With `first_plan` as ``"plan"``.
    """
    request, test = prepared.request, prepared.test
    asked = request.to_json()
    space = {name: asked[name] for name in ("components", "strategy", "costs", "partners")}
    return {
        "version": __version__,
        "data": _digest(prepared),
        "target": f"{request.target} of {', '.join(prepared.profile.class_names)}",
        "positive class": asked["pos_label"],
        "metric": request.metric_name,
        "space": _told(space),
        "limit of the result": ", ".join(
            f"{name} {asked[name]:g}" for name in LIMITS if asked[name]
        )
        or None,
        "test": None if test is None else test.digest[:12],
        "seed": request.random_state,
        "split into folds": _digest_of_folds(prepared.folds),
        "policy": _policy(prepared.policy),
        "plan": first_plan(prepared),
    }


def first_plan(prepared: Prepared) -> dict[str, Any]:
    """Return what rows and work are planned for, of whoever comes first."""
    return {"time_budget": prepared.request.time_budget, "folds": len(prepared.folds.folds)}


def _digest(prepared: Prepared) -> str:
    """Hash the values of the table, and what its columns and levels are called."""
    digest, columns = hashlib.sha256(), prepared.dataset.columns
    for part in table_bytes(prepared.dataset):
        digest.update(part)
    names = [columns.number_names, columns.category_names, columns.vocabularies]
    digest.update(json.dumps(names, default=str).encode())
    return digest.hexdigest()[:12]


def _digest_of_folds(folds: FoldPlan) -> str:
    """Hash which rows each fold of each repeat trains on and scores."""
    digest = hashlib.sha256()
    for fold in (one for each in (folds.folds, *folds.further) for one in each):
        for rows in (fold.train, fold.score, fold.choose):
            digest.update(f"{len(rows)} ".encode() + rows.tobytes())
    return digest.hexdigest()[:12]


def _told(space: dict[str, Any]) -> str:
    """Write what the user chose of the space; all of it is what stands without a word."""
    chosen = [f"{name}={value}" for name, value in space.items() if value]
    return ", ".join(chosen) or "all"


def _policy(policy: SearchPolicy) -> str:
    return hash_of({name: repr(value) for name, value in asdict(policy).items()})[:12]
