"""The dashboard in JupyterLab and a browser: keys on the slider update every part."""

import time

import pytest
from browsing import DARK, NO_WEBGL, RUN_ALL, STDERR_OF_CELLS, WEBGL, jupyter, keep, no_error_in, until

import workbench as wb

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SHOWN = """() => {
    const [bars, map] = document.querySelectorAll(".workbench-dashboard .js-plotly-plot");
    const values = (trace, axis) => Array.from(trace[axis]);
    if (!bars?.data?.length || !map?.data?.length || !map.querySelector(".main-svg")) return null;
    if (!document.querySelector(".workbench-packing svg")) return null;
    return {
        numbers: document.querySelector(".workbench-numbers").innerText,
        histogram: values(bars.data[0], "y"),
        left_out: values(bars.data[1], "y"),
        packing: document.querySelector(".workbench-packing svg").getAttribute("aria-label"),
        on_map: values(map.data[2], "x").length,
        all_on_map: values(map.data[1], "x").length,
        map_kind: map.data[2].type,
        labels: [bars, map].map((plot) => plot.getAttribute("aria-label")),
        slider: document.querySelector(".workbench-keep .noUi-handle").getAttribute("aria-label"),
        percent: document.querySelector(".workbench-controls input[type=number]").value,
        errors: document.querySelector(".workbench-errors").innerText.trim(),
        twin: getComputedStyle(document.querySelector("[class^=twin-of]")).display,
        narrower: [bars, map].map((plot) => plot.parentElement.clientWidth - plot._fullLayout.width),
    };
}"""
# Left, top, right and bottom edge of each part, in pixels, once the dashboard is scrolled to the top.
EDGES = """() => {
    document.querySelector(".workbench-dashboard").scrollIntoView({block: "start"});
    const parts = {keep: ".workbench-keep", controls: ".workbench-controls", numbers: ".workbench-numbers",
        bars: ".workbench-bars .main-svg", map: ".workbench-map .main-svg", page: ".jp-WindowedPanel-outer"};
    return Object.fromEntries(Object.entries(parts).map(([name, selector]) => {
        const box = document.querySelector(selector).getBoundingClientRect();
        return [name, [box.left, box.top, box.right, box.bottom]];
    }));
}"""
# Lowest contrast of the texts of the dashboard with the page (WCAG 2), and the text.
CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    const page = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0").trim();
    const light = (...colors) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const texts = [...document.querySelectorAll(
        ".workbench-figures div, .workbench-figures h4, .workbench-figures p, .workbench-controls label, "
        + ".workbench-controls button, .workbench-screen .main-svg text")];
    const seen = texts.filter((text) => text.textContent.trim() && text.getClientRects().length);
    return seen.map((text) => {
        const style = getComputedStyle(text);
        const pair = [light(page, text.closest("svg") ? style.fill : style.color), light(page)];
        return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), text.textContent];
    }).sort((a, b) => a[0] - b[0])[0];
}"""
# Number of points in the box, as plotly counts them.
BOXED = """() => {
    const [, map] = document.querySelectorAll(".workbench-dashboard .js-plotly-plot");
    return map._fullData.find((trace) => trace.name === "all rows").selectedpoints?.length ?? 0;
}"""
BUNDLED = "import workbench as wb\nwb.Workbench(wb.first_look(), max_length=1024)"
MANY = """import workbench as wb
ds = wb.first_look()
wb.Workbench(ds.select([i % len(ds) for i in range(3_000)]), max_length=1024)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyter(tmp_path_factory.mktemp("lab"), []) as lab:
        # One notebook per test: the page would restore widgets of a kernel that has run before.
        for name in ("keys", "drag", "box", "screen"):
            lab.write(name, BUNDLED)
        for name in ("many-on", "many-off"):
            lab.write(name, MANY)
        yield lab


def shown_in(page) -> dict:
    """The state of the page once every part is there."""
    page.evaluate(RUN_ALL)
    return until(lambda: no_error_in(page) and page.evaluate(SHOWN))


def at_rest(page, before: dict) -> dict:
    """The state of the page once bars, map and their labels agree and differ from `before`."""

    def settled():
        shown = page.evaluate(SHOWN)
        moved = shown["histogram"] != before["histogram"] and shown["on_map"] != before["on_map"]
        kept = sum(shown["histogram"])
        agree = kept == shown["on_map"] and f"{kept} of 344 rows kept" in shown["labels"][0]
        return shown if moved and agree else None

    return until(settled)


def test_keys_on_the_slider_update_the_dashboard(lab):
    with lab.opened("keys", size=(1280, 1500)) as page:
        before = shown_in(page)
        assert sum(before["histogram"]) == before["on_map"] > 0
        assert before["all_on_map"] == sum(before["histogram"]) + sum(before["left_out"])
        # Pixels. plotly starts with a width of 700; the figures must become as wide as their containers.
        until(lambda: max(map(abs, page.evaluate(SHOWN)["narrower"])) < 40)
        keep(page, "dashboard_light")

        page.locator(".workbench-keep .noUi-handle").focus()
        for key in ("PageUp", "ArrowRight", "ArrowRight"):
            page.keyboard.press(key)
            time.sleep(0.3)  # as fast as a person types
        after = at_rest(page, before)
        assert after["numbers"] != before["numbers"]
        assert after["packing"] != before["packing"]
        assert after["labels"] != before["labels"]
        assert after["slider"] == "Keep, percent"
        assert after["twin"] == "none"
        assert after["errors"] == ""

        page.keyboard.press("Home")
        fewest = at_rest(page, after)
        assert fewest["on_map"] < before["on_map"]
        assert fewest["errors"] == ""
        assert page.complaints == []


def test_a_drag_of_thirty_steps_ends_in_the_right_state(lab):
    with lab.opened("drag", dark=True, size=(1400, 1500)) as page:
        before = shown_in(page)
        page.locator(".workbench-keep .noUi-handle").focus()
        for _ in range(30):
            page.keyboard.press("ArrowRight")
        expected = wb.select(wb.first_look(), 0.7)
        after = until(lambda: (now := at_rest(page, before))["on_map"] == len(expected.indices) and now)
        assert after["percent"] == "70"
        assert f"{expected.coverage.tokens_kept:,}" in after["numbers"]
        assert after["errors"] == ""
        keep(page, "dashboard_dark")
        assert page.complaints == []


def test_a_box_on_the_map_opens_its_rows(lab):
    with lab.opened("box") as page:
        shown_in(page)
        map_ = page.locator(".workbench-map")
        map_.scroll_into_view_if_needed()
        map_.hover()
        map_.locator('[data-title="Box Select"]').click()
        area = map_.locator(".nsewdrag").first.bounding_box()
        right, bottom = area["x"] + 0.75 * area["width"], area["y"] + 0.75 * area["height"]
        page.mouse.move(right - 0.5 * area["width"], bottom - 0.5 * area["height"])
        page.mouse.down()
        page.mouse.move(right - 5, bottom - 5)
        page.mouse.move(right, bottom)
        page.mouse.up()
        expected = until(lambda: page.evaluate(BOXED))
        inspector = page.locator(".workbench-inspector")
        until(lambda: f"{expected} rows" in inspector.inner_text())
        assert 0 < expected < 344
        lines = inspector.locator(".workbench-rows option")
        assert lines.count() == expected
        lines.nth(1).click()
        row = lines.nth(1).inner_text().split()[0]
        until(lambda: inspector.locator("input[type=number]").first.input_value() == row)
        until(lambda: inspector.locator(".workbench-text").first.inner_text().strip())
        keep(page, "dashboard_rows")
        assert page.evaluate(SHOWN)["errors"] == ""
        assert page.complaints == []


@pytest.mark.parametrize(
    ("name", "flags", "kind"), [("many-on", WEBGL, "scattergl"), ("many-off", NO_WEBGL, "scatter")]
)
def test_many_rows_with_webgl_on_and_off(lab, name, flags, kind):
    with lab.opened(name, flags=flags) as page:
        shown_in(page)
        shown = until(lambda: (now := page.evaluate(SHOWN)) and now["map_kind"] == kind and now)
        points = 3_000 if kind == "scattergl" else 2_000
        until(lambda: points - 20 <= page.evaluate(SHOWN)["all_on_map"] <= points)
        assert sum(shown["histogram"]) + sum(shown["left_out"]) == 3_000  # numbers are of all rows
        assert shown["errors"] == ""
        keep(page, f"dashboard_{name}")
        assert page.evaluate(STDERR_OF_CELLS) == []
        assert page.complaints == []


def test_all_parts_are_in_the_window_at_once_and_can_be_read(lab):
    with lab.opened("screen", size=(1366, 768)) as page:
        page.evaluate("() => jupyterapp.shell.collapseLeft()")
        shown_in(page)
        for size in ((1366, 768), (1280, 720), (1920, 1080)):
            page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
            edges = until(lambda: (now := page.evaluate(EDGES)) and _drawn_to_size(now) and now)
            left, top, right, bottom = edges.pop("page")
            for name, (x0, y0, x1, y1) in edges.items():
                assert left <= x0 < x1 <= right, (size, name)
                assert top <= y0 < y1 <= bottom, (size, name)
            assert edges["numbers"][2] <= edges["bars"][0] < edges["bars"][2] <= edges["map"][0]
            # Nothing is stretched over a wide page.
            assert max(x1 - x0 for x0, _, x1, _ in edges.values()) < 1.2 * (edges["map"][3] - edges["map"][1])
        contrast, text = page.evaluate(CONTRAST)
        assert contrast >= 4.5, text
        page.evaluate(DARK)
        page.wait_for_selector('body[data-jp-theme-light="false"]', state="attached")
        contrast, text = page.evaluate(CONTRAST)
        assert contrast >= 4.5, text
        page.set_viewport_size({"width": 600, "height": 900})
        edges = until(lambda: (now := page.evaluate(EDGES)) and now["bars"][1] > now["numbers"][3] and now)
        assert edges["keep"][1] < edges["numbers"][1] < edges["bars"][1] < edges["map"][1]
        assert page.complaints == []


def _drawn_to_size(edges: dict) -> bool:
    """Whether the figures fill their places beside each other; plotly first draws them 700 pixels wide."""
    (_, top, right, bottom), (left, other_top, end, other_bottom) = edges["bars"], edges["map"]
    aligned = abs(top - other_top) < 2 and abs(bottom - other_bottom) < 2
    return aligned and right <= left and end <= edges["page"][2] and bottom <= edges["page"][3]
