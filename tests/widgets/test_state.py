"""State and controls of the dashboard: each way to change a setting gives the same numbers."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

import workbench as wb
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.selection import ifd_cut
from workbench.widgets import Controls, ErrorPanel, Numbers, State


@pytest.fixture(scope="module")
def ds():
    return wb.first_look()


@pytest.fixture
def state(ds):
    return State(ds, max_length=512, batch_size=8)


def reproduced(state):
    """Selection and plan of the calls in `state.settings()`."""
    calls = state.settings()
    ds = wb.cluster(state.given, **calls["cluster"]) if calls["cluster"] else state.given
    selection = wb.select(ds, **calls["select"])
    return selection, wb.pack(selection.dataset, **calls["pack"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ratio": 0.25},
        {"rows": 77},
        {"tokens": 12_345},
        {"strategy": "random", "ratio": 0.2},
        {"strategy": "k-center", "rows": 20},
        {"by": "n_tokens"},
        {"strategy": "ifd-band", "lower": 0.1, "upper": 0.6},
        {"strategy": "ifd-band", "by": "ppl_response", "upper": 0.9},
        {"strategy": "k-center", "by": "n_tokens", "lower": 0.1, "rows": 20},
        {"k": 5},
        {"packing": "exact", "max_length": 700, "batch_size": 3},
    ],
    ids=str,
)
def test_its_settings_reproduce_rows_and_plan(state, changes):
    state.set(**changes)
    assert state.errors.last is None
    selection, plan = reproduced(state)
    np.testing.assert_array_equal(state.selection.indices, selection.indices)
    assert state.plan.rows == plan.rows


def test_controls_set_the_column_that_ranks_and_the_band(state):
    controls = Controls(state)
    assert controls.by.options[0] == "ifd"
    assert "n_tokens" in controls.by.options
    assert not {"cluster", "x", "y", "instruction"} & set(controls.by.options)
    assert (controls.by.disabled, controls.band.layout.display) == (False, "none")
    controls.strategy.value = "ifd-band"
    assert controls.band.layout.display is None
    controls.band.value = (0.5, 1.0)
    controls.by.value = "n_tokens"
    assert (state.now.lower, state.now.upper, state.now.by) == (0.5, 1.0, "n_tokens")
    selection, _ = reproduced(state)
    np.testing.assert_array_equal(state.selection.indices, selection.indices)
    assert selection.settings["by"] == "n_tokens"
    controls.strategy.value = "random"
    assert controls.by.disabled
    for changes, message in (
        ({"by": "instruction"}, "by='instruction': this column holds no numbers"),
        ({"lower": 0.9, "upper": 0.2}, "lower=0.9 must be below upper=0.2"),
    ):
        with pytest.raises(UserError, match=message):
            state.set(**changes)


def test_budgets_by_slider_and_field(state):
    controls, n = Controls(state), len(state.selection.indices)
    controls.unit.value = "rows"  # the same rows, counted
    assert (controls.ratio_field.value, len(state.selection.indices)) == (n, n)
    controls.ratio_field.value = 50
    assert len(state.selection.indices) == 50
    eligible = state.candidates.n_eligible
    assert controls.ratio.value == round(100 * 50 / eligible)
    controls.ratio.value = 20
    assert controls.ratio_field.value == round(0.2 * eligible) == len(state.selection.indices)
    controls.unit.value = "tokens"
    kept = state.selection.coverage.tokens_kept
    assert controls.ratio_field.value == kept
    controls.unit.value = "ratio"
    controls.ratio_field.value = 37.5
    assert state.settings()["select"]["ratio"] == 0.375
    assert state.errors.last is None


def test_new_clusters_keep_the_map_and_can_be_undone(state, ds):
    controls = Controls(state)
    assert controls.k.value == 10
    controls.k.value = 6
    assert state.settings()["cluster"] == {"k": 6, "seed": 42}
    assert len(state.selection.report.clusters) == len(state.names) == 6
    np.testing.assert_array_equal(tables.array(state.ds, "x"), tables.array(ds, "x"))
    controls.k.value = 10
    assert state.settings()["cluster"] is None
    np.testing.assert_array_equal(tables.array(state.ds, "cluster"), tables.array(ds, "cluster"))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"ratio": 0}, "ratio=0 must be above 0"),
        ({"rows": 0}, "rows=0 must be a whole number"),
        ({"strategy": "best"}, "strategy='best' is not known"),
        ({"packing": "tight"}, "packing='tight' is not known"),
        ({"k": 345}, "k=345 must be a whole number from 1 to 344, the number of rows"),
        ({"max_length": 0}, "max_length=0"),
    ],
    ids=str,
)
def test_wrong_settings_change_nothing(state, wrong, text):
    before = state.now
    with pytest.raises(UserError, match=text):
        state.set(**wrong)
    assert state.now == before


def test_a_budget_of_zero_is_an_error(state):
    controls = Controls(state)
    controls.ratio_field.value = 0
    assert "ratio=0.0 must be above 0" in state.errors.value


def test_each_step_of_a_drag_changes_and_the_end_settles_once(state):
    calls = {"change": 0, "settle": 0}
    state.on_change(lambda: calls.update(change=calls["change"] + 1))
    state.on_settle(lambda: calls.update(settle=calls["settle"] + 1))

    async def drag():
        for percent in range(30, 60):
            state.set(ratio=percent / 100)
        await asyncio.sleep(0.6)

    asyncio.run(drag())
    assert calls == {"change": 30, "settle": 1}
    np.testing.assert_array_equal(state.selection.indices, wb.select(state.ds, 0.59).indices)
    assert len(state.before.indices) == len(wb.select(state.ds, 0.4).indices)


@pytest.mark.parametrize("strategy", ["ifd-cluster", "ifd-top", "random"])
def test_the_cut_is_the_lowest_kept_ifd(ds, strategy):
    selection = wb.select(ds, 0.3, strategy)
    ifd, cut = tables.array(ds, "ifd"), ifd_cut(selection)
    lowest = ifd[selection.indices].min()
    if strategy == "random":
        assert cut is None
    elif strategy == "ifd-top":
        assert cut == (lowest, lowest)
    else:
        firsts = [ifd[rows].min() for rows in _by_cluster(selection)]
        assert cut == (min(firsts), max(firsts))


def _by_cluster(selection):
    labels = selection.candidates.cluster[selection.indices]
    return [selection.indices[labels == label] for label in np.unique(labels)]


def test_an_async_callback_shows_its_exception():
    errors = ErrorPanel()

    @errors.guard
    async def fails():
        raise UserError("ratio=2 is too much; <b>give</b> less.")

    asyncio.run(fails())
    assert "ratio=2 is too much; &lt;b&gt;give&lt;/b&gt; less." in errors.value
    assert "UserError</b>" not in errors.value  # its sentence is enough
    errors.show(KeyError("x"))
    assert "KeyError" in errors.value
    assert "Change a setting to continue" in errors.value


def test_a_predicted_cost_is_shown_and_follows_the_plan(state):
    numbers = Numbers(state)
    assert "predicted time" not in numbers.value
    state.touch()
    state.price(lambda plan: SimpleNamespace(seconds=60.0 * plan.n_rows, peak_bytes=3 * 2**30))
    assert f">{state.plan.n_rows:,}.0</div>" in numbers.value
    assert ">3.0</div>" in numbers.value
    before = state.plan.n_rows
    state.set(ratio=0.6)
    assert f"\u25b2 {state.plan.n_rows - before}.0" in numbers.value
