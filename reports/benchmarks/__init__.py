"""Measured claims: a folder for each question, with its module, its rows and its report."""
