"""Compiled code: what it computes is what torch computes, and it can be kept or not."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import autoimb
from autoimb.nn.compiled.kernel import kernel
from autoimb.nn.compiled.lanes import (
    LANES,
    cosine,
    exponential,
    first,
    load,
    sine,
    size_of,
    store,
)
from autoimb.nn.compiled.run import CompiledKernels
from autoimb.nn.dropout import MaskPool
from autoimb.nn.network import build
from autoimb.nn.plain import PlainKernels, Segment
from autoimb.randomness import Key
from autoimb.training.optimizer import Optimizer
from tests.support.programs import ENVIRONMENT, python
from tests.support.small_networks import MEMBERS, NUMBERS, drawn, some_rows, spec

CPU = torch.device("cpu")
PACKAGE = Path(autoimb.__file__).parent
PRECISION = {torch.float32: 2e-4, torch.float64: 1e-10}
every_precision = pytest.mark.parametrize("dtype", PRECISION, ids=str)


@kernel()
def evaluate(count, x, out, which, like):
    size = size_of(like)
    for i in range(0, count, LANES):
        there = first(count - i)
        value = load(x + i * size, there, like)
        if which == 0:
            value = cosine(value)
        elif which == 1:
            value = sine(value)
        else:
            value = exponential(value)
        store(out + i * size, there, value)


@pytest.mark.parametrize(
    ("which", "exact", "most"),
    [
        (0, lambda x: torch.cos(2 * math.pi * x), 40.0),
        (1, lambda x: torch.sin(2 * math.pi * x), 40.0),
        (2, torch.exp, 80.0),
    ],
)
def test_functions_are_exact_to_some_roundings(which, exact, most):
    x = torch.linspace(-most, most, 200_003)
    x[:9] = torch.tensor([0.0, -0.0, 0.25, 0.5, 0.75, 1.0, -0.25, -0.5, 1e-20])
    out = torch.empty_like(x)
    evaluate.of()(len(x), x.data_ptr(), out.data_ptr(), which, 0.0)
    wanted = exact(x.double())
    off = (out.double() - wanted).abs()
    bound = 3e-7 if which < 2 else 3e-7 * wanted
    assert (off <= bound).all()


def test_an_exponential_beyond_single_precision_is_finite_or_next_to_nothing():
    x = torch.tensor([-1e30, -100.0, 100.0, 1e30])
    out = torch.empty_like(x)
    evaluate.of()(len(x), x.data_ptr(), out.data_ptr(), 2, 0.0)
    assert out.isfinite().all()
    assert (out[:2] < 1e-37).all()
    assert (out[2:] > 1e38).all()


@every_precision
@pytest.mark.parametrize(
    "shape", [(1, 8, 5), (17, 19, 41), (2, 64, 50), (64, 32, 17), (33, 7, 1), (9, 1, 100)]
)
def test_products_are_those_of_torch_however_their_operands_lie(shape, dtype):
    rows, depth, columns = shape
    random = torch.Generator().manual_seed(0)
    a, b, bias = (
        torch.randn(3, *size, dtype=dtype, generator=random)
        for size in ((rows, depth), (depth, columns), (1, columns))
    )
    kernels, tolerance = CompiledKernels(dtype), PRECISION[dtype]
    for transposed_a, transposed_b in itertools.product([False, True], repeat=2):
        left = a.mT.contiguous().mT if transposed_a else a
        right = b.mT.contiguous().mT if transposed_b else b
        out = torch.full((3, rows, columns), torch.nan, dtype=dtype)
        got = kernels.product(left, right, 0.5, out)
        torch.testing.assert_close(got, 0.5 * a @ b, rtol=tolerance, atol=tolerance)
        got = kernels.affine(left, right, bias, 0.5, out)
        torch.testing.assert_close(got, bias + 0.5 * a @ b, rtol=tolerance, atol=tolerance)


@every_precision
def test_without_depth_a_product_is_its_bias(dtype):
    a, b = torch.empty(2, 3, 0, dtype=dtype), torch.empty(2, 0, 41, dtype=dtype)
    bias = torch.arange(82, dtype=dtype).reshape(2, 1, 41)
    out = torch.full((2, 3, 41), torch.nan, dtype=dtype)
    torch.testing.assert_close(
        CompiledKernels(dtype).product(a, b, 1.0, out), torch.zeros_like(out)
    )
    got = CompiledKernels(dtype).affine(a, b, bias, 1.0, out)
    torch.testing.assert_close(got, bias.expand(2, 3, 41))


@every_precision
@pytest.mark.parametrize("name", ["relu", "silu", "selu"])
def test_an_activation_of_nan_is_nan(name, dtype):
    z = torch.linspace(-2, 2, 41, dtype=dtype).reshape(1, 1, 41)
    z[0, 0, 5] = torch.nan
    mine, plain = (
        kernels.activate(z, name, None, None, torch.empty_like(z))
        for kernels in (CompiledKernels(dtype), PlainKernels())
    )
    torch.testing.assert_close(mine, plain, rtol=2e-4, atol=2e-4, equal_nan=True)
    assert mine[0, 0, 5].isnan()


@every_precision
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_gradient_of_a_cross_entropy_of_nan_is_nan(place, dtype):
    logits = torch.zeros(1, 1, 3, 37, dtype=dtype)
    logits[0, 0, place, 7] = torch.nan
    truth = torch.zeros(1, 1, 3, 37, dtype=dtype)
    mine, plain = (
        kernels.cross_entropy(logits, truth, None)
        for kernels in (CompiledKernels(dtype), PlainKernels())
    )
    torch.testing.assert_close(mine, plain, equal_nan=True)
    assert mine[0, 0, :, 7].isnan().all()


SPECS = [
    spec(width=21, activation=activation, dropout=dropout, **body, **columns)
    for body, activation, dropout, columns in itertools.product(
        [{"body": "plain"}, {"body": "plain", "k": 4}, {"body": "residual"}, {"body": "scaled"}],
        ["relu", "silu", "selu"],
        [0.0, 0.25],
        [{}, {"periodic": NUMBERS, "cardinalities": (4, 6)}],
    )
]


def stepped(network, batch=19):
    """Logits, gradients and weights of a training step, and what the network then predicts."""
    dtype, own = network.dtype, network.spec
    x, codes = some_rows(own, members=network.members, batch=batch)
    keys = [Key(7, member=m) for m in range(network.members)]
    size = batch * own.k * own.widest
    pool = MaskPool(keys, own.dropout, size=size, dtype=dtype, device=CPU)
    logits = network.forward(x.to(dtype), codes, pool).clone()
    upstream = np.random.default_rng(1).normal(size=logits.shape)
    network.backward(torch.from_numpy(upstream).to(dtype))
    predicted = network.predict(x.to(dtype), codes)
    return logits, network.parameters.gradients.clone(), predicted


@every_precision
@pytest.mark.parametrize("network_spec", SPECS, ids=str)
def test_a_network_computes_alike_by_torch_and_compiled(network_spec, dtype):
    """What is trained by compiled code is predicted with by torch."""
    tolerance = PRECISION[dtype]
    both = (
        stepped(drawn(network_spec, training=training, dtype=dtype)) for training in (True, False)
    )
    for mine, plain in zip(*both):
        torch.testing.assert_close(mine, plain, rtol=tolerance, atol=tolerance)


@every_precision
def test_losses_and_steps_are_alike_by_torch_and_compiled(dtype):
    tolerance = PRECISION[dtype]
    random = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(2, 3, 4, 37, dtype=dtype, generator=random)
    classes = torch.randint(4, (2, 1, 1, 37), generator=random)
    truth = (classes == torch.arange(4)[:, None]).to(dtype)
    for weight in (None, torch.rand(2, 1, 1, 37, dtype=dtype, generator=random)):
        mine, plain = (
            kernels.cross_entropy(logits, truth, weight)
            for kernels in (CompiledKernels(dtype), PlainKernels())
        )
        torch.testing.assert_close(mine, plain, rtol=tolerance, atol=tolerance)
    start = torch.randn(3, 101, dtype=dtype, generator=random)
    ends = []
    for kernels in (CompiledKernels(dtype), PlainKernels()):
        values, first_gradient, second_gradient = start.clone()
        mean, square = torch.zeros_like(values), torch.zeros_like(values)
        for step, gradient in enumerate((first_gradient, second_gradient), start=1):
            kernels.adamw(
                (values, gradient, mean, square),
                [Segment(0, 60, 1.0, 0.1), Segment(70, 101, 0.5, 0.0)],
                step=step,
                rate=0.01,
                betas=(0.9, 0.95),
            )
        ends.append(torch.stack([values, mean, square]))
    torch.testing.assert_close(*ends, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("network_spec", SPECS[::4], ids=str)
def test_a_member_has_the_same_bytes_in_every_pack_and_run(network_spec):
    def run(members):
        network = build(network_spec, len(members), training=True)
        keys = [Key(7, member=m) for m in members]
        network.draw(keys, [network_spec.n_inputs] * len(members))
        x, codes = some_rows(network_spec, members=3, batch=19)
        pool = MaskPool(
            keys,
            network_spec.dropout,
            size=19 * network_spec.k * network_spec.widest,
            dtype=torch.float32,
            device=CPU,
        )
        optimizer = Optimizer(network.parameters, weight_decay=0.01)
        for _ in range(2):
            own = x[members].float(), None if codes is None else codes[members]
            logits = network.forward(*own, pool)
            network.backward(torch.sin(logits))
            optimizer.step(0.01)
        return network.state()

    together, alone = run([0, 1, 2]), run([1])
    again = run([0, 1, 2])
    for name, values in together.items():
        assert values[1].tobytes() == alone[name][0].tobytes(), name
        assert values.tobytes() == again[name].tobytes(), name


def test_training_compiles_nothing_that_was_not_prepared(monkeypatch):
    """What workers inherit is all that they need."""
    from autoimb.nn.compiled import kernel as compiling
    from autoimb.nn.compiled.run import compile_all

    compile_all()
    monkeypatch.setattr(compiling, "_compile", None)
    for network_spec in SPECS:
        network = drawn(network_spec, MEMBERS, dtype=torch.float32)
        stepped(network)
        Optimizer(network.parameters, weight_decay=0.0).step(0.1)


def compiled_in(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Train a step in a fresh process that finds the package in a folder."""
    code = (
        "import torch\n"
        "from autoimb.nn.compiled.run import CompiledKernels\n"
        "a = torch.ones(1, 9, 9)\n"
        "CompiledKernels(torch.float32).product(a, a, 1.0, a.clone())\n"
    )
    kept = {key: own for key, own in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment = kept | {"PYTHONPATH": str(folder)} | environment
    return python("-W", "error", "-B", "-c", code, cwd=folder, env=environment)


def test_what_was_compiled_is_kept_beside_the_code_or_with_the_user_or_not_at_all(tmp_path):
    # a file where the folder would be can't be written to, not even by root
    copied = shutil.copytree(
        PACKAGE, tmp_path / "autoimb", ignore=shutil.ignore_patterns("__pycache__")
    )
    beside, home = copied / "nn" / "compiled" / "__pycache__", tmp_path / "home"
    done = compiled_in(tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(beside.glob("*.nbc"))
    shutil.rmtree(beside)
    beside.touch()
    done = compiled_in(tmp_path, HOME=str(home), XDG_CACHE_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert list(home.glob("**/*.nbc"))
    done = compiled_in(tmp_path, HOME=str(beside), XDG_CACHE_HOME=str(beside))
    assert done.returncode == 0, done.stderr
    assert beside.is_file()


BY_TWO = """
import multiprocessing, sys
if sys.argv[1:]:
    def refused(kind): raise OSError("no second process where all was kept")
    multiprocessing.get_context = refused
import autoimb.runtime.compiled
from autoimb.nn.compiled import kernel
print(sum(bool(each.of().stats.cache_hits) for each in kernel._KERNELS), len(kernel._KERNELS))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no server that compiles elsewhere")
def test_after_an_installation_two_processes_compile_until_they_meet(tmp_path):
    def read_and_all(*words: str) -> list[int]:
        place = ENVIRONMENT | {"NUMBA_CACHE_DIR": str(tmp_path)}
        done = python("-W", "error", "-c", BY_TWO, *words, env=place, check=True)
        return [int(count) for count in done.stdout.split()]

    read, kernels = read_and_all()
    assert 0 < read < kernels  # what another process compiled meanwhile, and what this one did
    assert read_and_all("alone") == [kernels, kernels]


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "kept_bytes"), [("nbi", 0), ("nbc", 100)])
def test_a_damaged_file_of_compiled_code_is_compiled_again(ending, kept_bytes, tmp_path):
    place = {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = compiled_in(PACKAGE.parent, **place)
    assert done.returncode == 0, done.stderr
    files = list(tmp_path.glob(f"**/*.{ending}"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:kept_bytes])
    done = compiled_in(PACKAGE.parent, **place)
    assert done.returncode == 0, done.stderr


TINY_FIT = """
import numpy as np
from autoimb import AutoImbClassifier
if __name__ == "__main__":
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = (x[:, 0] + np.random.default_rng(1).normal(size=200) > 1.3).astype(int)
    classifier = AutoImbClassifier(n_trials=2, time_budget=None, random_state=0, {more})
    classifier.fit(x, y)
    assert set(classifier.leaderboard()["status"]) == {{"complete"}}, (
        classifier.leaderboard()
    )
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", ["n_jobs=1", "n_jobs=2"])
def test_without_a_compiler_torch_trains_and_one_line_says_so(more, tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(TINY_FIT.format(more=f"partners=None, network='mlp', {more}"))
    done = python(script, env=ENVIRONMENT | {"NUMBA_DISABLE_JIT": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 1, done.stderr
    assert "NUMBA_DISABLE_JIT" in done.stderr
