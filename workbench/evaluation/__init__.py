"""Evaluate a model: pass@1 on tasks with tests, preference for correct programs, and held-out loss.

Three rooms: `generation` writes answers, `sandbox` runs untrusted code, `judging` compares what it computes
with what the tests expect. `measure` (`wb.evaluate`) and `quick` (during training) combine them.

Names are imported on first use: the worker processes of `judging` import this package too and need no torch.
"""

from importlib import import_module

_HOMES = {
    "evaluate": "measure",
    "judge": "judging.assertions",
    "generate": "generation.answers",
    "extract_code": "judging.extraction",
    "heldout_loss": "heldout",
    "Comparison": "reports.report",
    "EvalReport": "reports.report",
    "compare": "reports.report",
    "board": "reports.scoreboard",
    "mcnemar": "statistics",
    "named": "reports.scoreboard",
    "published": "reports.scoreboard",
    "Outcome": "sandbox",
    "SandboxError": "sandbox",
    "level": "sandbox",
    "run_program": "sandbox",
    "twins": "broken_twins",
    "why_unconfined": "sandbox",
    "wilson": "statistics",
}

__all__ = [*_HOMES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
