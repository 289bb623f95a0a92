"""Run untrusted code in confined processes (`run.py` lists the limits and what they do not cover)."""

from .run import (
    BLOCKED,
    ERROR,
    FAIL,
    PASS,
    TIMEOUT,
    Outcome,
    SandboxError,
    level,
    run_program,
    why_unconfined,
)

__all__ = [
    "BLOCKED",
    "ERROR",
    "FAIL",
    "PASS",
    "TIMEOUT",
    "Outcome",
    "SandboxError",
    "level",
    "run_program",
    "why_unconfined",
]
