"""Time training steps of one checkout on request: a JSON line in, a JSON line out.

Run as a file whose process finds the checkout first on its path; it reads of it what commit 40cc758
has too. What the rows become is encoded before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoimb.training import fit
from autoimb.training.trainer import train
from reports.benchmarks import cases, project

NETWORKS = json.loads(Path(__file__).with_name("networks.json").read_text(encoding="utf-8"))
STEPS, ROUNDS = 50, 6  # steps between two checkpoints that are timed together, and how often
PRODUCTS = ("torch", "compiled")
ENDLESS = 1_000_000  # rounds


def best(work: Callable[[], object], rounds: int) -> float:
    """Return the least processor time of some rounds: other programs may share the cores."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def rate(work: Callable[[], object], start: float, seconds: float) -> float:
    """Return how many steps a second of the clock work of `STEPS` makes from a moment on."""
    work()
    time.sleep(max(start - time.time(), 0.0))
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        work()
        rounds += 1
    return rounds * STEPS / (time.perf_counter() - began)


class Steps:
    """The twelve networks on a table, in so many folds and rows a step."""

    def __init__(self, path: Path, folds: int, batch: int) -> None:
        self._batch = batch
        self._table = project.Planned.of(cases.with_target(path), budget=cases.MINUTE, cv=folds)
        self._packs: dict[int, Any] = {}

    def _pack(self, number: int) -> Any:
        """Return what a network trains on and how, made once."""
        if number not in self._packs:
            chosen = NETWORKS[number]
            strategy = project.strategy(chosen["name"], chosen["params"])
            parts = self._table.task.parts
            training = tuple(
                parts.training(fold, strategy.resampling) for fold in range(len(parts.folds.folds))
            )
            members = fit.Members.of(strategy, self._table.plan, parts, training)
            rows = tuple(np.ones(len(members.part(i).y)) for i in range(members.size))
            batch = int(self._batch * chosen["params"]["batch_factor"])
            self._packs[number] = (members, rows, batch)
        return self._packs[number]

    def seconds(self, number: int) -> float:
        """Return the seconds of a training step."""
        return best(self.steps(number, ROUNDS), ROUNDS) / STEPS

    def steps(self, number: int, rounds: int) -> Callable[[], object]:
        """Return what makes `STEPS` training steps, so many times."""
        members, rows, batch = self._pack(number)
        pack, loss, _ = fit._pack(members, rows, 0)
        schedule = lasting(members.schedule, batch=batch, rounds=rounds)
        trained = train(fit._initialized(members, pack, None), pack, loss, schedule)
        next(trained)  # what is allocated once
        return lambda: next(trained)

    def bare(self, number: int, library: str) -> float:
        """Return the seconds of the products of a step alone."""
        run = self.products(number, library)
        run()
        return best(run, ROUNDS) / STEPS

    def products(self, number: int, library: str) -> Callable[[], object]:
        """Return what computes the products of `STEPS` steps."""
        members, _, batch = self._pack(number)
        calls = [
            call
            for shape in shapes(members.inputs.spec, members.size, batch)
            for call in products(library, *shape)
        ]

        def run() -> None:
            for _ in range(STEPS):
                for call in calls:
                    call()

        return run


def lasting(schedule: Any, *, batch: int, rounds: int) -> Any:
    """Return a schedule of so many rounds and one before, with so many rows a step."""
    whole = rounds + 1
    # a schedule of an older checkout says where its rungs end; today's counts its checkpoints
    length: dict[str, Any] = (
        {"ends": (whole,), "unit": whole} if hasattr(schedule, "ends") else {"checkpoints": whole}
    )
    return replace(schedule, steps=STEPS, batch_size=batch, **length)


def shapes(spec: Any, members: int, batch: int) -> list[tuple[int, int, int, int, int]]:
    """List the dense maps: members, rows, inputs, outputs, inputs that need a gradient."""
    width, k, first = spec.width, spec.k, spec.embedded + spec.n_inputs
    found = [(members, batch, first, width * k, spec.embedded)]
    if spec.body == "residual":
        pair = (
            (members, batch, width, spec.widest, width),
            (members, batch, spec.widest, width, spec.widest),
        )
        found += [*pair] * spec.depth
    else:
        found += [(members, batch * k, width, width, width)] * (spec.depth - 1)
    return [*found, (members * k, batch, width, spec.n_classes, width)]


def products(
    library: str, members: int, rows: int, inputs: int, outputs: int, needed: int
) -> list[Callable[[], object]]:
    """Return the product forward, and those of both gradients backward."""
    shapes = ((rows, inputs), (inputs, outputs), (rows, outputs), (inputs, outputs), (rows, needed))
    arrays: Any = [torch.randn(members, *shape) for shape in shapes]
    multiply: Any = torch.bmm
    if library == "compiled":
        # NumPy's products of stacks call BLAS for each matrix, as compiled steps do.
        arrays, multiply = [array.numpy() for array in arrays], np.matmul
    x, weight, y, into, back = arrays
    gradient = y + 0.0
    calls = [
        lambda: multiply(x, weight, out=y),
        lambda: multiply(x.mT, gradient, out=into),
    ]
    if needed:
        calls.append(lambda: multiply(gradient, weight[:, :needed].mT, out=back))
    return calls


def measured(steps: Steps, number: int, *, bare: bool) -> dict[str, float]:
    """Time a network's steps, and its products alone by torch and by BLAS."""
    found = {"seconds": steps.seconds(number)}
    if bare:
        for name in PRODUCTS:
            with torch.inference_mode():
                found[name] = steps.bare(number, name)
    return found


def rated(steps: Steps, number: int, work: str, *, start: float, seconds: float) -> float:
    """Return the steps a second of a network, or of its products: ``work`` is one of `PRODUCTS`."""
    if work not in PRODUCTS:
        return rate(steps.steps(number, ENDLESS), start, seconds)
    with torch.inference_mode():
        return rate(steps.products(number, work), start, seconds)


def main() -> None:
    """Answer until there is nothing more to read."""
    torch.set_num_threads(1)
    tables: dict[str, Steps] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        own = tables.get(asked["table"])
        own = own or Steps(Path(asked["table"]), asked["folds"], asked["batch"])
        tables = {asked["table"]: own}
        number = asked["network"]
        if "work" in asked:
            wanted = {name: asked[name] for name in ("work", "start", "seconds")}
            found = {"rate": rated(own, number, **wanted)}
        else:
            found = measured(own, number, bare=asked["bare"])
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
