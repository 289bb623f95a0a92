"""The paper's recipes, number by number, and how a recipe is named on the command line."""

from dataclasses import asdict

import pytest

import workbench as wb
from workbench import cli
from workbench.core.errors import MissingFileError, UserError
from workbench.study.presets import PRESETS, recipe_of
from workbench.study.recipe import Recipe

PAPER = ["paper-deepseek-oss", "paper-codellama-evol"]


@pytest.mark.parametrize("name", PAPER)
class TestPaper:
    def test_training_is_as_released(self, name):
        assert asdict(wb.preset(name).training) == {
            "method": "full",
            "epochs": 3,
            "max_steps": None,
            "optimizer": "adamw",
            "learning_rate": 5e-5,
            "scheduler": "cosine",
            "warmup_steps": 15,
            "weight_decay": 0.0,
            "batch_size": 16,
            "accumulation": 4,
            "max_length": 2048,
            "strategy": "dynamic",
            "overlong": "truncate",
            "template": name.split("-")[1],
            "train_on": "last",
            "leaky": False,
            "lora_r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.1,
            "gradient_checkpointing": True,
            "save_minutes": 20.0,  # not in the paper
            "save_steps": None,
            "dtype": "bfloat16",
            "eval_steps": None,
            "eval_tasks": 0,
            "eval_twins": 0,
            "eval_benchmark": "held-out",
            "eval_max_new_tokens": 256,
            "tf32": True,
            "device": "auto",
            "seed": 0,
        }
        assert wb.preset(name).gpus == 8

    def test_selection_is_as_described(self, name):
        recipe = wb.preset(name)
        assert (recipe.convention, recipe.prompt, recipe.variant) == ("paper", "paper", "ppl-ratio")
        assert (recipe.score_max_length, recipe.min_tokens, recipe.shrinkage) == (None, 1, 0.0)
        assert (recipe.embedder, recipe.k, recipe.cluster_seed) == ("all-mpnet-base-v2", 10, 42)
        assert (recipe.ratio, recipe.strategy, recipe.max_ifd) == (0.4, "ifd-cluster", 1.0)
        assert (recipe.rows, recipe.max_new_tokens) == (None, 1024)
        assert recipe.scorer == recipe.model


def test_models_and_data_are_the_papers():
    deepseek, codellama = (wb.preset(name) for name in PAPER)
    assert deepseek.data == "ise-uiuc/Magicoder-OSS-Instruct-75K"
    assert deepseek.model == "deepseek-ai/deepseek-coder-6.7b-base"
    assert codellama.data == "nickrosh/Evol-Instruct-Code-80k-v1"
    assert codellama.model == "codellama/CodeLlama-7b-Python-hf"


@pytest.mark.parametrize("name", PRESETS)
def test_a_printed_preset_is_a_recipe_file(name, capsys, tmp_path):
    cli.main(["recipe", name])
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    assert Recipe.from_yaml(tmp_path / "mine.yaml") == wb.preset(name) == recipe_of(tmp_path / "mine.yaml")


def test_recipe_without_a_name_lists_the_presets(capsys):
    cli.main(["recipe"])
    assert capsys.readouterr().out.split() == list(PRESETS)


def test_a_recipe_is_given_by_name_file_or_instance(tmp_path):
    assert recipe_of("quickstart") is PRESETS["quickstart"]
    assert recipe_of(Recipe(k=3)) == Recipe(k=3)
    with pytest.raises(UserError, match=r"recipe=.paper. is neither a file nor a preset"):
        recipe_of("paper")
    with pytest.raises(MissingFileError, match=r"my\.yaml is not a file"):
        recipe_of(tmp_path / "my.yaml")


class TestCommandLine:
    def test_export(self, tmp_path, capsys):
        cli.main(["export", "bundled", str(tmp_path / "out"), "--format", "alpaca"])
        assert capsys.readouterr().out == f"wrote {tmp_path / 'out'}\n"
        assert len(wb.load(tmp_path / "out/data.json")) == 344

    def test_launch_prints_its_command(self, tmp_path, capsys):
        folder = tmp_path / "run"
        options = ["--recipe", "paper-deepseek-oss", "--gpus", "2", "--data", "bundled"]
        cli.main(["launch", *options, "--output", str(folder)])
        command = capsys.readouterr().out
        assert command.startswith(
            f"accelerate launch --config_file {folder}/accelerate.yaml -m workbench.study.launch"
        )
        assert Recipe.from_yaml(folder / "recipe.yaml").training.accumulation == 16

    def test_an_error_is_one_sentence(self, capsys):
        with pytest.raises(SystemExit):
            cli.main(["recipe", "papr"])
        assert capsys.readouterr().err.startswith("workbench: recipe='papr' is neither a file nor a preset")
