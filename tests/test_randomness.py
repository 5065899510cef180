"""No two streams of random numbers meet, and none is drawn but by its name."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path

import autoimb
from autoimb.randomness import Key, Purpose, seed_for, stream

PACKAGE = Path(autoimb.__file__).parent
FIELDS = ("fold", "member", "round")


def first(purpose, seed, *places, index=0):
    key = Key(seed, **dict(zip(FIELDS, places)))
    return tuple(key.stream(purpose, index).integers(0, 2**63, 2).tolist())


def test_no_two_of_a_grid_with_every_zero_share_a_stream():
    seen = {}
    for purpose, *places, index in product(Purpose, *[(0, 1, 2)] * 3, (0, 1)):
        key = (purpose, *places, index)
        seen.setdefault(first(purpose, 0, *places, index=index), []).append(key)
    assert [keys for keys in seen.values() if len(keys) > 1] == []


def test_a_stream_is_the_same_for_the_same_name():
    again = stream(Purpose.BATCHES, 5, fold=2, index=3)
    assert Key(5, fold=2).stream(Purpose.BATCHES, 3).random() == again.random()
    assert Key(5, 0, 0, 4) == Key(5, fold=2, member=3, round=4).of_pack


def test_a_seed_is_one_that_packages_take():
    seeds = {seed_for(Purpose.RESAMPLING, 0, fold=fold) for fold in range(50)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_nothing_else_makes_a_generator():
    made = []
    for path in PACKAGE.rglob("*.py"):
        if path.name == "randomness.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("default_rng", "SeedSequence"):
                made.append(f"{path.name}:{node.lineno}")
    assert made == []
