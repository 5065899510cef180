"""Count code lines: without docstrings, comments and blank lines.

python tests/support/code_lines.py autoimb tests
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from pathlib import Path

__all__ = ["code_lines"]

LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source: str) -> int:
    """Return how many lines of a module hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def main() -> None:
    """Print the code lines of each folder below the given ones, and their sums."""
    for place in map(Path, sys.argv[1:]):
        folders: dict[str, int] = {}
        for file in sorted(place.rglob("*.py")):
            parts = file.relative_to(place).parts
            folder = parts[0] if len(parts) > 1 else "."
            count = code_lines(file.read_text(encoding="utf-8"))
            folders[folder] = folders.get(folder, 0) + count
        for folder, count in folders.items():
            print(f"{place / folder}\t{count}")
        print(f"{place}\t{sum(folders.values())}")


if __name__ == "__main__":
    main()
