"""One causal language model: load it, build its prompts, run it on packed samples."""
