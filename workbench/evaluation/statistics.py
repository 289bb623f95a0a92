"""Statistics of evaluations: estimates with intervals, paired tests, and what difference a design can show.

Tasks are the unit. Several samples, twins or seeds of one task depend on each other, so the bootstrap
resamples whole tasks (clusters), and the permutation test flips whole tasks.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy import optimize, stats

CONFIDENCE = 0.95
POWER = 0.8  # probability of detecting the minimum detectable difference
ALPHA = 0.05  # significance level, two-sided
_RESAMPLES = 9999
_BATCH = 1000  # resamples in memory at a time


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval.

    `n` is the number of independent clusters (tasks). `detectable` is the true difference between two such
    means, each on `n` tasks of its own, that is detected with probability 0.8 at the 5 % level.
    """

    value: float
    low: float
    high: float
    n: int
    detectable: float


@dataclass(frozen=True)
class Difference(Estimate):
    """A mean paired difference, second minus first, with its interval and two-sided p-value.

    `detectable` is the true difference that the paired design detects, given the observed scatter.
    """

    p_value: float


def pass_at_k(n: int, passed: int, k: int) -> float:
    """Probability that at least one of `k` samples passes, estimated from `n` samples of which `passed` pass.

    The unbiased estimator 1 - C(n - passed, k) / C(n, k) of arXiv 2107.03374, equation 1. Raises ValueError
    unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k={k} must lie between 1 and the number of samples, {n}.")
    return 1 - math.comb(n - passed, k) / math.comb(n, k)


def wilson(passed: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of the share `passed` / `n`, as (low, high) from 0 to 1.

    `passed` is rounded to a whole number, so that it may be a sum of per-task means. With `n` of 0 the
    interval is (0, 1). It covers the choice of tasks, not the variation between training runs.
    """
    if not n:
        return 0.0, 1.0
    interval = stats.binomtest(round(passed), n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact McNemar test between two models on the same tasks.

    The arguments count the tasks that only the first and only the second model passes; tasks on which both
    agree carry no information. Returns 1.0 if there are no such tasks.
    """
    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def mean_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: Sequence[float] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimate:
    """The weighted mean of `values` with a bootstrap interval (BCa, 9,999 resamples of whole clusters).

    `clusters` names the task of each value; by default each value is a task of its own. `weights` default to
    1. The interval has no width if all clusters agree: the data then say nothing of the scatter. With a
    single cluster it is (nan, nan). Raises ValueError without values.
    """
    sums, sizes = _by_cluster(values, clusters, weights)
    low, high = _bootstrap(sums, sizes, confidence, seed)
    return Estimate(float(sums.sum() / sizes.sum()), low, high, len(sums), _detectable(sums, sizes))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: Sequence[float] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Difference:
    """The mean of `second - first`, two measurements of the same samples, as in `mean_interval`.

    The p-value is that of a permutation test that exchanges the two measurements of whole clusters (exact up
    to 13 clusters, 9,999 permutations above). It does not assume a normal distribution; it does assume that
    the scatter is symmetric if there is no difference.
    """
    sums, sizes = _by_cluster(np.subtract(second, first), clusters, weights)
    low, high = _bootstrap(sums, sizes, confidence, seed)
    value, detectable = float(sums.sum() / sizes.sum()), _detectable(sums, sizes, paired=True)
    return Difference(value, low, high, len(sums), detectable, _sign_flips(sums, seed))


def mean_of_runs(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of one number per training run, repeated with several seeds, with its t interval.

    `n` is the number of runs. With a single run, the interval is (nan, nan). It covers seeds alone, not the
    choice of the rows that the number was measured on. Raises ValueError without values.
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        raise ValueError("there are no values to average.")
    value, n = float(values.mean()), len(values)
    if n < 2:
        return Estimate(value, math.nan, math.nan, n, math.nan)
    sd = float(values.std(ddof=1))
    margin = float(stats.t.isf((1 - confidence) / 2, n - 1)) * sd / math.sqrt(n)
    return Estimate(value, value - margin, value + margin, n, detectable_mean(n, sd))


def difference_of_runs(
    first: np.ndarray,
    second: np.ndarray,
    weights: Sequence[float] | None = None,
    *,
    confidence: float = CONFIDENCE,
    alpha: float = ALPHA,
) -> Difference:
    """The mean difference, second minus first, of two trainings that were each repeated with several seeds.

    `first` [n_first, rows] and `second` [n_second, rows] are measurements of each run on the same held-out
    rows (or tasks), and `weights` [rows] the weights of the rows, by default 1. Two sources of chance add up:
    the scatter between the runs of each training, as in Welch's t-test, and that of the mean difference
    between rows, because other rows could have been held out. Degrees of freedom are Satterthwaite's. With a
    single row, only the runs count, and the test is Welch's.

    `n` is the number of rows. `detectable` is the true difference that this scatter lets a test at level
    `alpha` detect with probability 0.8; divide `alpha` by the number of comparisons that `holm` corrects for.
    Raises ValueError with fewer than two runs of either training, whose scatter is then unknown.
    """
    runs = [np.atleast_2d(np.asarray(values, dtype=float)) for values in (first, second)]
    if min(map(len, runs)) < 2:
        raise ValueError(f"{min(map(len, runs))} run: the scatter between seeds needs at least 2.")
    n = runs[0].shape[1]
    share = np.full(n, 1 / n) if weights is None else np.asarray(weights, float) / np.sum(weights)
    by_row = runs[1].mean(axis=0) - runs[0].mean(axis=0)
    value = float(by_row @ share)
    parts = [((values @ share).var(ddof=1) / len(values), len(values) - 1) for values in runs]
    if n > 1:
        scatter, unequal = (by_row - value) * share, share @ share  # the latter is 1 / n for equal weights
        parts.append((scatter @ scatter / (1 - unequal), 1 / unequal - 1))
    variance = sum(part for part, _ in parts)
    if not variance:
        return Difference(value, value, value, n, 0.0, float(value == 0))
    freedom = variance**2 / sum(part**2 / own for part, own in parts)
    error = math.sqrt(variance)
    margin = float(stats.t.isf((1 - confidence) / 2, freedom)) * error
    p_value = 2 * float(stats.t.sf(abs(value) / error, freedom))
    detectable = error * _detectable_shift(round(freedom, 1), alpha)
    return Difference(value, value - margin, value + margin, n, detectable, p_value)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values (float64 [n], in the order given) of a family of comparisons.

    Rejecting those up to `alpha` keeps the probability of any false rejection at `alpha`, whatever the
    dependence between the comparisons (Holm 1979).
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def t_power(n: int, effect: float, *, paired: bool = False, alpha: float = ALPHA) -> float:
    """Power of the two-sided t-test: how probably it detects a difference of `effect` standard deviations.

    `n` is the size of each of two samples or, if `paired`, the number of pairs; `effect` is then in standard
    deviations of the paired differences.
    """
    freedom = n - 1 if paired else 2 * n - 2
    return _t_power(abs(effect) * math.sqrt(n if paired else n / 2), freedom, alpha)


def detectable_mean(
    n: int, sd: float, *, paired: bool = False, power: float = POWER, alpha: float = ALPHA
) -> float:
    """The smallest true difference of means that `n` seeds (or tasks) detect with probability `power`.

    Two samples of `n` each with standard deviation `sd`; if `paired`, `n` pairs whose differences have
    standard deviation `sd`. In the unit of `sd`. Raises ValueError for fewer than two.
    """
    if n < 2:
        raise ValueError(f"n={n}: a scatter needs at least 2 measurements.")

    def excess(effect: float) -> float:
        return t_power(n, effect, paired=paired, alpha=alpha) - power

    return sd * _smallest(excess, 1 / math.sqrt(n))


def needed_for_mean(
    difference: float, sd: float, *, paired: bool = False, power: float = POWER, alpha: float = ALPHA
) -> int:
    """How many seeds (or tasks) detect a true difference of means with probability `power`.

    Per sample or, if `paired`, in pairs; `sd` as in `detectable_mean`. Raises ValueError for a `difference`
    of 0, which no number detects.
    """
    if not difference:
        raise ValueError("difference=0: no number of seeds detects it.")
    effect = abs(difference) / sd if sd else math.inf
    high = 2
    while high * effect < 1e9 and t_power(high, effect, paired=paired, alpha=alpha) < power:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = middle >= 2 and t_power(middle, effect, paired=paired, alpha=alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return max(2, high)


def detectable_share(
    n: int,
    *,
    share: float = 0.5,
    discordance: float | None = None,
    power: float = POWER,
    alpha: float = ALPHA,
) -> float:
    """The smallest true difference of two shares (pass@1, 0 to 1) that `n` tasks detect with probability
    `power`.

    By default each model has `n` tasks of its own and passes about `share` of them; 0.5 is the worst case.
    With `discordance`, both answer the same `n` tasks, and only one of them passes in that share of the
    tasks (McNemar). Normal approximation.
    """
    return _z(power, alpha) * math.sqrt(_variance(share, discordance) / n)


def needed_for_share(
    difference: float,
    *,
    share: float = 0.5,
    discordance: float | None = None,
    power: float = POWER,
    alpha: float = ALPHA,
) -> int:
    """How many tasks detect a true `difference` of two shares; the parameters are those of
    `detectable_share`."""
    if not difference:
        raise ValueError("difference=0: no number of tasks detects it.")
    return math.ceil(_variance(share, discordance) * (_z(power, alpha) / difference) ** 2)


@cache
def _detectable_shift(freedom: float, alpha: float, power: float = POWER) -> float:
    """The shift of a t statistic, in standard errors, that its two-sided test detects with probability
    `power`."""
    return _smallest(lambda shift: _t_power(shift, freedom, alpha) - power, 1.0)


def _t_power(shift: float, freedom: float, alpha: float) -> float:
    critical = stats.t.isf(alpha / 2, freedom)
    return float(stats.nct.sf(critical, freedom, shift) + stats.nct.sf(critical, freedom, -shift))


def _smallest(excess: Callable[[float], float], high: float) -> float:
    """The root of an increasing function that is negative at 0; the search starts from `high`."""
    while excess(high) < 0:
        high *= 2
    return optimize.brentq(excess, 0, high, xtol=1e-12)


def _z(power: float, alpha: float) -> float:
    return float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))


def _variance(share: float, discordance: float | None) -> float:
    """Variance of the difference on one task."""
    return 2 * share * (1 - share) if discordance is None else discordance


def _by_cluster(values, clusters, weights) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sum and total weight of the values of each cluster, both float64 [n_clusters]."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        raise ValueError("there are no values to average.")
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    clusters = np.arange(len(values)) if clusters is None else pd.factorize(np.asarray(clusters))[0]
    return np.bincount(clusters, values * weights), np.bincount(clusters, weights)


def _detectable(sums: np.ndarray, sizes: np.ndarray, *, paired: bool = False) -> float:
    """`detectable_mean` for the scatter between clusters."""
    if len(sums) < 2:
        return math.nan
    scatter = (sums - sums.sum() / sizes.sum() * sizes) / sizes.mean()  # each cluster's part in the ratio
    return detectable_mean(len(sums), float(scatter.std(ddof=1)), paired=paired)


def _bootstrap(sums: np.ndarray, sizes: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """BCa interval of sum(sums) / sum(sizes) over resampled clusters."""
    means = sums / sizes
    if len(sums) < 2:
        return math.nan, math.nan
    if np.ptp(means) == 0:
        return float(means[0]), float(means[0])
    interval = stats.bootstrap(
        (sums, sizes),
        lambda s, w, axis=-1: s.sum(axis) / w.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        confidence_level=confidence,
        method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _sign_flips(sums: np.ndarray, seed: int) -> float:
    """Two-sided p-value of sum(sums) if the sign of each cluster is a coin toss."""
    if not sums.any():
        return 1.0
    test = stats.permutation_test(
        (sums,),
        lambda s, axis=-1: s.sum(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        random_state=np.random.default_rng(seed),
    )
    return float(test.pvalue)
