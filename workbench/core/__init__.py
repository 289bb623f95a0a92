"""Shared utilities: errors, tables, texts, the result store, progress bars, memory, folders, hub access."""
