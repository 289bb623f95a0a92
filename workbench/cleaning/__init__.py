"""Mark and drop rows that should not be trained on: near-duplicates and leaked benchmark tasks."""
