"""The result of an evaluation, the paired comparison of two, and results beside the paper's."""
