"""Start of Python programs in tests."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

# The program imports from the paths of the tests, whatever its folder is.
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python to its end; the options are those of `subprocess.run`."""
    defaults = {"env": ENVIRONMENT, "capture_output": True, "text": True, "check": False}
    return subprocess.run([sys.executable, *map(str, arguments)], **defaults | options)
