"""The slider moved during a slow selection, in JupyterLab and Notebook 7: all parts end in the same state.

WORKBENCH_TRIES sets the number of tries, 2 by default.
"""

import json
import os
import time

import pytest
from browsing import RUN_ALL, jupyter, no_error_in, until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

TRIES = int(os.environ.get("WORKBENCH_TRIES", "2"))
ROWS = int(os.environ.get("WORKBENCH_ROWS", "10000"))  # k-center takes several times as long as the wait
CELL = """import json, threading, time
import datasets, numpy as np
import workbench as wb
from pathlib import Path
rng, n = np.random.default_rng(0), ROWS
vectors = rng.normal(size=(n, 64)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
ds = datasets.Dataset.from_dict({
    "id": [str(row) for row in range(n)], "instruction": ["a"] * n, "response": ["b"] * n,
    "ifd": rng.uniform(0.1, 1.2, n), "n_tokens": rng.integers(5, 60, n), "cluster": rng.integers(0, 3, n),
    "x": vectors[:, 0].astype(float), "y": vectors[:, 1].astype(float), "embedding": list(vectors),
})
dashboard = wb.Workbench(ds, ratio=0.38)

def report():
    while True:
        state = dashboard.state
        selection = state.selection  # `dashboard.selection` would compute it
        Path("state.json.new").write_text(json.dumps({
            "settings": state.settings()["select"], "kept": len(selection.indices), "at": time.time(),
        }))
        Path("state.json.new").rename("state.json")
        time.sleep(0.3)

threading.Thread(target=report, daemon=True).start()
dashboard"""
SHOWN = """() => ({
    slider: document.querySelector(".workbench-keep .noUi-handle").getAttribute("aria-valuenow"),
    field: document.querySelector(".workbench-controls input[type=number]").value,
    numbers: document.querySelector(".workbench-numbers").innerText,
    strategy: document.querySelector(".workbench-controls select:not([disabled])").value,
    errors: document.querySelector(".workbench-errors").innerText.trim(),
})"""


def choose(page, strategy: str) -> None:
    page.locator(".workbench-controls select").filter(has_text="k-center").select_option(strategy)


def drag_to(page, percent: int) -> None:
    """Drag the handle with the mouse, in steps, and finish with the keyboard if it stops beside the value."""
    handle = page.locator(".workbench-keep .noUi-handle")
    box, track = handle.bounding_box(), page.locator(".workbench-keep .noUi-base").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] * (percent - 1) / 99, y, steps=12)
    page.mouse.up()
    for _ in range(10):
        now = float(handle.get_attribute("aria-valuenow"))
        if now == percent:
            return
        handle.press("ArrowRight" if now < percent else "ArrowLeft")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("app", ["jupyterlab", "notebook"])
def test_a_slider_dragged_during_k_center_is_followed(app, tmp_path):
    pytest.importorskip(app)
    with jupyter(tmp_path, [], app) as lab:
        lab.write("two", CELL.replace("ROWS", str(ROWS)))
        with lab.opened("two") as page:
            page.evaluate(RUN_ALL)
            until(lambda: no_error_in(page) and page.locator(".workbench-keep .noUi-handle").count())
            if app == "notebook":
                page.complaints.clear()  # Notebook 7 itself complains while it loads
            for number in range(TRIES):
                check_one_try(page, lab, app, number)
            assert page.complaints == []


def check_one_try(page, lab, app: str, number: int) -> None:
    """From 38 % of another strategy: choose k-center, and move the slider to 6 % after 1.5 s."""
    file = lab.folder / "state.json"

    def state() -> dict:
        return json.loads(file.read_text()) if file.exists() else {"settings": {}, "kept": None}

    def at_rest(strategy: str, percent: int) -> dict | None:
        now, shown = state(), page.evaluate(SHOWN)
        expected = {"strategy": strategy, "ratio": percent / 100}
        settled = expected.items() <= now["settings"].items() and now["kept"] == int(percent / 100 * ROWS)
        agrees = float(shown["slider"]) == percent and float(shown["field"]) == percent
        return now | shown if settled and agrees and f"{now['kept']:,}" in shown["numbers"] else None

    choose(page, "random")
    drag_to(page, 38)
    until(lambda: at_rest("random", 38))
    choose(page, "k-center")
    time.sleep(1.5)
    drag_to(page, 6)
    until(lambda: at_rest("k-center", 6))
    time.sleep(2)  # nothing that was started before changes it afterwards
    now = at_rest("k-center", 6)
    print(f"{app}, try {number + 1}: slider, field and settings 6 %, {now and now['kept']} rows kept")
    assert now
    assert now["errors"] == ""
