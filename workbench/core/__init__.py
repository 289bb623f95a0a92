"""Shared utilities: errors, tables, texts, result store, progress bars, memory, CPUs, folders, the hub."""
