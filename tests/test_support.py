"""The scripts in `tests/support`: what counts as code, and what the guard calls a difference."""

import pytest

from tests.support.code_lines import code_lines
from tests.support.guard import differences

SOURCE = '''"""A module."""

import os  # a comment does not count


def path() -> str:
    """Return a path,

    and say so in several lines.
    """
    # why
    return os.path.join(
        "a",
        """not
        a docstring""",
    )
'''


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    assert code_lines(SOURCE) == 7


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        ({"a": {"score": [1.0, 2.0]}, "b": 1}, []),
        ({"a": {"score": [1.0, 2.5]}, "b": 1}, ["/a/score/1: 2.0 -> 2.5"]),
        ({"a": {"score": [1.0, 2.0]}}, ["/b: 1 -> None"]),
        ({"a": {"score": [1.0]}, "b": 1}, ["/a/score: [1.0, 2.0] -> [1.0]"]),
    ],
)
def test_the_guard_names_each_value_that_differs(after: dict, lines: list[str]) -> None:
    before = {"a": {"score": [1.0, 2.0]}, "b": 1}
    assert list(differences(before, after)) == lines
