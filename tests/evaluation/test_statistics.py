"""Statistics against published worked examples, formulas written out, and simulated data."""

import math

import numpy as np
import pytest
from scipy import stats

from workbench.evaluation import statistics


class TestShares:
    @pytest.mark.parametrize(
        ("n", "passed", "k", "chance"),
        [(1, 1, 1, 1), (1, 0, 1, 0), (4, 1, 1, 1 / 4), (4, 1, 2, 1 / 2), (4, 2, 2, 5 / 6), (5, 3, 3, 1)],
    )
    def test_pass_at_k(self, n, passed, k, chance):
        assert statistics.pass_at_k(n, passed, k) == pytest.approx(chance)

    @pytest.mark.parametrize(
        ("passed", "n", "low", "high"),
        # Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3.
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
    )
    def test_wilson_agrees_with_newcombes_table(self, passed, n, low, high):
        assert statistics.wilson(passed, n) == pytest.approx((low, high), abs=5e-5)

    @pytest.mark.parametrize(("passed", "n"), [(0, 7), (5, 10), (78, 164), (542, 542)])
    def test_wilson_agrees_with_its_formula(self, passed, n):
        p, z = passed / n, stats.norm.isf(0.025)
        middle, half = p + z**2 / 2 / n, z * math.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
        expected = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
        assert statistics.wilson(passed, n) == pytest.approx(expected, abs=1e-9)

    def test_wilson_of_nothing_is_anything(self):
        assert statistics.wilson(0, 0) == (0, 1)

    def test_mcnemar_agrees_with_binomial_sums(self):
        assert statistics.mcnemar(0, 5) == pytest.approx(2 * 0.5**5)
        assert statistics.mcnemar(1, 3) == pytest.approx(2 * (1 + 4) / 16)
        assert statistics.mcnemar(0, 0) == 1
        tail = sum(math.comb(180, i) for i in range(60)) / 2**180
        assert statistics.mcnemar(121, 59) == pytest.approx(2 * tail, rel=1e-9)


class TestHolm:
    def test_the_textbook_family(self):
        assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_never_above_one_and_in_the_order_given(self):
        assert statistics.holm([0.9, 0.6, 0.01]) == pytest.approx([1, 1, 0.03])
        assert len(statistics.holm([])) == 0


class TestBootstrap:
    def test_a_mean_and_its_interval(self):
        values = np.random.default_rng(0).normal(3, 1, 400)
        estimate = statistics.mean_interval(values)
        half = 1.96 * values.std(ddof=1) / 20
        assert estimate.value == pytest.approx(values.mean())
        assert (estimate.low, estimate.high) == pytest.approx(
            (values.mean() - half, values.mean() + half), abs=0.01
        )
        assert estimate.n == 400

    def test_repeating_each_task_narrows_nothing(self):
        values = np.random.default_rng(0).normal(size=30)
        once = statistics.mean_interval(values)
        repeated = statistics.mean_interval(np.repeat(values, 5), np.repeat(np.arange(30), 5))
        assert (once.low, once.high, once.n) == pytest.approx((repeated.low, repeated.high, repeated.n))
        alone = statistics.mean_interval(np.repeat(values, 5))
        assert alone.high - alone.low < 0.6 * (once.high - once.low)

    def test_clusters_of_unequal_size_weigh_by_their_values(self):
        assert statistics.mean_interval([1, 1, 1, 0], ["a", "a", "a", "b"]).value == 0.75
        assert statistics.mean_interval([1, 0], weights=[3, 1]).value == 0.75

    def test_the_order_of_the_rows_does_not_matter_to_the_value(self):
        first = statistics.mean_interval([1.0, 2.0, 4.0, 8.0], ["a", "b", "a", "b"])
        assert first.value == statistics.mean_interval([2.0, 8.0, 1.0, 4.0], ["b", "b", "a", "a"]).value

    def test_agreement_and_single_tasks_have_no_scatter(self):
        same = statistics.mean_interval([0.5] * 9)
        assert (same.low, same.high) == (0.5, 0.5)
        assert math.isnan(statistics.mean_interval([0.5, 0.7], ["a", "a"]).low)
        with pytest.raises(ValueError, match="no values"):
            statistics.mean_interval([])

    @pytest.mark.parametrize("per_task", [1, 4])
    def test_intervals_cover_the_true_mean(self, per_task, monkeypatch):
        """300 samples of 40 tasks from a skewed distribution; each task has values that depend on each
        other."""
        monkeypatch.setattr(statistics, "_RESAMPLES", 499)
        rng, covered = np.random.default_rng(0), 0
        tasks = np.repeat(np.arange(40), per_task)
        for _ in range(300):
            values = rng.gamma(4, 0.25, 40)[tasks] + rng.normal(0, 0.2, len(tasks))
            estimate = statistics.mean_interval(values, tasks)
            covered += estimate.low <= 1 <= estimate.high
        assert 0.91 <= covered / 300 <= 0.98


class TestPairedDifference:
    def test_second_minus_first(self):
        difference = statistics.paired_difference([1, 2, 3, 4], [2, 3, 5, 5])
        assert difference.value == 1.25
        assert difference.p_value == pytest.approx(2 / 2**4)  # all signs agree: the exact test's smallest p

    def test_pairing_removes_the_scatter_between_tasks(self):
        rng = np.random.default_rng(1)
        first = rng.normal(4, 2, 40)
        second = first + rng.normal(0.1, 0.1, 40)
        difference = statistics.paired_difference(first, second)
        assert difference.low > 0.05
        assert difference.high < 0.15
        assert difference.p_value < 0.001
        assert difference.detectable == pytest.approx(
            statistics.detectable_mean(40, np.std(second - first, ddof=1), paired=True)
        )

    def test_no_difference_at_all(self):
        difference = statistics.paired_difference([1, 2, 3], [1, 2, 3])
        assert (difference.value, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)

    def test_p_values_of_equal_models_are_small_as_often_as_they_should_be(self, monkeypatch):
        monkeypatch.setattr(statistics, "_RESAMPLES", 199)
        rng, small = np.random.default_rng(0), 0
        tasks = np.repeat(np.arange(20), 3)
        for _ in range(300):
            noise = rng.normal(size=20)[tasks] + rng.normal(size=60)
            small += statistics.paired_difference(np.zeros(60), noise, tasks).p_value <= 0.05
        assert 0.02 <= small / 300 <= 0.08


class TestPower:
    def test_power_agrees_with_published_examples(self):
        # R's documentation of power.t.test: n = 20, delta = 1, sd = 1.
        assert statistics.t_power(20, 1) == pytest.approx(0.8689528, abs=1e-6)
        # ... and that delta = 1 at a power of 0.9 needs 22.02 in each sample.
        assert statistics.needed_for_mean(1, 1, power=0.9) == 23
        # Cohen 1988: d = 0.5 takes 64 in each of two samples, or 34 pairs.
        assert statistics.needed_for_mean(0.5, 1) == 64
        assert statistics.needed_for_mean(0.5, 1, paired=True) == 34

    @pytest.mark.parametrize(("n", "deviations"), [(3, 3.1), (5, 2.0), (10, 1.3)])
    def test_few_seeds_detect_only_large_differences(self, n, deviations):
        assert statistics.detectable_mean(n, 1) == pytest.approx(deviations, abs=0.05)

    @pytest.mark.parametrize("paired", [False, True])
    @pytest.mark.parametrize("n", [2, 3, 10, 500])
    def test_the_detectable_difference_has_the_power_asked_for(self, n, paired):
        difference = statistics.detectable_mean(n, 2.5, paired=paired)
        assert statistics.t_power(n, difference / 2.5, paired=paired) == pytest.approx(0.8, abs=1e-9)
        assert statistics.needed_for_mean(difference * (1 + 1e-9), 2.5, paired=paired) == n

    def test_simulated_seeds_detect_it_four_times_in_five(self):
        rng = np.random.default_rng(0)
        shift = statistics.detectable_mean(5, 1)
        found = stats.ttest_ind(rng.normal(size=(5, 4000)), rng.normal(shift, 1, (5, 4000)))
        assert np.mean(found.pvalue < 0.05) == pytest.approx(0.8, abs=0.02)

    def test_shares(self):
        assert statistics.detectable_share(164) == pytest.approx(0.155, abs=5e-4)
        assert statistics.detectable_share(542) == pytest.approx(0.085, abs=5e-4)
        assert statistics.detectable_share(542, discordance=0.1) == pytest.approx(0.038, abs=5e-4)
        z = stats.norm.isf(0.025) + stats.norm.isf(0.2)
        assert statistics.detectable_share(100, share=0.2) == pytest.approx(z * math.sqrt(0.0032), abs=1e-9)
        assert statistics.needed_for_share(statistics.detectable_share(542)) in (542, 543)
        assert statistics.needed_for_share(0.04, discordance=0.1) == math.ceil(0.1 * (z / 0.04) ** 2)

    def test_what_cannot_be_planned(self):
        with pytest.raises(ValueError, match="at least 2"):
            statistics.detectable_mean(1, 1)
        with pytest.raises(ValueError, match="no number of seeds"):
            statistics.needed_for_mean(0, 1)
        with pytest.raises(ValueError, match="no number of tasks"):
            statistics.needed_for_share(0)
        assert statistics.needed_for_mean(1, 0) == 2
