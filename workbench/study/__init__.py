"""A whole study from one recipe: presets, the quickstart and its report, and training on several GPUs."""
