"""Count the names of a package that carry no meaning.

A name is counted wherever it is bound: modules, classes, functions, parameters, variables and
attributes of ``self``. One that consists of the words below alone, such as ``own``, ``each_one`` or
``_made``, says nothing of what it holds.

    python tests/support/names.py autoimb
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

__all__ = ["EMPTY_WORDS", "bound_names", "is_empty"]

_LISTED = """
    own one each found held kept said told made given few most least more others other mine here
    there several some whole words wanted left begun shown known seen again before after what where
    beside
"""
EMPTY_WORDS = frozenset(_LISTED.split())


def bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield each name that a module binds, once for every place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def is_empty(name: str) -> bool:
    """Return whether a name consists of words without meaning."""
    parts = name.strip("_").lower().split("_")
    return all(part in EMPTY_WORDS for part in parts)


def main() -> None:
    """Print the share of empty names, the most frequent of them, and where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=15, help="files to list")
    options = parser.parse_args()
    total, empty, by_file = 0, Counter[str](), Counter[str]()
    for path in sorted(options.folder.rglob("*.py")):
        names = [path.stem, *bound_names(ast.parse(path.read_text(encoding="utf-8")))]
        names = [name for name in names if name.strip("_")]
        without = [name for name in names if is_empty(name)]
        total += len(names)
        empty.update(without)
        by_file[str(path)] += len(without)
    print(f"{empty.total()} of {total} bound names say nothing: {empty.total() / total:.1%}")
    print(", ".join(f"{name} {count}" for name, count in empty.most_common(40)))
    for file, count in by_file.most_common(options.files):
        print(f"{count:5} {file}")


if __name__ == "__main__":
    main()
