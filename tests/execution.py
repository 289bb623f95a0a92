"""Execute notebooks. As a program, renew the committed ones (needs kaleido for their pictures):

PLOTLY_RENDERER=plotly_mimetype+png python tests/execution.py
"""

import base64
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"


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


def with_picture(notebook: nbformat.NotebookNode, picture: Path) -> nbformat.NotebookNode:
    """`notebook` with a picture in place of the dashboard, which shows nothing where no kernel runs."""
    for cell in notebook.cells:
        if "dashboard" in cell.metadata.get("tags", ()):
            data = cell.outputs[-1].data
            del data[WIDGET]
            data["image/png"] = base64.b64encode(picture.read_bytes()).decode()
    return notebook


def main() -> None:
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(with_picture(execute(path, Path(folder)), FOLDER / "workbench.png"), path)


if __name__ == "__main__":
    main()
