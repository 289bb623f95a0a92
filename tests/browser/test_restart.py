"""A run that survives its kernel, in JupyterLab: started, stopped, resumed and followed."""

import json
import re
from contextlib import suppress

import pytest
from browsing import KERNEL_IS_IDLE, RUN_ALL, jupyter, keep, no_error_in, until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

STEPS = 60  # of a toy model; takes several times as long as a restart of the kernel
CELL = """import workbench as wb

panel = wb.widgets.TrainingPanel(
    wb.select(wb.first_look(), rows=16),
    model={model!r},
    output_dir="runs/mine",
    max_length=512,
    batch_size=16,
    epochs={steps},
    save_minutes=None,
    dtype="float32",
)
panel
"""
SHOWN = """() => {
    const panel = document.querySelector(".workbench-training");
    const step = [...(panel?.querySelectorAll("div[title]") ?? [])]
        .find((cell) => cell.title.startsWith("optimizer steps"));
    return {
        status: panel?.querySelector("[role=status]")?.innerText.slice(2) ?? "",
        step: parseInt(step?.children[1].innerText ?? "0"),
        curve: panel?.querySelectorAll("svg polyline").length ?? 0,
        errors: panel?.querySelector(".workbench-errors")?.innerText.trim() ?? "",
        outcome: panel?.querySelector(".workbench-run")?.innerText ?? "",
    };
}"""
COMMAND = """(name) => { jupyterapp.commands.execute(name); }"""


@pytest.fixture
def page(tmp_path, toy_model_dir):
    with jupyter(tmp_path, []) as lab:
        lab.write("scratch", CELL.format(model=str(toy_model_dir("llama")), steps=STEPS))
        with lab.opened("scratch", size=(1280, 900)) as page:
            page.run_folder = lab.folder / "runs" / "mine"
            yield page
        with suppress(FileNotFoundError):
            (page.run_folder / "stop").touch()  # end the run if the test has failed


def click(page, name: str) -> None:
    page.locator(".workbench-training button:visible").filter(has_text=re.compile(f"^{name}$")).click()


def shown(page, status: str, step: int = 0) -> dict | None:
    """The state of the panel, or None until it has this `status` and at least `step` steps."""
    now = page.evaluate(SHOWN)
    assert now["errors"] == ""
    return now if now["status"].startswith(status) and now["step"] >= step else None


def restart_kernel(page) -> None:
    page.evaluate(COMMAND, "notebook:clear-all-cell-outputs")
    page.wait_for_selector(".workbench-training", state="detached")
    page.evaluate(COMMAND, "kernelmenu:restart")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.wait_for_selector(".jp-Dialog", state="detached")
    page.wait_for_function(KERNEL_IS_IDLE)


def process_of(page) -> int:
    return json.loads((page.run_folder / "run.json").read_text())["process"]["pid"]


def test_a_detached_run_survives_a_restart_of_the_kernel(page):
    page.evaluate(RUN_ALL)
    page.locator(".workbench-training").wait_for()
    click(page, "Fine-tune")
    until(lambda: no_error_in(page) and shown(page, "running", 2))
    click(page, "Stop")
    stopped = until(lambda: shown(page, "stopped"))
    keep(page, "training_stopped")
    click(page, "Resume")
    before = until(lambda: shown(page, "running", stopped["step"] + 2))
    process = process_of(page)
    keep(page, "training_running")

    restart_kernel(page)
    page.evaluate(RUN_ALL)
    page.locator(".workbench-training").wait_for()
    again = until(lambda: no_error_in(page) and shown(page, "running"))
    assert before["step"] < again["step"] < STEPS  # it continued during the restart
    assert process_of(page) == process
    # The parts of the panel are updated one after the other, the outcome last.
    done = until(lambda: (now := shown(page, "done", STEPS)) and now["outcome"] and now)
    keep(page, "training_done")
    assert done["step"] == STEPS
    assert done["curve"] == 1
    assert "The model is in runs/mine/model" in done["outcome"]
    history = [json.loads(line) for line in (page.run_folder / "history.jsonl").open()]
    assert [record["step"] for record in history] == list(range(1, STEPS + 1))
    assert page.complaints == []
