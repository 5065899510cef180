"""Entry point of ``python -m autoimb``, which runs the command line."""

import sys

if __name__ == "__main__":
    # Python searches the current folder first; from here on it is searched last.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))
    from autoimb.cli import main

    sys.exit(main())
