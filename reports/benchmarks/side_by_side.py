"""Searches of two checkouts on the same rows at the same time, each on one core.

Both are run by the public interface alone, so that any two versions can be compared, and what else
the machine does meets both. Each search has one worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from reports.benchmarks import cases
from reports.benchmarks.calibration.calibration import scored
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, commit_of

__all__ = ["METRICS", "SIDES", "add_before", "checkouts", "commits", "search_both"]

SIDES = ("before", "after")
METRICS = ("average_precision", "f1", "balanced_accuracy")

_SEARCH = """
import json, sys, time
from pathlib import Path
import pandas as pd
from threadpoolctl import threadpool_limits
from autoimb import AutoImbClassifier

train, test, time_budget, seed, metric, out = sys.argv[1:]
train, begin = pd.read_parquet(train), time.monotonic()
options = {"time_budget": float(time_budget), "random_state": int(seed), "metric": metric}
classifier = AutoImbClassifier(**options)
classifier.fit(train.drop(columns="target"), train["target"])
seconds = time.monotonic() - begin
columns = pd.read_parquet(test).drop(columns="target")
labels = [str(label) for label in classifier.classes_]
predicted = pd.DataFrame(classifier.predict_proba(columns), columns=labels)
predicted.assign(_label=[str(label) for label in classifier.predict(columns)]).to_parquet(out)
facts = {"reported": classifier.best_score_, "seconds": seconds}
facts["complete"] = int((classifier.leaderboard()["status"] == "complete").sum())
facts["bytes"] = classifier.export(Path(out).with_suffix(".autoimb")).stat().st_size
rows = columns.iloc[:10_000]
with threadpool_limits(1):
    begin = time.process_time()
    classifier.predict_proba(rows)
    facts["predict"] = 1000 * (time.process_time() - begin) / len(rows)
print(json.dumps(facts))
"""


# A checkout caches what it compiles, and the first search of a fresh one would lose a minute.
_COMPILE = """
from autoimb import AutoImbClassifier

rows = range(200)
X, y = [[row % 7, row % 11] for row in rows], [row % 5 == 0 for row in rows]
AutoImbClassifier(time_budget=None, n_trials=1, random_state=0).fit(X, y)
"""


def add_before(parser: ArgumentParser) -> None:
    """Add the option that names the other checkout."""
    parser.add_argument("--before", type=Path, help="the other checkout; after it comes this one")


def checkouts(options: Namespace) -> dict[str, Path]:
    """Return the folders of the other checkout and of this one, by side, ready for searches."""
    if options.before is None:
        raise SystemExit("--before must name another checkout.")
    # Python would import the installed package instead, and compare this checkout with itself.
    if not (options.before / "autoimb").is_dir():
        raise SystemExit(f"--before={options.before} is not a checkout: it has no folder autoimb.")
    roots = dict(zip(SIDES, [options.before.resolve(), cases.ROOT]))
    with ThreadPoolExecutor(len(roots)) as threads:
        list(threads.map(partial(_run, _COMPILE), roots.values()))
    return roots


def commits(roots: dict[str, Path]) -> dict[str, str]:
    """Return the commit of each checkout, by side."""
    return {side: commit_of(root) for side, root in roots.items()}


def search_both(
    roots: dict[str, Path],
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    seconds: float,
    seed: int,
    metric: str,
) -> Row:
    """Search training rows with both checkouts, and score each on the test rows.

    The rows have their labels in the column ``target``. Returned are, for each side, the score, the
    log-loss and slope of its probabilities, the score that the search reports, its seconds, its
    complete strategies, the bytes of its file, and the processor seconds that one thread takes for
    a thousand rows.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(roots)) as threads:
        files = [Path(folder, "train.parquet"), Path(folder, "test.parquet")]
        train.to_parquet(files[0])
        test.to_parquet(files[1])
        words = f"{seconds:g}", str(seed), metric
        results = list(threads.map(partial(_search, files=files, words=words), roots.items()))
    row: Row = {}
    for side, (predicted, facts) in zip(roots, results):
        y = test["target"].astype(str)
        facts |= {"score": _score(y, predicted, metric), **_quality(y, predicted)}
        row |= {f"{side}_{name}": facts[name] for name in facts}
    return row


def _search(
    checkout: tuple[str, Path], *, files: list[Path], words: tuple[str, ...]
) -> tuple[pd.DataFrame, Row]:
    """Return the predictions of a checkout's search for the test rows, and facts about it."""
    side, root = checkout
    out = files[0].with_name(f"predicted_{side}.parquet")
    output = _run(_SEARCH, root, *map(str, files), *words, str(out))
    return pd.read_parquet(out), json.loads(output.splitlines()[-1])


def _run(program: str, root: Path, *words: str) -> str:
    """Run a program in a process that imports the package of a checkout; return its output."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(root),
        cwd=root,
    ).stdout


def _quality(y: pd.Series, predicted: pd.DataFrame) -> Row:
    """Return the log-loss, and for two classes the slope of the rarer one."""
    proba = predicted.drop(columns="_label")
    labels = sorted(proba)
    found = {"log_loss": float(log_loss(y, proba[labels].to_numpy(), labels=labels))}
    if len(labels) == 2:
        rarer = min(labels, key=lambda label: int((y == label).sum()))
        is_rarer = (y == rarer).to_numpy(dtype=float)
        found["slope"] = scored(is_rarer, proba[rarer].to_numpy())["slope"]
    return found


def _score(y: pd.Series, predicted: pd.DataFrame, metric: str) -> float:
    """Score probabilities or labels; F1 is that of the rarer of two classes, else macro."""
    labels, proba = predicted["_label"], predicted.drop(columns="_label")
    if metric == "balanced_accuracy":
        return float(balanced_accuracy_score(y, labels))
    if metric == "f1":
        by_class = f1_score(y, labels, labels=proba.columns, average=None)
        rarest = int(np.argmin([(y == label).sum() for label in proba.columns]))
        return float(by_class[rarest] if len(by_class) == 2 else by_class.mean())
    return cases.average_precision(y.to_numpy(), proba.to_numpy(), proba.columns.to_numpy())
