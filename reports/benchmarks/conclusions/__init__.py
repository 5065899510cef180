"""One search, concluded in several ways."""
