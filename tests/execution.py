"""Execute notebooks. As a program, renew committed ones, all or those named (needs kaleido for their figures,
and Chromium for those of dashboards):

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
    """The notebook at `path`, executed in `folder`, with outputs but without the state of its widgets."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,  # megabytes, most of them plotly.js
        record_timing=False,
        coalesce_streams=True,  # of a progress bar the last state only
    )
    client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)  # where no kernel runs, what the widget showed stands for it
    return notebook


def dashboards(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that show a dashboard."""
    return [cell for cell in notebook.cells if "dashboard" in cell.metadata.get("tags", ())]


def with_picture(notebook: nbformat.NotebookNode, picture: bytes) -> nbformat.NotebookNode:
    """`notebook` with a picture (PNG) in place of the dashboard and of its twin, whose SVG not every page
    shows."""
    for cell in dashboards(notebook):
        shown = cell.outputs[-1]
        shown.data.pop(WIDGET, None)
        shown.data["image/png"] = base64.b64encode(picture).decode()
        cell.outputs = [shown]
    return notebook


def photographed(name: str, folder: Path) -> bytes:
    """PNG of notebook `name`'s dashboard, run down to there in a real browser."""
    from browsing import RUN_TO_TAGGED, jupyter, no_error_in, until

    drawn = "() => document.querySelectorAll('.workbench-dashboard .js-plotly-plot .main-svg').length > 0"
    with jupyter(folder, [name]) as lab, lab.opened(name) as page:
        page.evaluate(RUN_TO_TAGGED, "dashboard")
        until(lambda: no_error_in(page) and page.evaluate(drawn))
        page.wait_for_timeout(3000)  # the figures take their width from the page, then draw their points
        return page.locator(".workbench-dashboard").screenshot()


def renew(path: Path) -> None:
    """Execute the notebook at `path` and write it back."""
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
    wanted = sys.argv[1:] or [path.stem for path in NOTEBOOKS]
    for name in wanted:
        renew(FOLDER / f"{name}.ipynb")
        print(name)


if __name__ == "__main__":
    main()
