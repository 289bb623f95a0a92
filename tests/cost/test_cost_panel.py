"""The cost panel: it shows a cached calibration at once and measures on a click, without blocking."""

import asyncio
import threading

from workbench import packing
from workbench.cost import Calibration
from workbench.widgets import ErrorPanel
from workbench.widgets import cost as panel

CALIBRATION = Calibration(0.5, 0.25, 0.01, 0.0001, 1000.0, 300.0, 20.0)


class Dashboard:
    """A `CostPanel` with a plan and settings that tests change, like the sliders of a dashboard."""

    def __init__(self, **settings):
        self.lengths, self.errors = [3, 7, 5], ErrorPanel()
        self.settings = {"model": "some", "epochs": 1, "method": "lora"} | settings
        self.panel = panel.CostPanel(
            lambda: packing.pack(self.lengths, 20, "flat", batch_size=2), lambda: self.settings, self.errors
        )

    @property
    def text(self) -> str:
        return self.panel.line.value.removeprefix("<span>").removesuffix("</span>")

    @property
    def offers_measuring(self) -> bool:
        return self.panel.button.layout.display != "none"


def test_a_cached_calibration_is_shown_without_a_click(monkeypatch):
    lookups = []
    monkeypatch.setattr(panel, "stored", lambda **settings: lookups.append(settings) or CALIBRATION)
    dashboard = Dashboard()
    assert dashboard.text == "Training on this: 2 steps, about 2 s, peak 0.0 GiB"
    assert not dashboard.offers_measuring
    dashboard.lengths = [5] * 200
    dashboard.settings |= {"epochs": 3}
    dashboard.panel.refresh()
    assert dashboard.text == "Training on this: 300 steps, about 4 min, peak 0.0 GiB"
    assert lookups == [{"model": "some", "method": "lora"}]  # another number of epochs needs no lookup


def test_settings_without_a_calibration_offer_measuring(monkeypatch):
    monkeypatch.setattr(panel, "stored", lambda method, **other: CALIBRATION if method == "lora" else None)
    dashboard = Dashboard()
    dashboard.settings |= {"method": "full"}
    dashboard.panel.refresh()
    assert dashboard.offers_measuring
    assert dashboard.text == ""
    dashboard.settings |= {"method": "lora"}
    dashboard.panel.refresh()
    assert dashboard.text.startswith("Training on this")


def test_a_click_measures_in_the_background(monkeypatch):
    monkeypatch.setattr(panel, "stored", lambda **settings: None)
    started, done = threading.Event(), threading.Event()

    def slow(**settings):
        started.set()
        assert done.wait(10)
        return CALIBRATION

    monkeypatch.setattr(panel, "calibrate", slow)

    async def in_a_notebook():
        dashboard = Dashboard()
        dashboard.panel.button.click()
        await asyncio.to_thread(started.wait, 10)
        dashboard.panel.refresh()  # as when the slider moves
        assert dashboard.text == "measuring a few training steps …"
        assert dashboard.panel.button.disabled
        done.set()
        while dashboard.panel.button.disabled:
            await asyncio.sleep(0.01)
        return dashboard

    dashboard = asyncio.run(in_a_notebook())
    assert dashboard.text.startswith("Training on this: 2 steps")
    assert dashboard.errors.last is None


def test_a_failed_measurement_shows_its_error_and_can_be_repeated(monkeypatch):
    monkeypatch.setattr(panel, "stored", lambda **settings: None)
    dashboard = Dashboard(model="nowhere", metod="lora")
    assert dashboard.errors.last is None  # a lookup shows no errors
    dashboard.panel.button.click()
    assert "setting='metod' is not known" in str(dashboard.errors.last)
    assert dashboard.offers_measuring
    assert not dashboard.panel.button.disabled
    assert dashboard.text == ""
