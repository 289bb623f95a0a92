"""Rows better left out: near-duplicates and leaked benchmark tasks."""
