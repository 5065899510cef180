"""Where trials run, how far they are, and how they are stopped."""
