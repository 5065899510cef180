"""Whether the tests see a changed line."""
