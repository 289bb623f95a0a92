"""Estimates from counts: pass@k, its interval, and whether two sets of verdicts differ by more than luck."""

import math

from scipy.stats import binomtest


def pass_at_k(n: int, passed: int, k: int) -> float:
    """Chance that at least one of `k` samples, drawn from `n` of which `passed` are right, is right: the
    unbiased estimator 1 - C(n - passed, k) / C(n, k) of arXiv 2107.03374, equation 1."""
    if not 1 <= k <= n:
        raise ValueError(f"k={k} must lie between 1 and the number of samples, {n}.")
    return 1 - math.comb(n - passed, k) / math.comb(n, k)


def wilson(passed: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) of nothing. `passed` may be a sum of per-task means."""
    if not n:
        return 0.0, 1.0
    interval = binomtest(round(passed), n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of the exact McNemar test, from the tasks that only one of two passes."""
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
