"""The training panel without a browser: what its buttons do to a run, and what it shows of one."""

import asyncio
import re
import shutil
import threading
import time

import pytest
from conftest import table
from pages import numbers_in
from trainings import DS, FAST, fail_at, hold_at

import workbench as wb
from workbench.core.errors import UserError
from workbench.training import Run, TrainingSettings, attach, finetune, processes
from workbench.training.folder import RunFolder
from workbench.widgets import ErrorPanel, RunPanel, TrainingPanel
from workbench.widgets.training import panel as panel_module
from workbench.widgets.training import run, run_view
from workbench.widgets.training.form import TrainingForm
from workbench.widgets.training.run_view import RunState

SMALL = FAST | {"batch_size": 4, "epochs": 2}
STEPS = 4
RECORD = {"step": 3, "of": 10, "loss": 1.25, "seconds": 6.0, "tokens_per_second": 1234.4}
RECORD |= {"peak_memory_mib": 1536}


class Chosen:
    """The part of a selection that a panel needs."""

    dataset = DS


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(run.RunPanel, "_interval", 0.02)


@pytest.fixture
def make(toy_model_dir, tmp_path):
    """A panel for the toy llama with runs in threads, in a folder of this test."""

    def panel(folder: str = "run", selected=Chosen, **settings) -> TrainingPanel:
        made = TrainingPanel(
            lambda: selected, None, toy_model_dir("llama"), tmp_path / folder, **SMALL | settings
        )
        made.form.detached.value = False
        return made

    return panel


@pytest.fixture(scope="module")
def done(toy_model_dir, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("done") / "run"
    return finetune(DS, toy_model_dir("llama"), folder, **SMALL).wait()


async def until(condition, seconds: float = 30):
    """Wait without blocking the event loop until `condition()` is true, and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"still false after {seconds} s"
        await asyncio.sleep(0.01)
    return value


def status_of(panel: TrainingPanel | RunPanel) -> str:
    """The status and its meaning as text."""
    shown = panel if isinstance(panel, RunPanel) else panel.run_panel
    return f"{text_of(shown.status.value)[2:]} {shown.meaning.value}" if shown else ""


async def until_ended(panel: TrainingPanel, status: str) -> None:
    """Wait until the panel shows `status` and the run's thread has ended, a moment later."""
    await until(lambda: panel.run_panel and status in status_of(panel) and not panel.run_panel.active)


def text_of(html: str) -> str:
    return " ".join(re.sub("<[^>]+>", " ", html).split())


def visible(widget) -> bool:
    return widget.layout.display != "none"


# From the click to the end.


def test_the_button_trains_on_the_selection_at_the_click(make):
    panel, seen = make(), []

    async def click():
        panel.start.click()
        assert panel.start.disabled
        await until(lambda: panel.run_panel)
        panel.run_panel.observe(lambda change: seen.append(change["new"]), "active")
        await until_ended(panel, "done")

    asyncio.run(click())
    assert panel.errors.value == ""
    assert panel.run.status == "done"
    assert panel.run.settings == TrainingSettings(**SMALL | {"method": "lora"})
    assert panel.run.summary["samples"] == len(DS)
    assert status_of(panel) == f"done step {STEPS} of {STEPS}"
    assert (panel.run_panel.bar.value, panel.run_panel.bar.max) == (STEPS, STEPS)
    assert "<svg" in panel.run_panel.chart.value
    assert f"{panel.run.output_dir}/model" in panel.run_panel.outcome.value
    assert "training" in panel.run_panel.lines.value
    assert [visible(button) for button in (panel.run_panel.stop, panel.run_panel.resume)] == [False, False]
    assert not panel.start.disabled
    assert seen == [False]


def test_without_an_event_loop_refresh_shows_the_progress(make):
    panel = make()
    panel.start.click()
    panel.run.wait()
    panel.run_panel.refresh()
    assert "done" in status_of(panel)


def test_the_kernel_stays_responsive_while_rows_are_tokenized(make, monkeypatch, done):
    """Tokenizing many rows is slow: here it lasts until the kernel has run something else."""
    answered, refused = threading.Event(), threading.Event()

    def slow(*args, **settings):
        if not answered.wait(10):
            refused.set()
        raise UserError("enough")

    monkeypatch.setattr(panel_module, "finetune", slow)
    panel = make()

    async def click():
        panel.start.click()
        assert panel.form.output_dir.disabled
        answered.set()
        await until(lambda: panel.errors.last)

    asyncio.run(click())
    assert not refused.is_set()
    assert "enough" in panel.errors.value
    assert not panel.start.disabled
    assert not panel.form.output_dir.disabled


def test_stop_writes_a_checkpoint_and_resume_continues(make, monkeypatch, done):
    there = hold_at(2, monkeypatch)
    panel = make(method="full")

    async def clicks():
        panel.start.click()
        await until(there.is_set)
        await until(lambda: panel.run_panel and panel.run_panel.bar.value == 2)
        assert status_of(panel).startswith("running")
        assert panel.start.disabled
        panel.run_panel.stop.click()
        await until_ended(panel, "stopped")
        assert status_of(panel) == f"stopped after step 3 of {STEPS}; Resume continues from there"
        assert (panel.run.output_dir / "checkpoints" / "checkpoint-3").exists()
        assert visible(panel.run_panel.resume)
        monkeypatch.undo()
        panel.run_panel.resume.click()
        await until_ended(panel, "done")

    asyncio.run(clicks())
    assert [record["step"] for record in panel.run.history] == [1, 2, 3, 4]
    assert panel.run.summary["steps"] == STEPS


def test_a_failure_is_shown_with_its_cause_its_log_and_resume(make, monkeypatch):
    fail_at(2, monkeypatch)
    panel = make()

    async def click():
        panel.start.click()
        await until_ended(panel, "failed")

    asyncio.run(click())
    shown = panel.run_panel.outcome.value
    assert 'role="alert"' in shown
    assert "the loss is nan at step 2; try a lower learning_rate" in shown
    assert "The last lines of" in shown
    assert visible(panel.run_panel.resume)
    assert not panel.start.disabled


def test_a_queued_run_says_that_it_waits(make):
    panel = make()

    async def click():
        with processes.turn("cpu", lambda: False, print):
            panel.start.click()
            await until(lambda: "queued" in status_of(panel))
            assert "waits for another run to release the device" in status_of(panel)
        await until_ended(panel, "done")

    asyncio.run(click())


def test_a_wrong_setting_is_shown(make):
    panel = make()
    panel.form.rate.value = -1.0
    panel.start.click()
    assert "learning_rate=-1.0 must be a finite number above 0" in panel.errors.value
    assert not panel.start.disabled
    assert panel.run is None


def test_a_selection_without_rows_is_an_error(make):
    class Empty:
        dataset = table([], [])

    panel = make(selected=Empty)
    panel.start.click()
    assert isinstance(panel.errors.last, UserError)


def test_an_empty_folder_name_is_an_error(make):
    panel = make()
    panel.form.output_dir.value = "  "
    assert "type one, such as runs/mine" in panel.errors.value
    panel.errors.clear()
    panel.start.click()
    assert "type one, such as runs/mine" in panel.errors.value


# After a restart.


def test_a_new_panel_shows_the_run_in_its_folder(done, toy_model_dir):
    panel = TrainingPanel(Chosen, output_dir=done.output_dir)
    assert panel.run.output_dir == done.output_dir
    assert "done" in status_of(panel)
    assert not panel.start.disabled


def test_a_new_panel_follows_a_run_in_progress(make, monkeypatch):
    there = hold_at(2, monkeypatch)
    first = make()

    async def clicks():
        first.start.click()
        await until(there.is_set)
        again = make()
        assert status_of(again).startswith("running")
        assert again.start.disabled
        again.run_panel.stop.click()
        await until(lambda: "stopped" in status_of(again) and "stopped" in status_of(first))

    asyncio.run(clicks())


def test_a_run_that_ended_with_its_kernel_can_be_resumed(make, done, tmp_path):
    shutil.copytree(done.output_dir, tmp_path / "run")
    gone = {"host": wb.training.processes.identity()["host"], "pid": 2**22 + 1, "birth": 0.0}
    RunFolder(tmp_path / "run").update(status="running", process=gone, detached=False)
    panel = make()
    assert status_of(panel).startswith("failed")
    assert "its notebook&#x27;s kernel was restarted" in panel.run_panel.outcome.value
    assert panel.errors.value == ""  # it is no mistake of now
    assert visible(panel.run_panel.resume)


def test_another_folder_shows_another_run(make, done):
    panel = make()
    assert panel.run is None
    panel.form.output_dir.value = str(done.output_dir)
    assert "done" in status_of(panel)
    panel.form.output_dir.value = str(done.output_dir) + "-none"
    assert panel.run is None


def test_a_damaged_run_folder_is_shown_as_an_error(make, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("[]")
    panel = make()
    assert panel.errors.last is not None
    assert panel.run is None


def test_a_folder_that_disappears_is_shown_as_an_error(make, monkeypatch):
    there = hold_at(2, monkeypatch)
    panel = make()

    async def click():
        panel.start.click()
        await until(there.is_set)
        path = panel.run.output_dir
        path.rename(path.with_name("elsewhere"))
        await until(lambda: panel.errors.last)
        path.with_name("elsewhere").rename(path)
        panel.run.stop()

    asyncio.run(click())
    assert "no longer holds a run" in panel.errors.value
    assert not panel.start.disabled


# A run is never replaced without a question.


def test_a_run_is_replaced_only_after_a_question(make, done, tmp_path):
    shutil.copytree(done.output_dir, tmp_path / "run")
    before = attach(tmp_path / "run").log(100)
    panel = make()
    assert not visible(panel.question)
    panel.start.click()
    assert visible(panel.question)
    assert "holds a run (done)" in panel.question.text.value
    assert panel.question.move.description == f"Use {tmp_path / 'run-2'}"
    panel.question.cancel.click()
    assert not visible(panel.question)
    assert attach(tmp_path / "run").log(100) == before

    panel.start.click()
    panel.question.replace.click()
    panel.run.wait()
    assert not visible(panel.question)
    assert attach(tmp_path / "run").log(100) != before


def test_the_question_offers_an_unused_folder(make, done, tmp_path):
    shutil.copytree(done.output_dir, tmp_path / "run")
    (tmp_path / "run-2").mkdir()
    panel = make()
    panel.start.click()
    panel.question.move.click()
    assert panel.errors.value == ""
    assert panel.run.output_dir == tmp_path / "run-3"
    panel.run.wait()
    assert attach(tmp_path / "run").status == "done"


def test_a_run_started_by_another_notebook_is_kept(make, done, tmp_path):
    panel = make()
    shutil.copytree(done.output_dir, tmp_path / "run")
    panel.start.click()
    assert visible(panel.question)


# Alone in a cell.


def test_a_run_panel_takes_a_folder_or_a_run(done):
    for given in (str(done.output_dir), done.output_dir, done):
        panel = RunPanel(given)
        assert status_of(panel).startswith("done")
        assert not panel.active
    with pytest.raises(UserError, match="holds no run; start one"):
        RunPanel(done.output_dir / "none")


def test_pages_without_widgets_show_text_and_html(make, done):
    panel = make()
    assert repr(panel) == "<TrainingPanel of no run yet>"
    assert panel._repr_mimebundle_()["text/html"] == "&lt;TrainingPanel of no run yet&gt;"
    assert repr(RunPanel(done)) == f"<RunPanel of <Run {done.output_dir}: done, step {STEPS} of {STEPS}>>"
    panel.form.output_dir.value = str(done.output_dir)
    for shown in (panel, RunPanel(done)):
        html = shown._repr_mimebundle_()["text/html"]
        assert "<svg" in html
        assert f"{STEPS} of {STEPS}" in html


def test_a_selection_can_be_passed_directly(done):
    selection = wb.select(wb.first_look(), rows=3)
    panel = wb.widgets.TrainingPanel(selection, output_dir=done.output_dir.with_name("none"))
    assert panel._selected() is selection
    assert panel.errors in panel.children


# The form.


def test_the_form_has_the_settings_that_finetune_takes():
    form = TrainingForm("m", "runs/x", {"max_length": 512, "strategy": "balanced", "dtype": "float32"})
    form.epochs.value, form.checkpointing.value, form.train_on.value = 3, True, "all"
    settings = TrainingSettings(**form.settings())
    assert settings == TrainingSettings(
        method="lora",
        learning_rate=5e-4,
        batch_size=4,
        max_length=512,
        strategy="balanced",
        epochs=3,
        gradient_checkpointing=True,
        train_on="all",
        dtype="float32",
    )
    assert form.detached.value


def test_on_colab_a_run_is_in_the_kernel_by_default(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "google.colab", object())
    assert not TrainingForm("m", "runs/x", {}).detached.value


def test_the_default_learning_rate_follows_the_method():
    form = TrainingForm("m", "runs/x", {})
    form.method.value = "full"
    assert form.rate.value == 5e-5
    form.rate.value = 1e-4
    form.method.value = "lora"
    assert form.rate.value == 1e-4


def test_an_unknown_setting_raises():
    with pytest.raises(UserError, match="setting='epoch' is not known"):
        TrainingPanel(Chosen, epoch=2)
    with pytest.raises(UserError, match="strategy='magic' is not known"):
        TrainingPanel(Chosen, strategy="magic")


# The words.


def at(status: str, history: list[dict] = (RECORD,), **more) -> RunState:
    known = {"active": status in ("queued", "running"), "stopping": False, "detached": True, "error": None}
    known |= {"model": "m", "settings": TrainingSettings(), "summary": {}, "log": ""}
    return RunState(status=status, history=list(history), **known | more)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (at("queued", []), "queued waits for another run to release the device"),
        (at("running", []), "running loads the model"),
        (at("running"), "running about 14 s left; survives the kernel"),
        (at("running", detached=False), "running about 14 s left; ends with the kernel"),
        (at("running", stopping=True), "stopping ends after this step, with a checkpoint to resume from"),
        (at("stopped"), "stopped after step 3 of 10; Resume continues from there"),
        (at("stopped", []), "stopped after no step; Resume continues from there"),
        (at("failed"), "failed after step 3 of 10"),
        (at("done"), "done step 3 of 10"),
    ],
)
def test_the_status_in_words(now, words):
    assert f"{text_of(run_view.badge(now))[2:]} {run_view.meaning(now)}" == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (93_784, "26 h 3 min")],
)
def test_durations(seconds, words):
    assert run_view.duration(seconds) == words


def test_the_numbers_are_those_of_the_last_step():
    measured = {"step": 3, "heldout_loss": 1.5, "pass_at_1": 0.125}
    html = run_view.numbers(at("running", [RECORD, measured], summary={"padding_rate": 0.031}))
    assert numbers_in(html) == {
        "step": "3 of 10",
        "loss": "1.250",
        "held-out loss": "1.500",
        "pass@1": "12.5%",
        "tokens/s": "1,234",
        "peak memory": "1.5 GiB",
        "padding": "3.1%",
        "elapsed": "6 s",
    }
    assert run_view.numbers(at("queued", [])) == ""


def test_texts_of_a_run_are_escaped():
    evil = "<script>alert(1)</script>"
    now = at("failed", model=evil, error=f"{evil}\n{evil}", log=evil)
    for shown in (run_view.about(now, evil), run_view.outcome(now, evil), run_view.log(now)):
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown
    assert "<script>" not in run_view.outcome(at("done"), evil)


def test_the_chart_describes_itself_to_screen_readers():
    history = [{"step": 0, "heldout_loss": 2.0}]
    history += [{"step": i, "loss": 2.0 - i / 4} for i in (1, 2, 3)] + [{"step": 4, "loss": 1.0}]
    label = 'aria-label="Training loss from 1.750 at step 1 to 1.000 at step 4'
    assert f'{label}, held-out loss 2.000, pass@1 50.0%"' in run_view.chart(
        [*history, {"pass_at_1": 0.5, "step": 4}]
    )
    plain = run_view.chart(history[1:])
    assert f'{label}"' in plain
    assert "held-out" not in plain
    assert "pass@1" not in plain


def test_without_a_loss_there_is_no_chart():
    assert run_view.chart([]) == run_view.chart([{"step": 0, "heldout_loss": 1.0}]) == ""


def test_a_chart_is_drawn_again_only_for_new_records(done, monkeypatch):
    panel, drawn = RunPanel(done), []
    monkeypatch.setattr(run_view, "chart", lambda history: drawn.append(len(history)) or "")
    panel.refresh()
    assert drawn == []
    panel._charted = None
    panel.refresh()
    assert drawn == [len(done.history)]


def test_an_exception_while_following_is_shown(done, monkeypatch):
    """No callback catches the exception of a background task."""
    errors = ErrorPanel()

    async def follow():
        panel = RunPanel(done, errors)
        panel.active = True
        monkeypatch.setattr(run.run_view, "read", lambda run: 1 / 0)
        await panel.errors.guard(lambda: errors.start(panel._follow()))()
        assert not panel.active

    asyncio.run(follow())
    assert isinstance(errors.last, ZeroDivisionError)
