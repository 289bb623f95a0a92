"""Figures as SVG, the packing preview, and the dashboard without plotly widgets."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import workbench as wb
from workbench import figures
from workbench.core.errors import UserError
from workbench.figures.axes import Axis
from workbench.figures.preview import first_batch


def drawn(figure: go.Figure, width: int = 600) -> ElementTree.Element:
    """`figure` as SVG, parsed, which fails unless it is well-formed."""
    return ElementTree.fromstring(figures.to_svg(figure, width))


def boxes(svg: ElementTree.Element) -> list[dict[str, float]]:
    names = ("x", "y", "width", "height")
    return [{name: float(r.get(name)) for name in names} for r in svg.iter("rect") if r.get("opacity")]


def test_bar_heights_are_proportional():
    figure = figures.style(go.Figure(go.Bar(x=["a", "b"], y=[10, 5])))
    tall, short = boxes(drawn(figure))
    assert tall["height"] == pytest.approx(2 * short["height"], abs=0.2)
    assert tall["y"] + tall["height"] == pytest.approx(short["y"] + short["height"], abs=0.2)
    assert tall["x"] + tall["width"] < short["x"]


def test_each_picture_has_its_own_hatch_pattern():
    """A page uses the first pattern of an id, even one in a hidden SVG."""
    figure = figures.packing_preview([wb.pack([4, 3, 5], max_length=6, strategy="pad", batch_size=3)])
    matches = [re.findall(r'id="(hatch\d+)"|url\(#(hatch\d+)\)', figures.to_svg(figure)) for _ in range(2)]
    names = [{name for pair in each for name in pair if name} for each in matches]
    assert [len(each) for each in names] == [1, 1]
    assert names[0] != names[1]
    assert "hatch" not in figures.to_svg(figures.style(go.Figure(go.Bar(x=["a"], y=[1]))))


def test_stacked_bars_stand_on_each_other():
    figure = go.Figure([go.Bar(x=[1], y=[4], width=1), go.Bar(x=[1], y=[2], width=1)])
    lower, upper = boxes(drawn(figures.style(figure).update_layout(barmode="stack")))
    assert upper["y"] + upper["height"] == pytest.approx(lower["y"], abs=0.2)
    assert lower["height"] == pytest.approx(2 * upper["height"], abs=0.3)


def test_bars_beside_each_other_do_not_overlap():
    figure = figures.style(go.Figure([go.Bar(x=["a"], y=[4]), go.Bar(x=["a"], y=[2])]))
    left, right = boxes(drawn(figure))
    assert left["x"] + left["width"] <= right["x"] + 0.2


def test_text_is_escaped_and_markup_removed():
    figure = figures.style(go.Figure(go.Bar(x=["&lt;script&gt;"], y=[1], name='"x" <y>')))
    figure.update_layout(title="<b>a</b> &lt;i&gt;<br>c")
    svg = figures.to_svg(figure)
    assert "<script" not in svg
    texts = ["".join(t.itertext()) for t in ElementTree.fromstring(svg).iter("text")]
    assert texts[0] == "a <i>c"
    assert "<script>" in texts


@pytest.mark.parametrize("name", ["histogram", "shares", "map", "padding", "loss"])
def test_every_kind_of_figure_is_drawn(name):
    ds = wb.first_look()
    selection = wb.select(ds, 0.4)
    table = ds.select_columns(["x", "y", "cluster", "instruction"]).to_pandas()
    made = {
        "histogram": lambda: figures.complexity_histogram(
            selection.candidates.ifd, selection.mask, (0.6, 0.7)
        ),
        "shares": lambda: figures.cluster_coverage(selection.report.clusters, wb.cluster_names(ds)),
        "map": lambda: figures.coverage_map(table, selection.mask, names=wb.cluster_names(ds)),
        "padding": lambda: figures.padding_rates({"pad": 0.4, "dynamic": 0.2}),
        "loss": lambda: figures.loss_curves({"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]}),
    }
    svg = drawn(made[name]())
    assert len(list(svg.iter())) > 15
    width, height = map(float, svg.get("viewBox").split()[2:])
    for box in boxes(svg):
        assert -1 <= box["x"] <= box["x"] + box["width"] <= width + 1
        assert -1 <= box["y"] <= box["y"] + box["height"] <= height + 1


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 4.0, ["0", "1", "2", "3", "4"]),
        (0.83, 2.1, ["1.0", "1.5", "2.0"]),
        (0, 700, ["0", "200", "400", "600"]),
        (700, 0, ["0", "200", "400", "600"]),
        (0.995, 1.005, ["0.996", "0.998", "1.000", "1.002", "1.004"]),
    ],
)
def test_an_axis_has_round_numbers(low, high, labels):
    assert [name for _, name in Axis(low, high, 0, 100).labels] == labels


def points_of(svg: str, shape: str = "polyline") -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(rf'<{shape} points="([^"]*)"', svg)
    ]


def live(history: list[dict]) -> str:
    return figures.to_svg(figures.live_curve(history), 640)


class TestLiveCurve:
    def test_three_steps_by_hand(self):
        # 560 pixels for steps 0 to 3; 160 from loss 2.06 down to 0.94, which leaves 6 % of room at each end.
        svg = live([{"step": i + 1, "loss": loss} for i, loss in enumerate([2.0, 1.0, 1.5])])
        assert points_of(svg) == [[(246.7, 64.6), (433.3, 207.4), (620.0, 136.0)]]
        assert svg.count("<circle") == 3
        assert "held-out" not in svg
        assert "pass@1" not in svg

    def test_each_measurement_has_a_mark_and_pass_at_1_its_own_axis(self):
        history = [{"step": 0, "heldout_loss": 2.0}]
        history += [{"step": i, "loss": 2.0 - i / 4} for i in (1, 2, 3)] + [{"step": 3, "pass_at_1": 0.5}]
        history.append({"step": 4, "loss": 1.0, "heldout_loss": None, "pass_at_1": 1.0})
        svg = live(history)
        assert points_of(svg) == [
            [(189.0, 100.3), (318.0, 136.0), (447.0, 171.7), (576.0, 207.4)],
            [(60.0, 64.6)],
            [(447.0, 136.0), (576.0, 56.0)],  # from 0 % at the bottom to 100 % at the top
        ]
        texts = ["".join(t.itertext()) for t in ElementTree.fromstring(svg).iter("text")]
        assert {"training loss", "held-out loss", "pass@1", "100%", "optimizer step"} <= set(texts)
        assert svg.count("scale(4.5)") == 3  # a diamond each
        assert svg.count('stroke-dasharray="6 4"') == svg.count('stroke-dasharray="2 4"') == 1

    def test_a_long_curve_is_the_mean_before_a_band(self):
        history = [{"step": i + 1, "loss": 1.0 + i % 2} for i in range(20_000)]
        svg = live(history)
        ((line,), (band,)) = points_of(svg), points_of(svg, "polygon")
        assert len(line) == 200
        assert {y for _, y in line} == {136.0}
        assert {y for _, y in band} == {64.6, 207.4}
        assert len(svg) < 20_000

    @pytest.mark.parametrize(
        ("losses", "low", "high"),
        [([1.0, 1.0], 0.995, 1.005), ([1.0, 1.0 + 1e-9], 0.995, 1.005), ([0.0, 0.0], -5e-7, 5e-7)],
        ids=["flat", "noise", "zero"],
    )
    def test_the_noise_of_a_flat_line_stays_small(self, losses, low, high):
        history = [{"step": i, "loss": loss} for i, loss in enumerate(losses)]
        assert figures.live_curve(history).layout.yaxis.range == pytest.approx((low, high), abs=1e-8)


def test_preview_shows_the_first_batch_with_its_padding():
    lengths = [4, 3, 5, 8, 6, 2]
    plans = [wb.pack(lengths, 10, name, batch_size=6, seed=None) for name in ("dynamic", "max")]
    assert first_batch(plans[0]) == [[2, 3, 4], [5], [6], [8]]  # the paper's example
    samples, padding = figures.packing_preview(plans).data[:2]
    assert list(zip(samples.base, samples.x, strict=True))[:3] == [(0, 2), (2, 3), (5, 4)]
    assert list(padding.x) == [0, 4, 3, 1]
    assert padding.marker.pattern.shape == "/"
    assert sum(figures.packing_preview(plans).data[3].x) == 6 * 10 - sum(lengths)


def test_preview_without_rows_is_empty():
    assert len(figures.packing_preview([wb.pack([], 10)]).data[0].x) == 0


def test_hostile_instructions_are_escaped_on_the_map():
    texts = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "$$x$$ \x1b[31m", None]
    table = pd.DataFrame({"x": range(4), "y": range(4), "cluster": [0, 0, 1, 1], "instruction": texts})
    figure = figures.coverage_map(table, np.array([True, False, True, False]), names={0: "<b>", 1: "x"})
    shown = "".join(figure.data[0].text) + "".join(trace.name for trace in figure.data)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>" not in shown


def test_core_mode_draws_pictures_that_are_updated():
    ds = wb.first_look()
    dashboard = wb.Workbench(ds, interactive="core", max_length=512)
    assert not {type(widget).__name__ for widget in _all(dashboard)} & {"FigureWidget", "Browser"}
    before = dashboard.bars.value, dashboard.map.value, dashboard.packing.picture.value
    dashboard.ratio.value = 70
    after = dashboard.bars.value, dashboard.map.value, dashboard.packing.picture.value
    assert dashboard.errors.last is None
    assert all(was != now and now.startswith("<svg") for was, now in zip(before, after, strict=True))
    with pytest.raises(UserError, match="interactive='image' is not known"):
        wb.Workbench(ds, interactive="image")


def _all(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all(child)


def test_the_picture_is_small_and_hidden_by_the_live_dashboard():
    dashboard = wb.Workbench(wb.first_look())
    html = dashboard.twin()._repr_html_()
    assert len(html) < 150_000
    assert len(re.findall("<svg ", html)) == 2
    assert f"body:has(.workbench-{dashboard.model_id})" in html
    assert f"workbench-{dashboard.model_id}" in dashboard._dom_classes
    assert f"{len(dashboard.selection.indices)}" in html


def test_a_table_without_scores_can_be_scored(monkeypatch):
    ds = wb.first_look()
    bare = wb.Workbench(ds.remove_columns(["ifd", "n_tokens", "cluster", "x", "y"]))
    assert bare.state is None
    assert "have no scores, clusters, map yet" in bare.offer.line.value
    assert re.search(r"takes about \d", bare.offer.line.value)
    monkeypatch.setattr("workbench.complexity.score", lambda *_, **__: ds)
    bare.offer.button.click()
    assert bare.errors.last is None
    assert len(bare.selection.indices) > 0
    assert bare.bars.data
    assert bare.offer not in bare.children


def test_a_table_that_cannot_be_scored_raises():
    with pytest.raises(UserError, match="column 'response' is missing"):
        wb.Workbench(wb.first_look().select_columns(["instruction"]))
