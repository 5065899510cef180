"""The resampling room: one file a kind of method."""
