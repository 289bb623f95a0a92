"""The dashboard without a browser: it shows what the functions of `workbench` return."""

import asyncio
import json
import re

import numpy as np
import pytest
from pages import numbers_in

import workbench as wb
from workbench import packing, selection
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.cost import Calibration
from workbench.widgets import cost
from workbench.widgets.numbers import Number, html_of
from workbench.widgets.views import (
    HISTOGRAM_KEPT,
    HISTOGRAM_LEFT,
    MAP_ALL,
    MAP_KEPT,
    MAP_MAX_ROWS,
    MAP_SAMPLE,
    SHARES_KEPT,
    SVG_POINTS,
)

PACKINGS = ("pad", "dynamic")  # of the preview


@pytest.fixture(scope="module")
def ds():
    return wb.first_look()


@pytest.fixture
def dashboard(ds):
    return wb.Workbench(ds, ratio=0.4, max_length=512, batch_size=8)


def numbers_of(dashboard) -> dict[str, str]:
    """Name -> text of each number."""
    return numbers_in(dashboard.numbers.value)


def changes_of(dashboard) -> dict[str, str]:
    """Name -> text of the change below each number."""
    cell = r'data-name="([^"]+)">.*?class="change">([^<]*)</div>'
    return dict(re.findall(cell, dashboard.numbers.value))


def assert_shows(dashboard, ratio: float, strategy: str = "ifd-cluster") -> None:
    """Every part of `dashboard` agrees with direct calls of the functions."""
    ds = dashboard.ds
    expected = wb.select(ds, ratio, strategy)
    np.testing.assert_array_equal(dashboard.selection.indices, expected.indices)

    lengths, report = tables.array(ds, "n_tokens")[expected.indices], expected.report
    shown = numbers_of(dashboard)
    assert shown["rows kept"] == f"{len(expected.indices):,}"
    assert shown["tokens kept"] == f"{lengths.sum():,}"
    assert shown["mean IFD"] == f"{report.mean_ifd_kept:.3f}"
    assert shown["clusters lost"] == str(report.clusters_lost)

    bars = dashboard.bars.data
    assert sum(bars[HISTOGRAM_KEPT].y) == np.isfinite(tables.array(ds, "ifd")[expected.indices]).sum()
    assert sum(bars[HISTOGRAM_LEFT].y) + sum(bars[HISTOGRAM_KEPT].y) == report.n_rows
    np.testing.assert_allclose(bars[SHARES_KEPT].x, 100 * report.clusters["of_kept"])
    for name in PACKINGS:
        plan = wb.pack(lengths, max_length=512, strategy=name, batch_size=8)
        assert f"{name}: {plan.padding_rate:.1%} padding" in dashboard.packing.picture.value
    assert shown["padding"] == f"{wb.pack(lengths, 512, batch_size=8).padding_rate:.1%}"

    on_map = dashboard.map.data[MAP_KEPT]
    np.testing.assert_array_equal(on_map.x, tables.array(ds, "x")[expected.indices])
    np.testing.assert_array_equal(on_map.y, tables.array(ds, "y")[expected.indices])


def test_shows_the_selection_it_was_built_with(dashboard, ds):
    assert_shows(dashboard, 0.4)
    assert len(dashboard.map.data[MAP_ALL].x) == len(ds)
    assert dashboard.errors.last is None
    assert dashboard.errors.value == ""
    assert repr(dashboard) == f"<Workbench of {len(ds)} rows, {len(dashboard.selection.indices)} kept>"


def test_numbers_show_their_meaning_and_their_change(dashboard):
    assert 'title="clusters without a kept row"' in dashboard.numbers.value
    assert "the clusters&#x27; shares" in dashboard.numbers.value  # quotes are escaped
    before = len(dashboard.selection.indices)
    dashboard.ratio.value = 50
    more = len(dashboard.selection.indices) - before
    assert changes_of(dashboard)["rows kept"] == f"\u25b2 {more}"
    dashboard.ratio.value = 40
    assert changes_of(dashboard)["rows kept"] == f"\u25bc {more}"
    assert changes_of(dashboard)["clusters lost"] == ""


def test_a_change_that_rounds_to_zero_is_none_and_a_large_one_is_in_millions():
    assert Number(0.00516, "{:.4f}").since(Number(0.00514, "{:.4f}")) == ""
    assert Number(0.0053, "{:.4f}").since(Number(0.0052, "{:.4f}")) == "\u25b2 0.0001"
    assert Number(2e6, "{:,}").since(Number(12_380_127, "{:,}")) == "\u25bc 10.38 M"


@pytest.mark.parametrize(
    ("strategy", "budget", "note"),
    [
        ("ifd-cluster", {"ratio": 0.4}, "40 % of 30 rows, rounded down in each cluster."),
        ("ifd-cluster", {"ratio": 0.01}, "1 % of 30 rows is less than one row in each cluster."),
        ("random", {"ratio": 0.4}, "40 % of 30 rows."),
        ("random", {"ratio": 0.01}, "1 % of 30 rows is less than one row."),
        ("ifd-top", {"rows": 7}, "Shares are of all 30 rows."),
    ],
)
def test_the_numbers_say_how_their_share_follows_from_the_budget(ds, strategy, budget, note):
    assert f"<p>{note}</p>" in html_of(wb.select(ds.select(range(30)), strategy=strategy, **budget))


def test_the_share_names_the_rows_that_are_not_eligible(ds):
    few = ds.select(range(30))
    scores = [1.5, *few["ifd"][1:]]
    few = few.remove_columns("ifd").add_column("ifd", scores)
    note = "40 % of the 29 eligible of 30 rows, rounded down in each cluster."
    assert f"<p>{note}</p>" in html_of(wb.select(few))


@pytest.mark.parametrize("percent", [10, 71, 100])
def test_the_slider_moves_everything(dashboard, percent):
    dashboard.ratio.value = percent
    assert_shows(dashboard, percent / 100)


def test_slider_and_number_field_agree(dashboard):
    dashboard.controls.ratio_field.value = 15
    assert dashboard.ratio.value == 15
    assert_shows(dashboard, 0.15)
    dashboard.ratio.value = 60
    assert dashboard.controls.ratio_field.value == 60


@pytest.mark.parametrize("strategy", ["ifd-top", "random"])
def test_another_strategy_moves_everything(dashboard, strategy):
    dashboard.strategy.value = strategy
    assert_shows(dashboard, 0.4, strategy)


def test_the_unit_says_which_rows_the_ratio_refers_to(dashboard):
    assert dashboard.controls.unit.label == "% of eligible rows"
    dashboard.strategy.value = "random"
    assert dashboard.controls.unit.label == "% of all rows"


def test_a_ratio_that_keeps_no_row_is_shown(ds):
    dashboard = wb.Workbench(ds.select(range(30)), ratio=0.4)
    dashboard.ratio.value = 1
    assert dashboard.errors.last is None
    assert numbers_of(dashboard)["rows kept"] == "0"
    assert len(dashboard.map.data[MAP_KEPT].x) == 0


@pytest.mark.parametrize("strategy", sorted(selection.STRATEGIES))
def test_every_strategy_can_be_chosen(ds, strategy):
    dashboard = wb.Workbench(ds, ratio=0.3, strategy=strategy, max_length=512, batch_size=8)
    assert_shows(dashboard, 0.3, strategy)
    dashboard.ratio.value = 35
    assert_shows(dashboard, 0.35, strategy)
    shown, coverage = numbers_of(dashboard), dashboard.selection.coverage
    assert shown["MMD"] == f"{coverage.mmd:.4f}"
    assert shown["coverage radius"] == f"{coverage.radius:.3f}"
    assert shown["near-duplicates"] == f"{coverage.near_duplicates:.1%}"
    of_all = selection.STRATEGIES[strategy].ratio_pool == "all"
    assert dashboard.controls.unit.label == ("% of all rows" if of_all else "% of eligible rows")
    assert dashboard.errors.last is None


def test_the_histogram_shows_the_column_that_ranks_and_the_band(ds):
    dashboard = wb.Workbench(ds, ratio=0.3, max_length=512, batch_size=8)
    bars, kept = dashboard.bars, dashboard.bars.data[0]
    dashboard.strategy.value = "ifd-band"
    low, high = selection.band(dashboard.selection)
    shape, note = bars.layout.shapes[1], bars.layout.annotations[-1]
    assert (shape.x0, shape.x1, shape.visible) == (low, high, True)
    assert note.text == f"bands of the clusters: {low:.3f} to {high:.3f}"
    dashboard.controls.by.value = "n_tokens"
    assert dashboard.errors.last is None
    assert bars.layout.xaxis.title.text == "n_tokens"
    assert bars.layout.annotations[0].text == "Complexity: rows by n_tokens"
    assert not bars.layout.shapes[0].visible  # IFD 1
    assert sum(kept.y) == len(dashboard.selection.indices)
    assert sum(bars.data[1].y) == len(ds) - len(dashboard.selection.indices)
    tokens = np.array(ds["n_tokens"][:])
    assert tokens.min() <= min(kept.x) < max(kept.x) <= tokens.max()
    dashboard.strategy.value = "random"
    assert bars.layout.xaxis.title.text == "IFD"
    assert bars.layout.shapes[0].visible


def test_the_menu_has_the_strategies_whose_columns_exist(ds):
    dashboard = wb.Workbench(ds.remove_columns("embedding"))
    assert {"ifd-cluster", "ifd-quota", "random"} <= set(dashboard.strategy.options)
    assert {"k-center", "deita", "parametric"} & set(dashboard.strategy.options) == set()
    assert "MMD" not in numbers_of(dashboard)
    with pytest.raises(UserError, match=r"column 'embedding' is missing.*make it with wb\.embed first"):
        wb.Workbench(ds.remove_columns("embedding"), strategy="k-center")


def test_a_user_defined_strategy_is_in_the_menu(ds, monkeypatch):
    monkeypatch.setitem(selection.STRATEGIES, "shortest", None)

    @wb.strategy("shortest", needs=("n_tokens",))
    def shortest(candidates, n, rng):
        return np.argsort(candidates.column("n_tokens"), kind="stable")

    dashboard = wb.Workbench(ds, max_length=512, batch_size=8)
    dashboard.strategy.value = "shortest"
    assert_shows(dashboard, 0.4, "shortest")


def test_an_exception_is_shown_until_something_succeeds(dashboard, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(selection.Explorer, "at", lambda *_, **__: 1 / 0)
        dashboard.ratio.value = 50
        assert isinstance(dashboard.errors.last, ZeroDivisionError)
        assert "ZeroDivisionError" in dashboard.errors.value
        assert "division by zero" in dashboard.errors.value
    dashboard.ratio.value = 55
    assert dashboard.errors.last is None
    assert dashboard.errors.value == ""
    assert_shows(dashboard, 0.55)


def test_an_exception_after_settling_is_shown(dashboard, monkeypatch):
    monkeypatch.setattr(packing, "pack", lambda *_, **__: 1 / 0)
    dashboard.ratio.value = 50
    assert isinstance(dashboard.errors.last, ZeroDivisionError)


async def _drag(dashboard, *percents: int) -> None:
    """Set the slider faster than it comes to rest, then wait."""
    for percent in percents:
        dashboard.ratio.value = percent
    await asyncio.sleep(1)


def test_with_an_event_loop_slow_parts_wait_until_the_slider_rests(dashboard, monkeypatch):
    packed, pack = [], packing.pack
    monkeypatch.setattr(packing, "pack", lambda *args, **more: packed.append(args) or pack(*args, **more))
    asyncio.run(_drag(dashboard, 50, 60, 70))
    # The numbers need the chosen strategy's plan at each step, the preview all others' once.
    assert [strategy for _, _, strategy in packed] == ["dynamic"] * 3 + ["pad"]
    monkeypatch.undo()
    assert_shows(dashboard, 0.7)


def test_a_late_update_does_not_hide_a_newer_exception(dashboard, monkeypatch):
    state, select = dashboard.state, dashboard.state._select
    amount = lambda: state.now.amount  # noqa: E731
    monkeypatch.setattr(state, "_select", lambda *args: 1 / 0 if amount() == 0.6 else select(*args))
    asyncio.run(_drag(dashboard, 50, 60))
    assert isinstance(dashboard.errors.last, ZeroDivisionError)


def test_the_text_of_an_exception_is_escaped(dashboard):
    dashboard.errors.show(ValueError("<script>alert(1)</script>"))
    assert "<script>" not in dashboard.errors.value


def test_a_wrong_ratio_raises(ds):
    with pytest.raises(UserError, match="ratio=0 must be above 0"):
        wb.Workbench(ds, ratio=0)


def test_many_rows_are_sampled_on_the_map_but_counted_in_full(ds):
    few = ds.select_columns(["ifd", "cluster", "x", "y", "n_tokens", "instruction", "response"])
    many = few.select(np.arange(MAP_MAX_ROWS + 2_000) % len(few))
    dashboard = wb.Workbench(many)
    assert len(dashboard.map.data[MAP_ALL].x) <= SVG_POINTS
    dashboard.browser[0].webgl = True
    assert MAP_SAMPLE - 10 <= len(dashboard.map.data[MAP_ALL].x) <= MAP_SAMPLE
    assert "of 22,000 rows drawn over the density of all" in dashboard.map.layout.title.text
    assert "<svg" in dashboard.twin().html
    json.dumps([view.get_state() for view in (dashboard.map, dashboard.bars)], default=repr, allow_nan=False)
    kept = wb.select(many, 0.4).indices
    assert 0 < len(dashboard.map.data[MAP_KEPT].x) < len(kept)
    assert numbers_of(dashboard)["rows kept"] == f"{len(kept):,}"
    assert sum(dashboard.bars.data[HISTOGRAM_KEPT].y) == len(kept)


def pick(dashboard, rows: list[int]) -> None:
    """Send the message of a page on which points are clicked or selected."""
    (browser,) = dashboard.browser
    browser._handle_custom_msg({"rows": rows}, [])


def test_picked_points_are_listed(dashboard):
    pick(dashboard, [5, 0])
    assert (dashboard.inspector.list.rows, dashboard.inspector.row) == ([0, 5], 0)


def test_a_picked_point_opens_its_row(dashboard):
    row = int(dashboard.map.data[MAP_KEPT].customdata[2])
    assert row == dashboard.selection.indices[2]
    pick(dashboard, [row])
    assert dashboard.inspector.row == row
    assert dashboard.tabs.get_title(dashboard.tabs.selected_index) == "Rows"
    assert dashboard.inspector.verdict.value.startswith("<b>Kept")
    dashboard.ratio.value = 1  # what is open follows the selection
    dashboard.state.touch()
    kept = row in dashboard.selection.indices
    assert kept == dashboard.inspector.verdict.value.startswith("<b>Kept")


def test_training_uses_the_packing_shown(dashboard):
    form = dashboard.training.form
    dashboard.controls.packing.value, form.batch_size.value = "balanced", 3
    assert form.strategy.value == dashboard.state.now.packing == dashboard.state.plan.strategy == "balanced"
    assert dashboard.state.now.batch_size == 3


def test_a_prediction_is_among_the_numbers(dashboard, monkeypatch):
    known = Calibration(0.0, 0.0, 1e-2, 0.0, 2.0**30, 0.0, 0.0)
    monkeypatch.setattr(cost, "calibrate", lambda *args, **settings: known)
    monkeypatch.setattr(cost, "stored", lambda *args, **settings: None)
    assert "predicted time" not in numbers_of(dashboard)  # what is not known is not shown
    dashboard.cost.button.click()
    minutes = known.predict(dashboard.state.plan).seconds / 60
    assert numbers_of(dashboard)["predicted time"].startswith(f"{minutes:.1f}")
    assert numbers_of(dashboard)["predicted memory"].startswith("1.0")
