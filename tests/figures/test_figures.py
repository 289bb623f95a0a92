"""Figures have the expected traces, with finite values only."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import figures, packing
from workbench.core import tables


@pytest.fixture(scope="module")
def ds():
    return wb.first_look()


@pytest.fixture(scope="module")
def selection(ds):
    return wb.select(ds, 0.4)


def assert_drawn(figure, *points: int) -> None:
    """`figure` has one trace per number of `points`, with finite values and the common look."""
    assert [len(trace.y) for trace in figure.data] == list(points)
    for trace in figure.data:
        assert np.isfinite(np.asarray(trace.y, float)).all()
    assert figure.layout.title.text
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"  # readable on light and dark pages


def test_histogram_counts_every_row(ds, selection):
    figure = figures.complexity_histogram(tables.array(ds, "ifd"), selection.mask)
    bins = len(figure.data[0].x)
    assert_drawn(figure, bins, bins)
    kept, left = (sum(trace.y) for trace in figure.data)
    assert (kept, left) == (len(selection.indices), len(ds) - len(selection.indices))
    assert figure.layout.barmode == "stack"


def test_cluster_coverage_shows_both_shares(selection):
    figure = figures.cluster_coverage(selection.report.clusters)
    assert_drawn(figure, 10, 10)
    assert [sum(trace.x) for trace in figure.data] == pytest.approx([100, 100])


def test_padding_rates_are_labelled():
    rates = {name: wb.pack([4, 3, 5, 8], 10, name, batch_size=4).padding_rate for name in packing.PACKERS}
    figure = figures.padding_rates(rates)
    assert_drawn(figure, len(rates))
    assert figure.data[0].text == tuple(f"{100 * rate:.1f} %" for rate in rates.values())


def test_map_draws_kept_rows_on_top(ds, selection):
    table = ds.select_columns(["x", "y", "cluster", "instruction"]).to_pandas()
    figure = figures.coverage_map(table, selection.mask)
    everything, kept = figure.data[:2]
    assert (len(everything.x), len(kept.x)) == (len(ds), len(selection.indices))
    assert np.isfinite(everything.x).all()
    assert np.isfinite(everything.y).all()
    assert kept.marker.size > everything.marker.size
    in_legend = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in in_legend] == [str(label) for label in range(10)]
    looks = {(trace.marker.color, trace.marker.symbol) for trace in in_legend}
    assert len(looks) == 10  # although there are eight colours and eight symbols


def test_clusters_look_the_same_on_the_map_and_in_the_legend():
    table = pd.DataFrame({"x": [0.0, 1], "y": [0.0, 1], "cluster": [9, 3], "instruction": ["a<b", "c\nd"]})
    figure = figures.coverage_map(table, np.array([True, True]))
    legend = {int(trace.name): trace.marker for trace in figure.data[2:]}
    points = figure.data[1]
    for label, color, symbol in zip([9, 3], points.marker.color, points.marker.symbol, strict=True):
        assert (color, symbol) == (legend[label].color, legend[label].symbol)
    assert list(points.text) == ["9<br>a&lt;b", "3<br>c d"]


def test_loss_curves_have_a_line_for_each_run():
    histories = {"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}], "b": [{"step": 1, "loss": 2.5}]}
    figure = figures.loss_curves(histories)
    assert_drawn(figure, 2, 1)
    assert [trace.name for trace in figure.data] == ["a", "b"]


def test_loss_curves_show_measurements():
    history = [{"step": 0, "heldout_loss": 2.0}, {"step": 1, "loss": 1.5}]
    history.append({"step": 2, "loss": 1.25, "heldout_loss": 1.75, "pass_at_1": 0.5})
    figure = figures.loss_curves({"a": history})
    assert_drawn(figure, 2, 2, 1)
    assert [trace.name for trace in figure.data] == ["a", "a, held-out loss", "a, pass@1"]
    assert [trace.yaxis for trace in figure.data] == [None, "y", "y2"]
    assert figure.layout.yaxis2.side == "right"


def test_before_after_sets_the_base_model_apart():
    figure = figures.before_after(pd.DataFrame({"name": ["base", "tuned"], "loss": [1.5, 1.25]}))
    assert_drawn(figure, 2)
    assert figure.data[0].text == ("1.500", "1.250")
    assert len(set(figure.data[0].marker.color)) == 2


@pytest.mark.parametrize(
    "ifd",
    [
        pytest.param([], id="nothing"),
        pytest.param([np.nan, np.nan], id="nothing scored"),
        pytest.param([0.5, np.nan, 0.7], id="some not scored"),
        pytest.param([0.5] * 5, id="all equal"),
        pytest.param([0.2, 0.9, 40.0], id="one far above 1"),
    ],
)
def test_bins_hold_every_score(ifd):
    ifd = np.array(ifd, float)
    edges = figures.ifd_bins(ifd)
    assert (np.diff(edges) > 0).all()
    assert np.isclose(edges, 1.0).any()
    assert sum(figures.binned(ifd, edges)) == np.isfinite(ifd).sum()


def test_clusters_have_neither_the_colour_of_kept_rows_nor_that_of_others_and_all_look_different():
    looks = [figures.look_of(label) for label in range(96)]
    assert len(set(looks)) == 96
    for color, _ in looks:
        red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
        assert max(red, green) > blue * 0.95 or (red > green + 40)  # no blue
        assert max(red, green, blue) - min(red, green, blue) > 60  # no grey


def test_each_cluster_is_named_at_its_place_and_beside_its_bars():
    table = pd.DataFrame({"x": [0.0, 2, 5], "y": [0.0, 4, 1], "cluster": [1, 1, 3]})
    labels = figures.label_trace(table, {1: "dates, times", 3: "<b>"})
    assert (list(labels.x), list(labels.y)) == ([1.0, 5.0], [2.0, 1.0])
    assert list(labels.text) == ["<b>1</b> dates", "<b>3</b> &lt;b&gt;"]
    axis = figures.share_axis(pd.DataFrame({"cluster": [1, 3]}), {1: "dates, times", 3: "<b>"})
    assert axis["ticktext"][0] == f"{figures.swatch(1)} 1 · dates, times"
    assert "&lt;b&gt;" in axis["ticktext"][1]
