"""Two processes train as one does, and accelerate reads the files that start them."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.commands.launch import launch_command_parser
from accelerate.state import AcceleratorState
from conftest import table
from safetensors.torch import load_file
from trainings import fail_at

from workbench.core import tables
from workbench.core.errors import UserError
from workbench.lm.prompts import Sample
from workbench.study import launch
from workbench.study.presets import preset
from workbench.study.recipe import Recipe
from workbench.training import TrainingSettings, attach, checkpoints, finetune, processes
from workbench.training.folder import History, RunFolder
from workbench.training.schedule import Collator, Rounds, Schedule

CHECKOUT = Path(launch.__file__).parents[1]
# Lengths vary, and 11 rows in batches of 2 on two processes leave an idle batch at the end.
DS = table(
    [f"Write number {i}, {'please ' * (i % 4)}now." for i in range(11)],
    [f"def f{i}():\n    return {' + '.join('abcdefgh'[: 1 + 5 * i % 8])}" for i in range(11)],
)
SETTINGS = TrainingSettings(
    epochs=3, learning_rate=1e-2, batch_size=2, max_length=256, dtype="float32", device="cpu", save_steps=100
)


@pytest.mark.slow
def test_two_processes_train_as_one(toy_model_dir, tmp_path):
    tables.write_jsonl(DS, tmp_path / "rows.jsonl")
    recipe = Recipe(model=str(toy_model_dir("llama")), training=SETTINGS, gpus=2)
    command = launch.prepare(recipe, tmp_path / "two", str(tmp_path / "rows.jsonl"))
    arguments = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *shlex.split(command)[1:]]
    env = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr[-3000:]

    one = finetune(DS, toy_model_dir("llama"), tmp_path / "one", **vars(recipe.on(1).training)).wait()
    lines = (tmp_path / "two/history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert [record["step"] for record in history] == list(range(1, 10))
    for name in ("loss", "tokens", "learning_rate"):
        assert [record[name] for record in history] == pytest.approx(
            [record[name] for record in one.history], rel=1e-5
        )
    assert history[-1]["loss"] < history[0]["loss"] - 0.5
    expected = load_file(one.model_dir / "model.safetensors")
    weights = load_file(tmp_path / "two/model/model.safetensors")
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    state = json.loads((tmp_path / "two/run.json").read_text())
    assert (state["status"], state["summary"]["processes"]) == ("done", 2)
    assert state["summary"]["rows_sha256"] == one.summary["rows_sha256"]


def samples(*lengths: int) -> list[Sample]:
    return [Sample(tuple(range(5, 5 + length)), 1) for length in lengths]


@pytest.mark.parametrize(("world", "length"), [(1, 3), (2, 4), (3, 3), (8, 8)])
def test_rounds_are_full_and_hold_each_batch_once(world, length):
    settings = replace(SETTINGS, epochs=1)
    schedule = Schedule(samples(9, 4, 7, 5, 3), settings)
    rounds = Rounds(schedule, world)
    assert len(rounds) == length
    assert [rounds[t] for t in range(3)] == [schedule[t] for t in range(3)]
    for t in range(3, length):
        labels = Collator(0, settings, isolated=True)([rounds[t]])["labels"]
        assert (labels == -100).all()


def test_one_process_agrees_with_itself():
    assert processes.any_process(True)
    assert not processes.any_process(False)


class TestRecipe:
    @pytest.mark.parametrize(("gpus", "accumulation"), [(8, 4), (1, 32), (2, 16), (32, 1)])
    def test_a_step_sees_as_many_samples_on_any_number_of_gpus(self, gpus, accumulation):
        recipe = preset("paper-deepseek-oss").on(gpus)
        assert (recipe.gpus, recipe.training.accumulation) == (gpus, accumulation)

    def test_batches_that_cannot_be_shared_evenly_are_an_error(self):
        with pytest.raises(UserError, match=r"gpus=3 cannot share the 32 batches .* that divides 32"):
            preset("paper-deepseek-oss").on(3)


class TestFolder:
    @pytest.fixture
    def prepared(self, tmp_path):
        self.command = launch.prepare(preset("paper-deepseek-oss"), tmp_path / "a run", "sel.jsonl", 4)
        return tmp_path / "a run"

    def test_accelerate_parses_the_command(self, prepared):
        assert self.command.startswith("accelerate launch --config_file ")
        parsed = launch_command_parser().parse_args(shlex.split(self.command)[2:])
        assert Path(parsed.config_file) == prepared / "accelerate.yaml"
        assert (parsed.module, parsed.training_script) == (True, "workbench.study.launch")
        assert parsed.training_script_args == [str(prepared)]
        script = (prepared / "launch.sh").read_text()
        assert f'exec {self.command} "$@"' in script
        assert os.access(prepared / "launch.sh", os.X_OK)

    def test_accelerate_reads_its_configuration(self, prepared):
        config = ClusterConfig.from_yaml_file(prepared / "accelerate.yaml")  # refuses unknown keys
        assert (config.distributed_type, config.num_processes, config.mixed_precision) == ("FSDP", 4, "bf16")
        options = {option.dest for option in launch_command_parser()._actions}
        assert set(config.fsdp_config) <= options

    def test_the_recipe_is_written_for_that_number_of_gpus(self, prepared):
        recipe = Recipe.from_yaml(prepared / "recipe.yaml")
        assert recipe == replace(preset("paper-deepseek-oss").on(4), data="sel.jsonl")

    def test_a_folder_that_is_not_empty_is_an_error(self, prepared):
        with pytest.raises(UserError, match=r"is not empty; nothing is overwritten"):
            launch.prepare(preset("quickstart"), prepared, "sel.jsonl")

    def test_qlora_on_several_gpus_is_an_error(self, tmp_path):
        paper = preset("paper-deepseek-oss")
        qlora = replace(paper, training=replace(paper.training, method="qlora"))
        with pytest.raises(UserError, match=r"method='qlora' runs on one GPU, not on gpus=8"):
            launch.prepare(qlora, tmp_path / "run", "sel.jsonl")

    def test_cpus_train_data_parallel(self):
        config = launch.accelerate_config(Recipe(training=SETTINGS, gpus=2))
        assert (config["distributed_type"], config["use_cpu"]) == ("MULTI_GPU", True)
        assert yaml.safe_load(yaml.safe_dump(config)) == config


class TestProcess:
    """One process of a launched run, in this one."""

    SETTINGS = replace(SETTINGS, save_steps=2, epochs=2)

    @pytest.fixture
    def folder(self, toy_model_dir, tmp_path):
        tables.write_jsonl(DS, tmp_path / "rows.jsonl")
        recipe = Recipe(model=str(toy_model_dir("llama")), training=self.SETTINGS)
        launch.prepare(recipe, tmp_path / "run", str(tmp_path / "rows.jsonl"))
        yield RunFolder(tmp_path / "run")
        AcceleratorState._reset_state(reset_partial_state=True)

    def test_a_run_that_failed_continues_when_it_is_started_again(self, folder, monkeypatch):
        fail_at(5, monkeypatch)
        with pytest.raises(FloatingPointError):
            launch.main([str(folder.path)])
        failed = folder.read()
        assert failed["status"] == "failed"
        assert "the loss is nan at step 5" in failed["error"]
        before = History(folder.history_file).read()
        assert [record["step"] for record in before] == [1, 2, 3, 4]

        launch.main([str(folder.path)])
        state, history = folder.read(), History(folder.history_file).read()
        assert (state["status"], state["error"]) == ("done", None)
        assert history[:4] == before
        assert [record["step"] for record in history] == list(range(1, history[-1]["of"] + 1))
        assert state["summary"]["steps"] == history[-1]["of"] == 12

        launch.main([str(folder.path)])  # nothing is left to do
        assert History(folder.history_file).read() == history

    def test_a_run_shows_that_it_is_alive_and_can_be_stopped(self, folder, monkeypatch):
        seen, heartbeat = [], processes.heartbeat

        def noticed(file):
            seen.append((file, folder.read()["status"], attach(folder.path).status))
            folder.stop_file.touch()
            return heartbeat(file)

        monkeypatch.setattr(processes, "heartbeat", noticed)
        monkeypatch.setattr("workbench.training.lifecycle.thread_of", lambda folder: True)
        launch.main([str(folder.path)])
        assert seen == [(folder.state_file, "running", "running")]
        assert folder.read()["status"] == "stopped"
        assert checkpoints.newest(folder.checkpoints) is not None

    def test_the_first_process_to_fail_says_why(self, folder):
        recipe = replace(Recipe.from_yaml(folder.path / "recipe.yaml"), gpus=2)
        launch._begin(folder, recipe)
        launch._record_failure(folder, recipe, UserError("the disk of node 2 is gone."), 1)
        launch._record_failure(folder, recipe, RuntimeError("Connection closed by peer"), 0)
        state = folder.read()
        assert state["status"] == "failed"
        assert state["error"].startswith("Process 1 of 2: the disk of node 2 is gone.")
