"""The quickstart's dashboard in a real JupyterLab and a real browser: keys on the slider move everything."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from execution import FOLDER
from huggingface_hub import constants

from workbench import store

pytestmark = [pytest.mark.browser, pytest.mark.model]

PATIENCE = 300  # seconds that any one step may take on a slow machine
CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)
# WebGL, which draws the map, in software.
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader"]
FLAGS += ["--enable-unsafe-swiftshader"]

KERNEL_IS_IDLE = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext?.session;
    return session?.kernel?.status === "idle";
}"""
RUN_TO_DASHBOARD = """async () => {
    const notebook = jupyterapp.shell.currentWidget.content;
    const tagged = (cell) => (cell.model.getMetadata("tags") ?? []).includes("dashboard");
    notebook.activeCellIndex = notebook.widgets.findIndex(tagged);
    jupyterapp.commands.execute("notebook:run-all-above")
        .then(() => jupyterapp.commands.execute("notebook:run-cell"));
}"""
ERRORS_OF_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
    .flatMap((cell) => cell.model.outputs?.toJSON() ?? [])
    .filter((output) => output.output_type === "error")
    .map((output) => output.ename + ": " + output.evalue)
"""
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def until(found):
    """What `found` gives, once it is something."""
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < deadline, f"still nothing after {PATIENCE} s"
        time.sleep(0.5)
    return result


def no_error_in(page) -> bool:
    errors = page.evaluate(ERRORS_OF_CELLS)
    assert errors == []
    return True


def settled(shown: dict, before: dict) -> dict | None:
    """`shown` once bars and map have both left `before` and agree."""
    moved = shown["histogram"] != before["histogram"] and shown["on_map"] != before["on_map"]
    return shown if moved and sum(shown["histogram"]) == shown["on_map"] else None


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab with nobody's settings, open on a copy of the quickstart."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium or Chrome on this machine")
    pytest.importorskip("playwright", reason="playwright is not installed")
    work = tmp_path / "notebooks"
    work.mkdir()
    shutil.copy(FOLDER / "00_quickstart.ipynb", work)
    kinds = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    folders = {f"JUPYTER_{kind}".replace("JUPYTER_LAB_", "JUPYTERLAB_"): tmp_path / kind for kind in kinds}
    folders |= {"HOME": tmp_path / "home", "IPYTHONDIR": tmp_path / "ipython"}
    # The news panel asks for consent, and then the network.
    news = (
        folders["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    )
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--allow-root"]
    environment = os.environ | {name: str(folder) for name, folder in folders.items()}
    # Models that are here already: elsewhere than in the scratch home.
    environment |= {"WORKBENCH_CACHE": str(store.cache_dir()), "HF_HOME": constants.HF_HOME}
    log = tmp_path / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={work}"], env=environment, cwd=work, stdout=out, stderr=out
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{address}/api") or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        yield f"{address}/lab/tree/00_quickstart.ipynb?reset"
    finally:
        server.terminate()  # takes its kernels along
        server.wait(PATIENCE)


@pytest.fixture
def page(lab):
    """The notebook in a browser, its kernel ready, and what the browser complained about."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1500})
        page.set_default_timeout(1000 * PATIENCE)
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(lab)
        page.wait_for_selector("#jupyterlab-splash", state="detached")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function(KERNEL_IS_IDLE)
        yield page
        browser.close()


def test_keys_on_the_slider_move_the_dashboard(page):
    page.evaluate(RUN_TO_DASHBOARD)
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
