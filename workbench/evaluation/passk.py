"""Statistics of verdicts: pass@k, its confidence interval, and a paired test between two models."""

import math

from scipy.stats import binomtest


def pass_at_k(n: int, passed: int, k: int) -> float:
    """Probability that at least one of `k` samples passes, estimated from `n` samples of which `passed` pass.

    The unbiased estimator 1 - C(n - passed, k) / C(n, k) of arXiv 2107.03374, equation 1. Raises ValueError
    unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k={k} must lie between 1 and the number of samples, {n}.")
    return 1 - math.comb(n - passed, k) / math.comb(n, k)


def wilson(passed: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of the share `passed` / `n`, as (low, high) from 0 to 1.

    `passed` is rounded to a whole number, so that it may be a sum of per-task means. With `n` of 0 the
    interval is (0, 1). It covers the choice of tasks, not the variation between training runs.
    """
    if not n:
        return 0.0, 1.0
    interval = binomtest(round(passed), n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact McNemar test between two models on the same tasks.

    The arguments count the tasks that only the first and only the second model passes; tasks on which both
    agree carry no information. Returns 1.0 if there are no such tasks.
    """
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
