"""The quickstart's dashboard in a real JupyterLab and a real browser: keys on the slider move everything."""

import time

import pytest
from browsing import RUN_TO_TAGGED, jupyter, no_error_in, until

pytestmark = [pytest.mark.browser, pytest.mark.model]

SHOWN = """() => {
    const [bars, map] = document.querySelectorAll(".workbench-dashboard .js-plotly-plot");
    const values = (trace, axis) => Array.from(trace[axis]);
    if (!bars?.data?.length || !map?.data?.length || !map.querySelector(".main-svg")) return null;
    return {
        numbers: document.querySelector(".workbench-numbers").innerText,
        histogram: values(bars.data[1], "y"),
        padding: values(bars.data[4], "y"),
        on_map: values(map.data[1], "x").length,
        errors: document.querySelector(".workbench-errors").innerText.trim(),
        narrower: [bars, map].map((plot) => plot.parentElement.clientWidth - plot._fullLayout.width),
    };
}"""


def settled(shown: dict, before: dict) -> dict | None:
    """`shown` once bars and map have both left `before` and agree."""
    moved = shown["histogram"] != before["histogram"] and shown["on_map"] != before["on_map"]
    return shown if moved and sum(shown["histogram"]) == shown["on_map"] else None


@pytest.fixture
def page(tmp_path):
    with jupyter(tmp_path, ["00_quickstart"]) as lab, lab.opened("00_quickstart") as page:
        yield page


def test_keys_on_the_slider_move_the_dashboard(page):
    page.evaluate(RUN_TO_TAGGED, "dashboard")
    before = until(lambda: no_error_in(page) and page.evaluate(SHOWN))
    assert sum(before["histogram"]) == before["on_map"] > 0
    # Pixels; plotly begins with figures of 700, and they shall be as wide as the page.
    until(lambda: max(map(abs, page.evaluate(SHOWN)["narrower"])) < 40)

    handle = page.locator(".workbench-dashboard .noUi-handle")
    handle.focus()
    for key in ("PageUp", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
        time.sleep(0.3)  # a person's pace
    # Numbers and bars are there at once, padding and the map when the slider rests.
    after = until(lambda: settled(page.evaluate(SHOWN), before))
    assert after["numbers"] != before["numbers"]
    assert sum(after["histogram"]) == after["on_map"] > before["on_map"]
    assert after["errors"] == ""

    page.keyboard.press("Home")
    fewest = until(lambda: settled(page.evaluate(SHOWN), after))
    assert sum(fewest["histogram"]) == fewest["on_map"] < before["on_map"]
    assert fewest["errors"] == ""
    assert page.complaints == []
