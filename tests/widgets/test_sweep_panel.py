"""The panel of a sweep: what it shows, how it follows, stops and resumes, and attaches again."""

import asyncio

import pytest
from sweeps import FAST, rows
from trainings import until

import workbench as wb
from workbench.core.errors import UserError
from workbench.widgets import sweep as panels

pytestmark = pytest.mark.slow  # trains


@pytest.fixture
def sweep(toy_model_dir, tmp_path):
    settings = FAST | {"epochs": 8}
    return wb.sweep(
        rows(), rows(6, 100), toy_model_dir("llama"), tmp_path, ratios=(1.0,), detached=False, **settings
    )


def visible(widget) -> bool:
    return widget.layout.display != "none"


def test_a_panel_follows_a_sweep_to_its_verdict(sweep, monkeypatch):
    monkeypatch.setattr(panels.SweepPanel, "_interval", 0.05)

    async def follow():
        panel = wb.widgets.SweepPanel(sweep)
        assert panel.active
        assert visible(panel.stop)
        assert not visible(panel.resume)
        assert "no cell is finished" in panel.verdict.value
        assert ">unknown<" in panel.numbers.value
        while panel.active:
            await asyncio.sleep(0.05)
        return panel

    panel = asyncio.run(follow())
    assert panel.errors.last is None
    assert "3 of 3" in panel.numbers.value
    assert "all rows at 100%" in panel.chart.value
    assert "nothing to compare" in panel.html
    assert "<svg" in panel.html
    assert "all rows" in panel.means.value
    assert not visible(panel.stop)
    assert repr(panel).startswith("<SweepPanel of <Sweep ")


def test_a_new_panel_stops_and_resumes_the_sweep_in_a_folder(sweep, tmp_path):
    until(lambda: sweep.progress["done"])
    panel = wb.widgets.SweepPanel(tmp_path)  # as after a restart of the kernel
    panel.stop.click()
    sweep.wait()
    panel.refresh()
    assert visible(panel.resume)
    assert "stopped" in panel.status.value
    panel.resume.click()
    assert panel.sweep.active
    assert sweep.wait().status == "done"
    panel.refresh()
    assert panel.errors.last is None
    assert "3 of 3" in panel.numbers.value


def test_the_time_to_come_follows_from_a_stored_calibration(sweep, monkeypatch):
    sweep.stop()

    class Calibrated:
        pass_seconds, step_seconds, token_seconds = 0.0, 2.0, 0.0

    monkeypatch.setattr(panels, "stored", lambda *_, **settings: None)
    assert panels.predicted(sweep) is None
    monkeypatch.setattr(panels, "stored", lambda *_, **settings: Calibrated)
    waiting = sweep.table[sweep.table["status"] != "done"]
    assert panels.predicted(sweep) == 2 * waiting["steps"].sum()


def test_a_folder_without_a_sweep_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no sweep"):
        wb.widgets.SweepPanel(tmp_path)
