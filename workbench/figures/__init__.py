"""Plotly figures of tables and reports. Nothing is computed here but histogram bins."""

from .bars import (
    binned,
    cluster_coverage,
    cluster_labels,
    complexity_histogram,
    cut_note,
    cut_shape,
    histogram_traces,
    ifd_bins,
    limit_line,
    padding_rates,
    padding_trace,
    score_bins,
    share_axis,
    share_traces,
)
from .inspection import inspection
from .look import ACCENT, CLUSTERS, KEPT, LEFT_OUT, PALETTE, SYMBOLS, look_of, style, swatch
from .map import (
    SVG_POINTS,
    coverage_map,
    density,
    label_trace,
    legend_traces,
    map_title,
    map_traces,
    points_kept,
)
from .pass_rates import VERDICTS, evaluation, flips, verdicts
from .preview import packing_preview
from .strategies import cluster_counts, comparison, overlap
from .svg import to_svg
from .sweep import sweep
from .tokens import Html, token_gains
from .training import before_after, live_curve, loss_curves

__all__ = [
    "ACCENT",
    "CLUSTERS",
    "KEPT",
    "LEFT_OUT",
    "PALETTE",
    "SVG_POINTS",
    "SYMBOLS",
    "VERDICTS",
    "Html",
    "before_after",
    "binned",
    "cluster_counts",
    "cluster_coverage",
    "cluster_labels",
    "comparison",
    "complexity_histogram",
    "coverage_map",
    "cut_note",
    "cut_shape",
    "density",
    "evaluation",
    "flips",
    "histogram_traces",
    "ifd_bins",
    "inspection",
    "label_trace",
    "legend_traces",
    "limit_line",
    "live_curve",
    "look_of",
    "loss_curves",
    "map_title",
    "map_traces",
    "overlap",
    "packing_preview",
    "padding_rates",
    "padding_trace",
    "points_kept",
    "score_bins",
    "share_axis",
    "share_traces",
    "style",
    "swatch",
    "sweep",
    "to_svg",
    "token_gains",
    "verdicts",
]
