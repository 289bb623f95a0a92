"""Run untrusted code in confined processes."""

from .run import BLOCKED, ERROR, FAIL, PASS, TIMEOUT, Outcome, SandboxError, level, run_program

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
]
