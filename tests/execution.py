"""Execute notebooks.

As a program it updates the outputs of committed notebooks, all or those named. It needs kaleido for figures
and Chromium for pictures of dashboards:

PLOTLY_RENDERER=plotly_mimetype+png python tests/execution.py [NAME ...]
"""

import base64
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
README_PICTURE = {"00_quickstart": FOLDER / "workbench.png"}


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Execute the notebook at `path` in `folder`; returns it with outputs, without the state of widgets."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,  # megabytes, most of them plotly.js
        record_timing=False,
        coalesce_streams=True,  # keep only the last state of a progress bar
    )
    client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)  # without a kernel, the HTML replaces the widget
    return notebook


def dashboards(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells tagged as showing a dashboard."""
    return [cell for cell in notebook.cells if "dashboard" in cell.metadata.get("tags", ())]


def with_picture(notebook: nbformat.NotebookNode, picture: bytes) -> nbformat.NotebookNode:
    """`notebook` with a PNG in place of the dashboard and its SVG picture, which some pages do not show."""
    for cell in dashboards(notebook):
        shown = cell.outputs[-1]
        shown.data.pop(WIDGET, None)
        shown.data["image/png"] = base64.b64encode(picture).decode()
        cell.outputs = [shown]
    return notebook


def photographed(name: str, folder: Path) -> bytes:
    """PNG of the dashboard of notebook `name`, executed in a browser up to its cell."""
    from browsing import RUN_TO_TAGGED, jupyter, no_error_in, until

    drawn = "() => document.querySelectorAll('.workbench-dashboard .js-plotly-plot .main-svg').length > 0"
    with jupyter(folder, [name]) as lab, lab.opened(name, size=(1440, 900)) as page:
        page.evaluate("() => jupyterapp.shell.collapseLeft()")
        page.evaluate(RUN_TO_TAGGED, "dashboard")
        until(lambda: no_error_in(page) and page.evaluate(drawn))
        page.wait_for_timeout(3000)  # until the figures have their final width and their points
        return page.locator(".workbench-screen").screenshot()


def update(path: Path) -> None:
    """Execute the notebook at `path` and overwrite it."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = execute(path, Path(folder))
    if dashboards(notebook):
        with tempfile.TemporaryDirectory() as folder:
            picture = photographed(path.stem, Path(folder))
        with_picture(notebook, picture)
        if path.stem in README_PICTURE:
            README_PICTURE[path.stem].write_bytes(picture)
    nbformat.write(notebook, path)


def main() -> None:
    names = sys.argv[1:] or [path.stem for path in NOTEBOOKS]
    for name in names:
        update(FOLDER / f"{name}.ipynb")
        print(name)


if __name__ == "__main__":
    main()
