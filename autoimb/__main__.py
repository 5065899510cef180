"""``python -m autoimb`` is the command ``autoimb``."""

import sys

from autoimb.cli import main

if __name__ == "__main__":
    sys.exit(main())
