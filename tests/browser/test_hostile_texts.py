"""Rows with hostile texts in JupyterLab: every panel and figure escapes them.

Otherwise a script would set `window.pwned`, images and links would be elements, and mathematics be typeset.
"""

import pytest
from browsing import RUN_ALL, jupyter, keep, no_error_in, until

pytestmark = pytest.mark.browser

MARKER = "PWN"
HOSTILE = (
    f"{MARKER} <script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    "<a href='javascript:window.pwned=1'>go</a>[go](javascript:window.pwned=1) <b>bold</b><br>$$x^2$$ $y$"
    " &lt;i&gt; \x1b[31mred \u202etxt </script></pre></textarea><svg onload='window.pwned=1'>"
)
TABLE = f"""
import numpy as np, datasets
import workbench as wb
from workbench.widgets import ErrorPanel, ExportPanel, Inspector

HOSTILE = {HOSTILE!r}
n = 12
rng = np.random.default_rng(0)
vectors = rng.normal(size=(n, 4))
texts = [HOSTILE] * (n - 1) + [HOSTILE + "z" * 1_000_000]
ds = datasets.Dataset.from_dict({{
    "id": [f"{{HOSTILE}} {{i}}" for i in range(n)], "instruction": texts, "response": texts[::-1],
    "ifd": rng.uniform(0.3, 0.99, n - 1).tolist() + [None], "n_tokens": [50] * n,
    "score_status": ["ok"] * (n - 1) + [HOSTILE], "score_reason": [HOSTILE] * n,
    "cluster": [0, 1] * (n // 2), "x": rng.normal(size=n).astype("float32"),
    "y": rng.normal(size=n).astype("float32"),
    "embedding": (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32"),
}})
sel = wb.select(ds, 0.5)
"""
CELLS = {
    "dashboard": "board = wb.Workbench(ds); board",
    "inspector": "look = Inspector(ds); look.show_many(range(n), sel); look.show(0); look",
    "long": "long = Inspector(ds); long.show(n - 1, sel); long",
    "export": """errors = ErrorPanel()
panel = ExportPanel(lambda: sel, lambda: {"pack": {"max_length": 64}}, errors, HOSTILE[:3])
panel.start.value = panel.start.options[1]
panel.save_table.click()
panel.show.click()
import ipywidgets
ipywidgets.VBox([errors, panel])""",
    "errors": "errors = ErrorPanel(); errors.show(ValueError(HOSTILE)); errors",
    "tokens": """import pandas as pd
wb.figures.token_gains(pd.DataFrame({"token": [HOSTILE], "gain": [1.0]}))""",
    "map": """table = ds.select_columns(["x", "y", "cluster", "instruction"]).to_pandas()
wb.figures.coverage_map(table, sel.mask)""",
    "report": """from pathlib import Path
import pandas as pd
from workbench.selection import comparison
from workbench.study import journey, report
from workbench.study.recipe import Recipe
tasks = pd.DataFrame([{"task_id": HOSTILE, "base": "fail", "plus": None, "loss": 1.0, "n_tokens": 9}])
judged = wb.evaluation.EvalReport(HOSTILE, "own tasks", tasks, loss_per_token=1.0)
coverage = comparison.beside_random(sel).metrics
study = journey.Study(Recipe(data=HOSTILE), Path("."), ds, selection=sel, coverage=coverage)
study.padding["pad"] = 0.1
study.reports[HOSTILE] = judged
study.recipe.to_yaml("recipe.yaml")
print(report.write_html(study), HOSTILE)""",
}
SHOWN = """() => jupyterapp.shell.currentWidget.content.widgets.map((cell) => {
    const area = cell.outputArea?.node;
    if (!area) return null;
    const fields = [...area.querySelectorAll("textarea, option")].map((field) => field.value + field.text);
    return {
        text: area.innerText + fields.join(" "),
        plots: area.querySelectorAll(".main-svg").length,
        images: area.querySelectorAll("img[src='x'], svg[onload]").length,
        links: area.querySelectorAll("a[href^='javascript'], svg a").length,
        bold: [...area.querySelectorAll("b")].filter((b) => b.textContent === "bold").length,
        scripts: [...area.querySelectorAll("script")].filter((s) => s.textContent.includes("pwned")).length,
        typeset: area.querySelectorAll("mjx-container, .MathJax").length,
    };
})"""
# Position on the page of the first point of a figure.
POINT = """(plot) => {
    plot.scrollIntoView({block: "center"});
    const {xaxis, yaxis} = plot._fullLayout;
    const box = plot.getBoundingClientRect();
    const {x, y} = plot._fullData.find((trace) => trace.mode === "markers" && trace.x?.[0] != null);
    return [box.x + xaxis._offset + xaxis.d2p(x[0]), box.y + yaxis._offset + yaxis.d2p(y[0])];
}"""
CLEAN = {"images": 0, "links": 0, "bold": 0, "scripts": 0, "typeset": 0}


@pytest.fixture
def lab(tmp_path):
    with jupyter(tmp_path, []) as lab:
        lab.write("hostile", TABLE, *CELLS.values())
        yield lab


def all_shown(page) -> list[dict] | None:
    """What each cell shows, or None until every cell shows something."""
    no_error_in(page)
    cells = page.evaluate(SHOWN)
    ready = (cell and (MARKER in cell["text"] or cell["plots"]) for cell in cells[1:])
    return cells if all(ready) else None


def hover_text(page, plot) -> str | None:
    """The hover text of the first point of `plot`, or None."""
    page.mouse.move(*plot.evaluate(POINT))
    label = page.query_selector(".hoverlayer text")
    return label and label.text_content()


def test_a_hostile_table_is_escaped_everywhere(lab):
    with lab.opened("hostile", size=(1400, 9000)) as page:  # a notebook draws only cells in view
        dialogs = []
        page.context.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.evaluate(RUN_ALL)
        cells = until(lambda: all_shown(page))
        for name, cell in zip(CELLS, cells[1:], strict=True):
            assert {key: cell[key] for key in CLEAN} == CLEAN, name
        inspector = cells[1 + list(CELLS).index("inspector")]["text"]
        for words in ("<script>window.pwned=1</script>", "$$x^2$$", "&lt;i&gt;", "␛[31mred", "⟨U+202E⟩txt"):
            assert words in inspector
        page.locator("button:visible", has_text="Show all of 1,000,").first.click()
        everything = """() => Math.max(...[...document.querySelectorAll(".workbench-text pre")]
            .map((text) => text.textContent.length))"""
        until(lambda: page.evaluate(everything) > 1_000_000)
        plot = page.query_selector_all(".workbench-dashboard .js-plotly-plot")[-1]
        assert "<script>window.pwned=1</script><img" in until(lambda: hover_text(page, plot))
        keep(page, "hostile")

        report = page.context.browser.new_page()
        report.on("pageerror", lambda error: page.complaints.append(str(error)))
        report.goto((lab.folder / "report.html").as_uri())
        assert "<script>window.pwned=1</script>" in report.text_content("table")
        plot = report.query_selector_all(".js-plotly-plot")[2]
        assert "<script>window.pwned=1</script><img" in until(lambda: hover_text(report, plot))
        for shown in (page, report):
            assert shown.evaluate("window.pwned") is None
        assert dialogs == []
        assert page.complaints == []
