"""What every room stands on: errors, tables, texts, the store, progress, memory, folders."""
