"""A causal language model: load it, build its prompts, and compute its loss on packed samples."""
