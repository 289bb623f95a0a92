"""`workbench finetune` in the foreground: preempted by a signal, the same command resumes the run."""

import os
import signal
import threading
import time
from pathlib import Path

import detached
import pytest
from trainings import DS, FAST, LONG, STEPS, reproducible, starter, steps_of, until

from workbench import cli
from workbench.core import tables
from workbench.study.recipe import Recipe
from workbench.training import Run, TrainingSettings, attach, checkpoints, loop, processes
from workbench.training.folder import RunFolder

pytestmark = pytest.mark.slow  # waits, kills and resumes


@pytest.fixture(scope="module")
def undisturbed(toy_model_dir, tmp_path_factory) -> Run:
    return starter(toy_model_dir("llama"), tmp_path_factory.mktemp("whole"))(save_steps=None).wait()


@pytest.fixture
def command(toy_model_dir, tmp_path, monkeypatch) -> list[str]:
    """Return the arguments of `workbench finetune` for a small study."""
    recipe = Recipe(model=str(toy_model_dir("llama")), training=TrainingSettings(**FAST | LONG))
    recipe.to_yaml(tmp_path / "recipe.yaml")
    tables.write_jsonl(DS, tmp_path / "rows.jsonl")
    monkeypatch.setattr(RunFolder, "append", detached.slowly(RunFolder.append))
    files = {"--recipe": "recipe.yaml", "--data": "rows.jsonl", "--output": "run"}
    return ["finetune", *(str(part) for name, file in files.items() for part in (name, tmp_path / file))]


def exit_code(command: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    return ended.value.code


def signal_at(step: int, number: int, folder: Path) -> None:
    def send():
        until(lambda: folder.exists() and steps_of(Run(folder)) >= step)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_repeating_a_preempted_command_resumes_the_run(command, undisturbed, tmp_path, capsys, number, code):
    signal_at(5, number, tmp_path / "run")
    assert exit_code(command) == code
    run = attach(tmp_path / "run")
    assert run.status == "stopped"
    assert 5 <= checkpoints.step_of(checkpoints.newest(run.output_dir / "checkpoints")) < STEPS
    cli.main(["status", str(tmp_path / "run")])
    assert f"run: stopped, step {steps_of(run)} of {STEPS}>" in capsys.readouterr().out
    assert exit_code(command) == 0
    assert reproducible(run) == reproducible(undisturbed)
    printed = capsys.readouterr().out
    assert "resuming from checkpoint-" in printed
    assert f"step {STEPS} of {STEPS} · loss " in printed
    assert exit_code(command) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run'}: already done\n"


def test_a_command_waits_until_a_lost_machine_counts_as_dead(command, undisturbed, tmp_path, monkeypatch):
    signal_at(5, signal.SIGTERM, tmp_path / "run")
    assert exit_code(command) == 143
    folder = RunFolder(tmp_path / "run")
    folder.update(status="running", process=processes.identity() | {"host": "another-machine"})
    monkeypatch.setattr(processes, "_SILENCE", 1.0)
    start = time.monotonic()
    assert exit_code(command) == 0
    assert time.monotonic() - start > 1
    assert reproducible(Run(folder.path)) == reproducible(undisturbed)


def test_a_command_with_other_rows_leaves_the_run_alone(command, tmp_path, capsys):
    assert exit_code(command) == 0
    tables.write_jsonl(DS.select(range(4)), tmp_path / "rows.jsonl")
    assert exit_code(command) == 2
    assert "holds a run with rows='" in capsys.readouterr().err


def test_a_failing_command_prints_the_error(command, monkeypatch, capsys):
    monkeypatch.setattr(loop._PlanTrainer, "training_step", lambda *_: {}["no such key"])
    assert exit_code(command) == 1
    assert "KeyError: 'no such key'" in capsys.readouterr().err
