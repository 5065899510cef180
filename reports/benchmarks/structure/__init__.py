"""Whether rows that belong together are detected, and independent rows are not."""
