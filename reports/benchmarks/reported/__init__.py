"""Whether the score that a search reports is what its result gives on new rows."""
