"""Compiled training steps: they compute what torch computes, and the code may be cached or not."""

from __future__ import annotations

import itertools
import math
import runpy
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from autoimb.nn import compiled
from autoimb.randomness import Key
from autoimb.space.loss import LOSS
from autoimb.training.optimizer import Optimizer
from tests.support.programs import ENVIRONMENT, python
from tests.support.small_networks import (
    NUMBERS,
    build,
    drawn,
    logits_of,
    pool_of,
    some_rows,
    spec,
)

ROWS = 19
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


def test_an_exponential_beyond_single_precision_is_finite_or_next_to_nothing():
    low, high = (float(compiled._exp(np.float32(x))) for x in (-1e30, 1e30))
    assert 0.0 <= low < 1e-37
    assert 1e38 < high < math.inf
    assert math.isnan(compiled._exp(np.float32(math.nan)))


SPECS = [
    spec(width=21, activation=activation, dropout=dropout, **body, **columns)
    for body, activation, dropout, columns in itertools.product(
        [{"body": "plain"}, {"body": "plain", "k": 4}, {"body": "residual"}, {"body": "scaled"}],
        ["relu", "silu", "selu"],
        [0.0, 0.25],
        [{}, {"periodic": NUMBERS, "cardinalities": (4, 6)}],
    )
]
SPECS += [spec("plain", k=k, depth=depth, dropout=0.25) for k in (1, 4) for depth in (1, 3)]


@pytest.mark.parametrize("network_spec", SPECS, ids=str)
def test_a_compiled_step_is_that_of_torch(network_spec):
    """Logits, all gradients, and what the network predicts."""
    x, codes = some_rows(network_spec, batch=ROWS)
    steps = []
    for dtype in (torch.float32, torch.float64):
        network = drawn(network_spec, training=True, dtype=dtype)
        logits = logits_of(network, x, codes, pool_of(network, ROWS))
        upstream = np.random.default_rng(1).normal(size=logits.shape)
        network.backward(torch.from_numpy(upstream).to(dtype).permute(0, 2, 3, 1).contiguous())
        predicted = network.predict(x.to(dtype), codes)
        steps.append({"logits": logits, "predicted": predicted})
        for p in network.parameters.declared:
            steps[-1][p.name] = network.parameters.gradient(p.name)
    for name, values in steps[0].items():
        torch.testing.assert_close(values.double(), steps[1][name], **TOLERANCE, msg=name)


@pytest.mark.parametrize("activation", ["relu", "silu", "selu"])
@pytest.mark.parametrize("body", ["plain", "residual"])
def test_nan_in_a_row_remains_in_its_logits(body, activation):
    network = drawn(spec(body, activation=activation), training=True, dtype=torch.float32)
    x, _ = some_rows(network.spec)
    x[0, 3, 2] = math.nan
    logits = logits_of(network, x, None)
    assert logits[0, 3].isnan().all()
    assert logits.isnan().sum() == logits[0, 3].numel()


@pytest.mark.parametrize("copies", [1, 3])
def test_the_gradient_of_a_cross_entropy_is_that_of_torch(copies):
    random = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(2, 3, 4, 37, generator=random)
    logits[0, 1, 2, 7] = math.nan
    classes = torch.randint(4, (2, 1, 1, 37), generator=random)
    truth = (classes == torch.arange(4)[:, None]).float()
    weight = torch.rand(2, copies, 1, 37, generator=random)
    gradient = LOSS["cross_entropy"].code(None).gradient
    computed = gradient(logits, truth, weight)
    expected = gradient(*(given.double() for given in (logits, truth, weight)))
    torch.testing.assert_close(computed.double(), expected, **TOLERANCE, equal_nan=True)
    assert computed[0, 1, :, 7].isnan().all()


@pytest.mark.parametrize("network_spec", SPECS[::4], ids=str)
def test_a_member_has_the_same_bytes_in_every_pack_and_run(network_spec):
    def run(members):
        network = build(network_spec, len(members), training=True)
        network.draw([Key(7, member=m) for m in members], [network_spec.n_inputs] * len(members))
        x, codes = some_rows(network_spec, members=3, batch=ROWS)
        pool = pool_of(network, ROWS, members)
        optimizer = Optimizer(network.parameters, weight_decay=0.01)
        for _ in range(2):
            logits = logits_of(network, x[members], None if codes is None else codes[members], pool)
            network.backward(torch.sin(logits).permute(0, 2, 3, 1).contiguous())
            optimizer.step(0.01)
        return network.state()

    together, alone = run([0, 1, 2]), run([1])
    again = run([0, 1, 2])
    for name, values in together.items():
        assert values[1].tobytes() == alone[name][0].tobytes(), name
        assert values.tobytes() == again[name].tobytes(), name


PART = """
from numba import float32
from autoimb.nn.compiled import _compiled

@_compiled(float32[::1])
def double(x):
    for i in range(len(x)):
        x[i] *= 2
"""


def cache_hits(source: Path) -> int:
    """Compile the function of a source file, call it, and count how often a cache gave it."""
    double = runpy.run_path(str(source))["double"]
    x = np.ones(3, dtype=np.float32)
    double(x)
    assert x.tolist() == [2.0, 2.0, 2.0]
    return sum(double.stats.cache_hits.values())


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source file with a compiled function, in a folder of its own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    path = tmp_path / "code" / "part.py"
    path.parent.mkdir()
    path.write_text(PART)
    return path


def test_compiled_code_is_cached_beside_its_source(source):
    assert [cache_hits(source) for _ in range(2)] == [0, 1]
    assert {path.suffix for path in (source.parent / "__pycache__").iterdir()} == {".nbi", ".nbc"}


@pytest.mark.parametrize(("home", "hits"), [("home", 1), ("code/__pycache__", 0)])
def test_compiled_code_is_cached_in_the_home_folder_or_not_at_all_where_the_source_cannot_be(
    home, hits, source, tmp_path, monkeypatch
):
    # Not even root can write into a file as if it were a folder.
    (source.parent / "__pycache__").touch()
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / home))
    assert [cache_hits(source) for _ in range(2)] == [0, hits]
    assert len(list((tmp_path / home).glob("**/*.nbc"))) == hits


@pytest.mark.parametrize(("ending", "kept_bytes"), [("nbi", 0), ("nbc", 100)])
def test_a_damaged_file_of_compiled_code_is_compiled_again(ending, kept_bytes, source):
    assert [cache_hits(source) for _ in range(2)] == [0, 1]
    (path,) = source.parent.glob(f"__pycache__/*.{ending}")
    path.write_bytes(path.read_bytes()[:kept_bytes])
    assert cache_hits(source) == 0


TINY_FIT = """
import numpy as np
from autoimb import AutoImbClassifier
if __name__ == "__main__":
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = (x[:, 0] + np.random.default_rng(1).normal(size=200) > 1.3).astype(int)
    classifier = AutoImbClassifier(n_trials=2, cv=2, time_budget=None, random_state=0, {more})
    classifier.fit(x, y)
    assert set(classifier.leaderboard()["status"]) == {{"complete"}}, classifier.leaderboard()
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
