"""Tables -> plotly figures; computes nothing but bins."""

from .bars import (
    binned,
    cluster_coverage,
    complexity_histogram,
    histogram_traces,
    ifd_bins,
    limit_line,
    padding_rates,
    padding_trace,
    share_traces,
)
from .look import ACCENT, KEPT, LEFT_OUT, PALETTE, SYMBOLS, style
from .map import coverage_map, map_traces
from .pass_rates import VERDICTS, evaluation, flips, verdicts
from .strategies import cluster_counts, comparison, overlap
from .tokens import Html, token_gains
from .training import before_after, loss_curves

__all__ = [
    "ACCENT",
    "KEPT",
    "LEFT_OUT",
    "PALETTE",
    "SYMBOLS",
    "VERDICTS",
    "Html",
    "before_after",
    "binned",
    "cluster_counts",
    "cluster_coverage",
    "comparison",
    "complexity_histogram",
    "coverage_map",
    "evaluation",
    "flips",
    "histogram_traces",
    "ifd_bins",
    "limit_line",
    "loss_curves",
    "map_traces",
    "overlap",
    "padding_rates",
    "padding_trace",
    "share_traces",
    "style",
    "token_gains",
    "verdicts",
]
