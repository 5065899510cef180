"""Python programs that tests start."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

# the paths of the tests, wherever the program runs
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def python(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python to its end; the options are those of `subprocess.run`."""
    usual = {"env": ENVIRONMENT, "capture_output": True, "text": True, "check": False}
    return subprocess.run([sys.executable, *map(str, words)], **usual | options)
