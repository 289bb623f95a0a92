"""Generate solutions: ask a model, decode its answers, extract the code."""
