"""Whether matched duels keep what they promise: simulated studies, and searches of placebos.

``run`` draws studies of paired scores, correlated as those of cross-validation are: the differences
of J folds have the correlation 1/J, as they share all but 1/J of their rows, and the methods of a
study share the control. Then it searches generated tables where every method is a placebo: the
control itself with another seed.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("case", "methods", "overlap", "seed"))
FOLDS = 20
METHODS = (1, 6, 14)  # in a study
SHARED = 0.5  # of the variance of a difference, that is the control's
BEYOND = 0.85  # true errors of a gain above the first critical value of Holm
# what is counted, and the margin of equivalence in true errors
CASES = {
    "none helps": ("any false *helps*", 2.0),
    "one helps": ("the true gain named *helps*", 2.0),
    "at the edge": ("*makes no difference* at the edge of a margin of 2 true errors", 2.0),
    "far edge": ("the same, of 4 true errors", 4.0),
    "equal": ("*makes no difference* of no difference, the margin 4 true errors", 4.0),
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--searches", type=int, default=60)


def run(options: Namespace) -> None:
    """Simulate and search what is missing."""
    known = ROWS.known(again=options.again)
    for case in CASES:
        for methods in METHODS:
            for overlap in (1.0, 2.0):
                key: Row = {
                    "case": case,
                    "methods": methods,
                    "overlap": overlap,
                    "seed": cases.SEED,
                }
                if ROWS.key(key) not in known:
                    said = simulate(case, methods, studies=options.studies, overlap=overlap)
                    ROWS.append([key | {"studies": options.studies, "share": said}])
    for seed in range(options.searches):
        key = {"case": "placebos", "methods": None, "overlap": None, "seed": seed}
        if ROWS.key(key) not in known:
            words = Counter(project.words_of_placebos(seed))
            ROWS.append([key | {"words": words}])
            print(seed, dict(words), file=sys.stderr, flush=True)


def simulate(
    case: str, methods: int, *, studies: int, overlap: float = 1.0, seed: int = cases.SEED
) -> float:
    """Return the share of studies in which what the case asks is said.

    Parameters
    ----------
    case : str
        One of `CASES`.
    methods : int
        In a study.
    studies : int
    overlap : float
        Times 1/J, which the correlation of two folds' differences is.
    seed : int
    """
    correlation = overlap / FOLDS
    error = np.sqrt((1 - correlation) / FOLDS + correlation)  # of a mean of differences of one
    gains, margin = np.zeros(methods), CASES[case][1] * error
    if case == "one helps":
        first = project.Gain(0.0, 1.0, FOLDS).quantile(1 - project.TEST_LEVEL / (2 * methods))
        gains[0] = (first + BEYOND) * error
    elif case.endswith("edge"):
        gains[0] = margin
    random, said = np.random.default_rng(seed), 0
    for _ in range(studies):
        differences = gains[:, None] + drawn(methods, correlation, random)
        found = [project.Gain.of(own, 1 / (FOLDS - 1)) for own in differences]
        corrected = project.holm([gain.p_value for gain in found])
        words = [project.word(gain, p_value, margin) for gain, p_value in zip(found, corrected)]
        if case == "none helps":
            said += "helps" in words
        else:
            said += words[0] == ("helps" if case == "one helps" else "makes no difference")
    return said / studies


def drawn(methods: int, correlation: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw the noise of a study: the differences of each method's folds, of variance 1, (M, J)."""
    common, own = (
        np.sqrt(SHARED) * random.normal(size=(1, n))
        + np.sqrt(1 - SHARED) * random.normal(size=(methods, n))
        for n in (1, FOLDS)
    )
    noise: NDArray[np.float64] = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
    return noise


def render(rows: list[Row]) -> str:
    """Write how often the simulated studies are wrong or right, and what placebos got."""
    shares = {ROWS.key(row): row for row in rows if "share" in row}
    studies = sorted({row["studies"] for row in shares.values()})
    searches = [Counter(row["words"]) for row in rows if "words" in row]
    lines = [
        "# Matched duels",
        "",
        f"{' and '.join(f'{n:,}' for n in studies)} simulated studies a cell, {FOLDS} folds. "
        "*Twice the overlap*: the folds' differences are correlated by 2/J, where the variance "
        "counts on 1/J.",
        "",
    ]
    head = ["share of studies with", *(f"{n} method{'s' * (n > 1)}" for n in METHODS)]
    for overlap, title in ((1.0, ""), (2.0, ", twice the overlap")):
        cells = [
            [f"{said}{title}", *(_percent(shares, case, n, overlap) for n in METHODS)]
            for case, (said, _) in CASES.items()
        ]
        lines += [*written.table(head, cells), ""]
    total = sum(searches, Counter[str]())
    lines += [
        f"A true gain is of the first critical value of Holm and {BEYOND} true errors.",
        "",
        f"{len(searches)} whole searches of generated tables in which every method is the control "
        f"with another seed: {sum('helps' in own for own in searches)} named one that *helps*, "
        f"{sum('hurts' in own for own in searches)} one that *hurts*. Of {total.total():,} methods "
        f"{_counted(total)}.",
    ]
    return "\n".join([*lines, *foot("duels", rows)])


def _percent(shares: dict[object, Row], case: str, methods: int, overlap: float) -> str:
    key = ROWS.key({"case": case, "methods": methods, "overlap": overlap, "seed": cases.SEED})
    return f"{shares[key]['share']:.1%}" if key in shares else "–"


def _counted(words: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in words.most_common())
