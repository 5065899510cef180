"""``python -m autoimb`` is the command ``autoimb``."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:  # Python looks in the current folder first: now last
        sys.path.append(sys.path.pop(0))
    from autoimb.cli import main

    sys.exit(main())
