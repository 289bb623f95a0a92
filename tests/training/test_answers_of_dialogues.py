"""Training on rows with turns: on the last answer, or on all."""

import pytest
from chats import DIALOGUE, chat_model
from trainings import DS, FAST

from workbench import cli
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.evaluation import heldout_loss
from workbench.lm import forward, models, prompts
from workbench.study.recipe import Recipe
from workbench.training import TrainingSettings, attach, finetune
from workbench.training.folder import RunFolder

ROWS = tables.with_columns(
    DS.select(range(4)),
    {"dialogue": [DIALOGUE, None, [*DIALOGUE, DIALOGUE[2], DIALOGUE[3]], [DIALOGUE[1]]]},
    {"dialogue": [{"role": tables.TEXT, "content": tables.TEXT}]},
)


@pytest.fixture(scope="module")
def model(toy_model_dir, toy_tokenizer, tmp_path_factory):
    return chat_model(toy_model_dir("llama"), toy_tokenizer, tmp_path_factory.mktemp("chat"))


@pytest.mark.parametrize("train_on", ["last", "all"])
@pytest.mark.parametrize("strategy", ["pad", "flat"])
def test_the_first_loss_is_that_of_the_answers(model, tmp_path, train_on, strategy):
    settings = FAST | {"strategy": strategy, "train_on": train_on}
    run = finetune(ROWS, model, tmp_path / "run", **settings, heldout=ROWS, eval_steps=1).wait()
    samples = RunFolder(run.output_dir).read_samples()
    loaded, tokenizer = models.load_model(model, "float32", "cpu")
    questions = prompts.questions(ROWS, "chat")
    assert samples == prompts.training_samples(
        tokenizer, questions, ROWS["response"][:], "chat", train_on=train_on
    )
    n = sum(sample.n_targets for sample in samples)
    assert run.history[0]["loss"] == pytest.approx(sum(forward.summed_nll(loaded, samples)) / n, rel=1e-4)
    tuned, _ = models.load_model(run.model_dir, "float32", "cpu")
    assert run.history[-1]["heldout_loss"] == pytest.approx(heldout_loss(tuned, tokenizer, ROWS), rel=1e-4)


def test_other_templates_take_no_turns(model, tmp_path):
    with pytest.raises(UserError, match="train_on='all' needs the turns of a dialogue, which template='deep"):
        finetune(ROWS, model, tmp_path / "run", template="deepseek", train_on="all", **FAST)
    assert finetune(ROWS, model, tmp_path / "run", template="deepseek", **FAST).wait().status == "done"


def test_the_command_line_chooses_the_answers(model, tmp_path):
    Recipe(model=str(model), training=TrainingSettings(**FAST)).to_yaml(tmp_path / "recipe.yaml")
    tables.write_jsonl(DS, tmp_path / "rows.jsonl")
    options = {"--recipe": "recipe.yaml", "--data": "rows.jsonl", "--output": "run"}
    arguments = [str(part) for name, file in options.items() for part in (name, tmp_path / file)]
    with pytest.raises(SystemExit) as ended:
        cli.main(["finetune", *arguments, "--train-on", "all"])
    assert ended.value.code == 0
    assert attach(tmp_path / "run").settings.train_on == "all"
