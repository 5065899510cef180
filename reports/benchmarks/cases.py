"""What all questions share: where the data is, seeds, budgets, and the tables with their families.

``tables.csv`` has the facts of the public tables, so that reports are written without the data.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

__all__ = [
    "BENCH",
    "DATA",
    "JOBS",
    "LARGE",
    "LONG",
    "MINUTE",
    "ROOT",
    "SEED",
    "SHORT",
    "SMALL",
    "TABLES",
    "add_again",
    "add_data",
    "average_precision",
    "family_of",
    "of_classes",
    "paths",
    "sample",
    "simulated",
    "split",
    "with_target",
]

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"  # a Parquet file for each table; the last column is `target`
BENCH = ROOT.parent / "shared" / "bench"  # runs the peers
TABLES = pd.read_csv(Path(__file__).with_name("tables.csv")).set_index("name")

SEED = 0
MINUTE, SHORT, LONG = 60.0, 20.0, 120.0  # budgets of a search, in seconds
JOBS = 2  # workers of a search

MOST_ROWS = 60_000  # of a table; of larger ones a stratified sample
TEST_SHARE = 0.3
SMALL, LARGE = 3_000, 15_000  # rows that part the tables in reports


def add_data(parser: ArgumentParser) -> None:
    """Add the options that name tables."""
    parser.add_argument("--data", type=Path, default=DATA, help="folder of Parquet files")
    parser.add_argument("--only", help="these tables: a,b")


def add_again(parser: ArgumentParser) -> None:
    """Add the option that measures anew what another commit left."""
    parser.add_argument("--again", action="store_true", help="also what another commit ran")


def paths(options: Namespace) -> list[Path]:
    """Return the files of the tables that the options name, the largest first."""
    names = options.only.split(",") if options.only else list(TABLES.index)
    unknown = set(names) - set(TABLES.index)
    if unknown:
        raise SystemExit(f"no such tables: {', '.join(sorted(unknown))}")
    files = [options.data / f"{name}.parquet" for name in names]
    return sorted(files, key=lambda path: -path.stat().st_size)


def family_of(table: str) -> list[str]:
    """Return the tables of the same origin, itself included."""
    family = TABLES["family"]
    return list(family.index[family == family[table]])


def with_target(path: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Read a table; return its columns and its labels."""
    frame = pd.read_parquet(path)
    return frame, frame.pop("target")


def split(path: Path, seed: int) -> list[pd.DataFrame]:
    """Return training rows and test rows with their ``target``, of large tables of a sample."""
    return _parted(sample(pd.read_parquet(path), MOST_ROWS, seed), seed, test_size=TEST_SHARE)


def sample(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Return rows with their ``target``, or of more than so many a stratified sample."""
    return _parted(rows, seed, train_size=most)[0] if len(rows) > most else rows


def _parted(rows: pd.DataFrame, seed: int, **size: float) -> list[pd.DataFrame]:
    labels = rows["target"].astype(str)
    found: list[pd.DataFrame] = train_test_split(rows, stratify=labels, random_state=seed, **size)
    return found


def average_precision(y: np.ndarray, proba: np.ndarray, classes: np.ndarray) -> float:
    """Score labels by probabilities ``(n, C)``: macro, or of the rarer class of two."""
    counts = [(y == c).sum() for c in classes]
    rated = [int(np.argmin(counts))] if len(counts) == 2 else np.flatnonzero(counts)
    return float(np.mean([average_precision_score(y == classes[c], proba[:, c]) for c in rated]))


def of_classes(classes: int, columns: int, rows: int, folder: Path) -> Path:
    """Write a table of numbers around a centre for each class; the first class has half of it."""
    path = folder / f"classes_{classes}_columns_{columns}_rows_{rows}.parquet"
    random = np.random.default_rng(0)
    rest = random.integers(1, classes, rows - rows // 2)
    code = np.concatenate([np.zeros(rows // 2, dtype=np.int64), rest])
    random.shuffle(code)
    centres = random.normal(size=(classes, columns)).astype(np.float32)
    numbers = random.standard_normal((rows, columns), dtype=np.float32)
    numbers += centres[code] * np.float32(3 / np.sqrt(columns))
    frame = pd.DataFrame(numbers, columns=[f"n{j}" for j in range(columns)])
    frame.assign(
        target=pd.Categorical.from_codes(code, [f"c{c}" for c in range(classes)])
    ).to_parquet(path)
    return path


def simulated(
    rows: int, folder: Path, *, rate: float = 0.01, signal: float = 1.0, seed: int = 0
) -> Path:
    """Write a table of 24 numbers and 6 categories with missing cells; so many are positive."""
    path = folder / f"simulated_{rows}.parquet"
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, 24))
    numbers[random.random(numbers.shape) < 0.02] = np.nan
    frame = pd.DataFrame(numbers, columns=[f"n{j}" for j in range(24)])
    for j in range(6):
        frame[f"c{j}"] = pd.Categorical.from_codes(
            random.integers(0, 4 + 6 * j, rows), [f"v{i}" for i in range(4 + 6 * j)]
        )
    known = frame.filter(like="n").fillna(0.0).to_numpy()
    logits = 1.2 * known[:, 0] + known[:, 1] * known[:, 2] - np.abs(known[:, 3])
    logits += 0.5 * (frame["c1"].cat.codes % 3 == 0)
    noisy = signal * logits + random.logistic(size=rows)
    frame["target"] = np.where(noisy > np.quantile(noisy, 1 - max(rate, 20 / rows)), "yes", "no")
    frame.to_parquet(path)
    return path
