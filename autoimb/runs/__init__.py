"""The RUN folder: what a search leaves behind, and goes on from."""
