"""Fitted pipelines and their files."""
