"""Every command that reads data has the options of `wb.load`, and so has the recipe."""

import inspect
import json

import pytest

import workbench as wb
from workbench import cli, data
from workbench.core.errors import UserError
from workbench.study import recipe as recipes
from workbench.study.presets import QUICKSTART
from workbench.study.recipe import DATA_FIELDS, Recipe

VALUES = {
    **{"instruction": "ask", "response": "reply", "input": "code", "system": "persona", "dialogue": "turns"},
    **{"split": "test", "config": "python", "revision": "v1", "streaming": True, "encoding": "latin-1"},
    "limit": 7,
}
NOT_IN_RECIPES = {"source", "storage_options"}  # a recipe holds no credentials
DEFAULTS = {name: getattr(Recipe, name) for name in DATA_FIELDS}
# Command -> its arguments besides those of the data.
COMMANDS = {
    "quickstart": ["quickstart", "--data", "d.csv"],
    "score": ["score", "--data", "d.csv"],
    "inspect": ["inspect", "d.csv"],
    "select": ["select", "--recipe", "quickstart", "--data", "d.csv"],
    "export": ["export", "d.csv", "out"],
    "finetune": ["finetune", "--data", "d.csv"],
    "sweep": ["sweep", "--recipe", "quickstart", "--data", "d.csv"],
}


class Arrived(Exception):
    """Raised in place of loading."""


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The calls of `load`, as (source, arguments)."""
    calls = []

    def load(source, **arguments):
        arguments.pop("storage_options", None)
        calls.append((source, DEFAULTS | arguments))
        raise Arrived

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "load", load)
    monkeypatch.setattr(data, "load", load)
    return calls


def options(values: dict) -> list[str]:
    pairs = [[f"--{name}", *([] if value is True else [str(value)])] for name, value in values.items()]
    return [word for pair in pairs for word in pair]


def test_a_recipe_has_all_parameters_of_load():
    assert set(DATA_FIELDS) == inspect.signature(wb.load).parameters.keys() - NOT_IN_RECIPES
    assert VALUES.keys() == set(DATA_FIELDS)
    parameters = inspect.signature(wb.load).parameters
    assert {name: parameters[name].default for name in DATA_FIELDS} == DEFAULTS


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("values", [VALUES, {"dialogue": "turns"}, {}], ids=["all", "one", "none"])
def test_options_of_the_data_reach_load(calls, command, values):
    with pytest.raises(Arrived):
        cli.main([*COMMANDS[command], *options(values)])
    assert calls == [("d.csv", DEFAULTS | values)]


def test_other_data_does_not_take_the_settings_of_the_recipes_own(calls, tmp_path):
    Recipe(data="mine.csv", split="test", encoding="latin-1", limit=3).to_yaml(tmp_path / "r.yaml")
    for arguments in ([], ["--data", "d.csv"], ["--encoding", "utf-16"]):
        with pytest.raises(Arrived):
            cli.main(["select", "--recipe", "r.yaml", *arguments])
    own = DEFAULTS | {"split": "test", "encoding": "latin-1", "limit": 3}
    assert calls == [("mine.csv", own), ("d.csv", DEFAULTS), ("mine.csv", own | {"encoding": "utf-16"})]


def test_launch_writes_the_options_into_its_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["launch", "--recipe", "quickstart", "--output", "run", "--data", "d.csv"]
    cli.main([*common, *options(VALUES)])
    assert Recipe.from_yaml(tmp_path / "run" / "recipe.yaml") == QUICKSTART.of_data("d.csv", **VALUES)


def test_held_out_rows_have_a_split_of_their_own(monkeypatch, tmp_path):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "load", lambda source, **arguments: calls.append(arguments))
    monkeypatch.setattr(data, "load", lambda source, **arguments: calls.append(arguments))
    monkeypatch.setattr("workbench.training.job.run_here", lambda *arguments, **settings: 0)
    files = ["finetune", "--data", "d", "--heldout", "d", "--heldout-split", "test", "--limit", "3"]
    with pytest.raises(SystemExit):
        cli.main([*files, "--instruction", "ask"])
    assert [call["split"] for call in calls] == ["train", "test"]
    assert [call["instruction"] for call in calls] == ["ask", "ask"]
    assert [call["limit"] for call in calls] == [3, None]


def test_a_file_that_needs_every_option_is_read(tmp_path, capsys):
    for split in ("train", "test"):
        rows = [f"{split} {n} é,naïve {n},soyez bref" for n in range(5)]
        text = "\n".join(["ask,reply,who", *rows])
        (tmp_path / f"{split}.csv").write_text(text, encoding="latin-1")
    values = {"instruction": "ask", "response": "reply", "system": "who", "split": "test", "limit": 4}
    values |= {"encoding": "latin-1"}
    out = tmp_path / "kept.jsonl"
    common = ["--recipe", "quickstart", "--strategy", "random", "--ratio", "1", "--output", str(out)]
    cli.main(["select", "--data", str(tmp_path), *common, *options(values)])
    assert "4 of 4 rows kept" in capsys.readouterr().out
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["instruction"] for row in kept] == [f"soyez bref\n\ntest {n} é" for n in range(4)]
    assert Recipe(**values).of_data(str(tmp_path), **values).load()["id"][:] == [row["id"] for row in kept]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("split", 3, "split=3 must be text"),
        ("split", None, "split=None must be text"),
        ("config", ["a"], r"config=\['a'\] must be text"),
        ("revision", 1.5, "revision=1.5 must be text"),
        ("streaming", 1, "streaming=1 must be True or False"),
        ("encoding", "klingon", "encoding='klingon' is no text encoding"),
        ("encoding", "\0", "is no text encoding"),
        ("limit", 0, "limit=0 must be a whole number of at least 1"),
    ],
)
def test_a_wrong_value_is_named(name, value, message):
    with pytest.raises(UserError, match=message):
        wb.load([{"instruction": "q", "output": "a"}], **{name: value})
