"""The RUN folder, which keeps the trials and results of a search, also to resume it."""
