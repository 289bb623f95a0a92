"""Each notebook in JupyterLab and a browser: Run All gives no error."""

import nbformat
import pytest
from browsing import ERRORS_OF_CELLS, jupyter, keep, until
from execution import FOLDER, NOTEBOOKS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.model,
    pytest.mark.xdist_group("model"),
    pytest.mark.timeout(1500),
]

MINUTES = 20  # per notebook, enough for a slow machine
RUN_ALL = """() => {
    window.ran = false;
    jupyterapp.commands.execute("notebook:run-all-cells").finally(() => { window.ran = true; });
}"""
CODE_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter((cell) => cell.model.type === "code")
    .map((cell) => cell.model.toJSON())
"""
# Makes the notebook as wide as the page; returns the height of its cells.
SPREAD_OUT = """() => {
    jupyterapp.shell.collapseLeft();
    const cells = jupyterapp.shell.currentWidget.content;
    return cells.node.querySelector(".jp-WindowedPanel-inner, .jp-WindowedPanel-viewport").scrollHeight;
}"""
TO_TOP = """() => {
    const cells = jupyterapp.shell.currentWidget.content;
    cells.activeCellIndex = 0;
    return cells.scrollToItem(0, "start");
}"""


def kinds(cells: list[dict]) -> list[set[str]]:
    """Types of the outputs of each code cell, except printed text."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [{output["output_type"] for output in cell["outputs"]} - {"stream"} for cell in code]


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_notebook_runs_in_a_browser(name, tmp_path):
    with jupyter(tmp_path, [name]) as lab, lab.opened(name) as page:
        page.evaluate(RUN_ALL)
        page.wait_for_function("() => window.ran", timeout=MINUTES * 60_000)
        errors = page.evaluate(ERRORS_OF_CELLS)
        height = page.evaluate(SPREAD_OUT)
        page.set_viewport_size({"width": 1280, "height": min(height + 120, 16_000)})
        until(lambda: page.locator(".js-plotly-plot .main-svg").count() or errors)
        page.evaluate(TO_TOP)
        page.wait_for_timeout(3000)  # until cells outside the view are drawn and figures have their new width
        keep(page, name)
        assert errors == []
        cells = page.evaluate(CODE_CELLS)
        assert None not in [cell["execution_count"] for cell in cells]
        committed = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        assert kinds(cells) == kinds(committed.cells)
        assert page.complaints == []
