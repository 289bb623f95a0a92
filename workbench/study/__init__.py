"""A whole study from one recipe: quickstart, report, presets, training on several GPUs."""
