"""A JupyterLab with default settings and a browser, which the browser tests share.

Usage: `with jupyter(tmp_path, ["00_quickstart"]) as lab, lab.opened("00_quickstart") as page: ...`
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from execution import FOLDER
from huggingface_hub import constants

from workbench.core import store

PATIENCE = 300  # seconds per step, enough for a slow machine
CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)
# Module -> the class that exposes the app to scripts of the page, and the path of a notebook.
APPS = {"jupyterlab": ("LabApp", "lab/tree"), "notebook": ("JupyterNotebookApp", "notebooks")}
# WebGL in software for machines without a GPU; the CPU composes the pages.
WEBGL = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-compositing",
)
NO_WEBGL = ("--disable-gpu", "--disable-3d-apis")

KERNEL_IS_IDLE = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext?.session;
    return session?.kernel?.status === "idle";
}"""
RUN_ALL = """() => { jupyterapp.commands.execute("notebook:run-all-cells"); }"""
RUN_TO_TAGGED = """(tag) => {
    const notebook = jupyterapp.shell.currentWidget.content;
    const tagged = (cell) => (cell.model.getMetadata("tags") ?? []).includes(tag);
    notebook.activeCellIndex = notebook.widgets.findIndex(tagged);
    jupyterapp.commands.execute("notebook:run-all-above")
        .then(() => jupyterapp.commands.execute("notebook:run-cell"));
}"""
BADGE = {"content_type": "image/svg+xml", "body": '<svg xmlns="http://www.w3.org/2000/svg"/>'}
# Warnings etc., which notebooks show in red.
STDERR_OF_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
    .flatMap((cell) => cell.model.outputs?.toJSON() ?? [])
    .filter((output) => output.name === "stderr")
    .map((output) => output.text)
"""
DARK = """() => { jupyterapp.commands.execute("apputils:change-theme", {theme: "JupyterLab Dark"}); }"""
ERRORS_OF_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
    .flatMap((cell) => cell.model.outputs?.toJSON() ?? [])
    .filter((output) => output.output_type === "error")
    .map((output) => output.ename + ": " + output.evalue)
"""
# Exceptions in callbacks of widgets are in no cell.
HEAR_KERNEL = """() => {
    const hear = (_, { direction, msg }) => {
        if (direction === "recv" && msg.header.msg_type === "error") {
            window.complain(msg.content.ename + ": " + msg.content.evalue);
        }
    };
    jupyterapp.shell.currentWidget.sessionContext.session.kernel.anyMessage.connect(hear);
}"""


def until(condition):
    """Wait until `condition()` is true, and return its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still false after {PATIENCE} s"
        time.sleep(0.2)
    return value


def no_error_in(page) -> bool:
    """True; fails if a cell of the notebook shows an exception."""
    errors = page.evaluate(ERRORS_OF_CELLS)
    assert errors == []
    return True


def keep(page, name: str) -> None:
    """Save a screenshot of `page` in the folder WORKBENCH_SCREENSHOTS, by default in the temporary folder."""
    folder = os.environ.get("WORKBENCH_SCREENSHOTS") or Path(tempfile.gettempdir(), "workbench-screenshots")
    page.screenshot(path=Path(folder, f"{name}.png"))


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab or Notebook 7: its `address`, the `folder` with its notebooks, and where it opens
    them."""

    address: str
    folder: Path
    tree: str = "lab/tree"

    def write(self, name: str, *cells: str) -> None:
        """Write a notebook `name` with code cells."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
        # Without a kernelspec, a dialog opens.
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.folder / f"{name}.ipynb")

    @contextmanager
    def opened(self, name: str, *, dark: bool = False, flags: tuple[str, ...] = WEBGL, size=(1400, 1500)):
        """Notebook `name` in a browser with its kernel ready.

        `page.complaints` collects errors of the page, of its console and of the kernel.
        """
        playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", *flags]
            )
            page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)))
            page.set_default_timeout(1000 * PATIENCE)
            page.complaints = []
            page.on("pageerror", lambda error: page.complaints.append(str(error)))
            page.on(
                "console", lambda message: message.type == "error" and page.complaints.append(message.text)
            )
            # The only remote image of the notebooks: tests do not use the network.
            page.route("**/colab-badge.svg", lambda route: route.fulfill(**BADGE))
            page.expose_function("complain", lambda text: page.complaints.append(text))
            page.goto(f"{self.address}/{self.tree}/{name}.ipynb?reset")
            page.wait_for_selector("#jupyterlab-splash", state="detached")
            page.wait_for_selector(".jp-Notebook .jp-Cell")
            page.wait_for_function(KERNEL_IS_IDLE)
            page.evaluate(HEAR_KERNEL)
            if dark:
                page.evaluate(DARK)
                page.wait_for_selector('body[data-jp-theme-light="false"]', state="attached")
            yield page
            browser.close()


@contextmanager
def jupyter(folder: Path, notebooks: list[str], app: str = "jupyterlab") -> Iterator[Lab]:
    """A JupyterLab, or Notebook 7 (`app="notebook"`), with all its files in `folder` and copies of the named
    notebooks."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium or Chrome on this machine")
    work = folder / "notebooks"
    work.mkdir()
    for name in notebooks:
        shutil.copy(FOLDER / f"{name}.ipynb", work)
    environment = os.environ | _settings(folder)
    # Models that are already on this machine, outside the temporary home.
    environment |= {"WORKBENCH_CACHE": str(store.cache_dir()), "HF_HOME": constants.HF_HOME}
    port = _free_port()
    exposing, tree = APPS[app]
    command = [sys.executable, "-m", app, "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--IdentityProvider.token=", f"--{exposing}.expose_app_in_browser=True", "--allow-root"]
    log = folder / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={work}"], env=environment, cwd=work, stdout=out, stderr=out
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(f"{address}/api") or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        yield Lab(address, work, tree)
    finally:
        server.terminate()  # ends its kernels too
        server.wait(PATIENCE)


def _settings(folder: Path) -> dict[str, str]:
    """Environment variables that make Jupyter use only settings in `folder`."""
    kinds = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    folders = {f"JUPYTER_{kind}".replace("JUPYTER_LAB_", "JUPYTERLAB_"): folder / kind for kind in kinds}
    folders |= {"HOME": folder / "home", "IPYTHONDIR": folder / "ipython"}
    # The news panel asks for consent and uses the network.
    news = (
        folders["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    )
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    return {name: str(path) for name, path in folders.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False
