"""One command line for all questions; ``python -m reports.benchmarks`` lists them."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

__all__ = ["QUESTIONS", "main", "module", "report"]

QUESTIONS = {
    "quality": "how well a minute of autoimb predicts, beside what its users would pick instead",
    "checkouts": "whether this checkout predicts as well as another one, side by side",
    "small": "whether small tables are predicted as well as by another checkout and by perceptrons",
    "ablation": "what each part of a search is worth: searches without it, all else equal",
    "conclusions": "what small blends, tree models and their weights are worth in one search",
    "reported": "whether the score that a search reports is what its result gives on new rows",
    "later_rows": "whether reported scores hold on later rows and on rows of new groups",
    "asking": "what the next strategy of a long search costs, and what a shorter history loses",
    "engines": "how many trials a minute a Dask cluster runs, against the local pool",
    "calibration": "whether the probabilities of what is deployed can be taken at their word",
    "categories": "what statistics of levels and of repeated rows are worth: encoded in other ways",
    "methods": "how often an imbalance method beats `none`: matched duels over public tables",
    "duels": "whether matched duels keep what they promise: simulated, and searches of placebos",
    "portfolio": "which networks to try first: learned on public tables, judged on others",
    "budget": "whether whole searches end in time, and how soon there is a result",
    "speed": "what a trial costs, against one written by hand and against another checkout",
    "serving": "how fast the pipeline of README predicts, beside LightGBM and CatBoost",
    "large": "what a folder that memory does not hold takes and gives, against rows in memory",
    "flights": "one table with whole days held out, against tuned scikit-learn baselines",
    "kill_resume": "what a search that was killed and resumed has lost",
    "flat": "whether memory, threads, files and processes stay flat: many fits, searches at once",
    "damage": "what damaged and forged files do: of pipelines, and of whole RUN folders",
    "coverage": "how much of the package the tests run: statements and branches",
    "chaos": "what a search loses by kills, full disks and damage at any moment",
    "mutants": "whether the tests see a change in what scores and in what is searched",
    "structure": "whether rows that belong together are detected, and independent rows are not",
    "versions": "whether the oldest and the newest releases of what is needed will do",
}
ONE_THREAD = {
    "checkouts",
    "small",
    "ablation",
    "asking",
    "engines",
    "calibration",
    "conclusions",
    "reported",
    "later_rows",
    "categories",
    "methods",
    "duels",
    "portfolio",
    "speed",
    "damage",
    "coverage",
    "mutants",
    "structure",
    "versions",
}  # a process, as in a worker
HELP = "usage: python -m reports.benchmarks QUESTION {run,render} [options]"


def module(question: str) -> ModuleType:
    """Import a question: its ``arguments``, ``run``, ``render`` and ``ROWS``."""
    if question in ONE_THREAD:  # read when torch is imported
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    return importlib.import_module(f"reports.benchmarks.{question}.{question}")


def report(question: str) -> Path:
    """Return the file of a question's report."""
    return Path(__file__).parent / question / f"{question}.md"


def main(words: Sequence[str]) -> None:
    """Run what is missing of a question, and write its report from its rows."""
    if not words or words[0] not in QUESTIONS:
        listed = (f"  {name:<13} {asks}" for name, asks in QUESTIONS.items())
        print(HELP, *listed, sep="\n")
        raise SystemExit(0 if not words or words[0] in {"-h", "--help"} else 2)
    question, *rest = words
    asked = module(question)
    parser = argparse.ArgumentParser(
        prog=f"python -m reports.benchmarks {question}", description=QUESTIONS[question]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("render", help="write the report from the rows that are there")
    run = commands.add_parser("run", help="measure what is missing, then write the report")
    asked.arguments(run)
    options = parser.parse_args(rest)
    if options.command == "run":
        asked.run(options)
    text = asked.render(asked.ROWS.read())
    report(question).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
