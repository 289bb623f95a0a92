"""How fast the dashboard follows its slider, in JupyterLab and Chromium.

    python tests/benchmarks/dashboard.py [--rows 75000] [--keys 20]

Prints three times: from a key press to the updated numbers and histogram (median and worst, ms), from the
last key of a 30-step drag to the final state (s), and from Run All to the first picture of the bundled data
with the packages imported (s). The peer is a plain notebook with the same rows and browser: each move selects
again, passes raw values to the histogram and recolours every point of the map. The synthetic table has
embeddings of 384 dimensions, clusters, scores, lengths and coordinates.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from browsing import KERNEL_IS_IDLE, RUN_ALL, jupyter, no_error_in, until

TABLE = """
import datasets, numpy as np, workbench as wb
from workbench.core import tables
rng, n, d, k = np.random.default_rng(0), {rows}, 384, 10
cluster = rng.integers(0, k, n)
vectors = (rng.standard_normal((k, d))[cluster] + 1.2 * rng.standard_normal((n, d))).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
place = 6 * rng.standard_normal((k, 2))[cluster] + rng.standard_normal((n, 2))
words = np.array("sort list merge parse json tree graph matrix sum file regex class cache queue".split())
texts = [" ".join(words[rng.integers(0, len(words), 12)]) for _ in range(n)]
ds = datasets.Dataset.from_dict(dict(
    instruction=texts, response=texts, ifd=1.15 * rng.beta(6, 2, n), cluster=cluster,
    n_tokens=np.clip(rng.lognormal(6.1, 0.3, n), 16, 2048).astype(int),
    x=place[:, 0].astype(np.float32), y=place[:, 1].astype(np.float32),
))
ds = tables.with_columns(ds, dict(embedding=vectors), dict(embedding=tables.vector(d)))
"""
OURS = "wb.Workbench(ds)"
PEER = """
import ipywidgets as w, plotly.graph_objects as go
ifd, x, y = (tables.array(ds, name) for name in ("ifd", "x", "y"))
bars, points = go.FigureWidget(go.Histogram()), go.FigureWidget(go.Scattergl(x=x, y=y, mode="markers"))
numbers, ratio = w.HTML().add_class("workbench-numbers"), w.IntSlider(40, 1, 100)
def follow(change):
    kept = wb.select(ds, ratio.value / 100)
    numbers.value = f"<div>{len(kept.indices)} rows, divergence {kept.report.divergence}</div>"
    bars.data[0].x = ifd[kept.indices]
    points.data[0].marker.color = np.where(kept.mask, "#0072B2", "#BBBBBB")
ratio.observe(follow, "value")
follow(None)
w.VBox([ratio, numbers, bars, points]).add_class("workbench-dashboard")
"""
READY = """() => {
    const plots = document.querySelectorAll(".workbench-dashboard .js-plotly-plot .main-svg");
    const numbers = document.querySelector(".workbench-numbers div");
    return plots.length > 1 && Boolean(numbers?.innerText);
}"""
WATCH = """() => {
    const numbers = document.querySelector(".workbench-numbers");
    const [bars, map] = document.querySelectorAll(".workbench-dashboard .js-plotly-plot");
    window.took = [];
    window.last = 0;  // time of the last drawing
    let pressed = null, updated = false, drawn = false;
    const check = () => requestAnimationFrame(() => {
        window.last = performance.now();
        if (pressed === null || !updated || !drawn) return;
        window.took.push(performance.now() - pressed);
        pressed = null;
    });
    document.addEventListener("keydown", () => {
        [pressed, updated, drawn] = [performance.now(), false, false];
        window.pressed = pressed;
    }, true);
    const observer = new MutationObserver(() => { updated = true; check(); });
    observer.observe(numbers, { childList: true, subtree: true, characterData: true });
    for (const event of ["plotly_afterplot", "plotly_update", "plotly_restyle"]) {
        bars.on(event, () => { drawn = true; check(); });
        map.on(event, check);
    }
}"""


def at_rest(page) -> float:
    """Time (ms) of the last drawing, once nothing has been drawn for 1.5 s."""
    before = None
    while (now := page.evaluate("window.last")) != before:
        before = now
        time.sleep(1.5)
    return now


def follow(page, keys: int) -> tuple[list[float], float]:
    """Milliseconds per single key, and seconds from the last of 30 quick keys to the final state."""
    page.evaluate(WATCH)
    page.locator(".workbench-keep .noUi-handle").focus()
    for i in range(keys):
        page.keyboard.press("ArrowRight" if i % 2 else "ArrowLeft")
        until(lambda done=i + 1: page.evaluate("window.took.length") >= done)
        at_rest(page)  # updates at rest are not measured
    took = page.evaluate("window.took")
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    return took, (at_rest(page) - page.evaluate("window.pressed")) / 1000


def first_picture(page) -> float:
    """Seconds from Run All to the first picture; the first cell has imported the packages."""
    page.evaluate("""() => jupyterapp.commands.execute("notebook:run-cell")""")
    page.wait_for_function(KERNEL_IS_IDLE)
    start = time.monotonic()
    page.evaluate(RUN_ALL)
    until(lambda: no_error_in(page) and page.evaluate(READY))
    return time.monotonic() - start


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=75_000)
    options.add_argument("--keys", type=int, default=20)
    options = options.parse_args()
    table = TABLE.format(rows=options.rows)
    with tempfile.TemporaryDirectory() as folder, jupyter(Path(folder), []) as lab:
        lab.write("first", "import workbench as wb\nwb.load, wb.Workbench", "wb.Workbench(wb.first_look())")
        lab.write("ours", table, OURS)
        lab.write("peer", table, PEER)
        with lab.opened("first") as page:
            print(f"Run All to first picture: {first_picture(page):.1f} s", flush=True)
        medians, drags = {}, {}
        for name in ("ours", "peer"):
            with lab.opened(name) as page:
                page.evaluate(RUN_ALL)
                until(lambda page=page: no_error_in(page) and page.evaluate(READY))
                time.sleep(5)
                took, drags[name] = follow(page, options.keys)
            medians[name] = statistics.median(took)
            print(
                f"{name}, {options.rows:,} rows: key to numbers and histogram {medians[name]:.0f} ms "
                f"(worst {max(took):.0f}), after a 30-step drag at rest in {drags[name]:.2f} s",
                flush=True,
            )
        ratios = [times["peer"] / times["ours"] for times in (medians, drags)]
        print("peer over ours: a key {:.1f}, a drag {:.1f}".format(*ratios))


if __name__ == "__main__":
    main()
