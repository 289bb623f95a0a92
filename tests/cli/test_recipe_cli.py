"""Recipes to and from YAML, and the command line: its output and exit codes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

import workbench
from workbench import cli
from workbench.core.errors import MissingFileError, UserError
from workbench.study import journey
from workbench.study.presets import QUICKSTART
from workbench.study.recipe import Recipe
from workbench.training import TrainingSettings

CHECKOUT = Path(workbench.__file__).parents[1]


def recipe_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


class TestRecipe:
    @pytest.mark.parametrize("recipe", [Recipe(), QUICKSTART], ids=["paper", "quickstart"])
    def test_round_trip(self, recipe, tmp_path):
        recipe.to_yaml(tmp_path / "r.yaml")
        assert Recipe.from_yaml(tmp_path / "r.yaml") == recipe

    def test_defaults_are_written_out(self, tmp_path):
        Recipe().to_yaml(tmp_path / "r.yaml")
        written = yaml.safe_load((tmp_path / "r.yaml").read_text())
        assert list(written) == [field.name for field in fields(Recipe)]
        assert list(written["training"]) == [field.name for field in fields(TrainingSettings)]

    def test_absent_settings_take_their_defaults(self, tmp_path):
        assert Recipe.from_yaml(recipe_file(tmp_path, "")) == Recipe()
        recipe = Recipe.from_yaml(recipe_file(tmp_path, "ratio: 0.2\ntraining:\n  epochs: 3\n"))
        assert recipe == Recipe(ratio=0.2, training=TrainingSettings(epochs=3))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ratio: 1", Recipe(ratio=1.0)),
            ("rows: 100", Recipe(rows=100)),
            ("rows: null", Recipe(rows=None)),
            ("full: yes", Recipe(full=True)),
            # YAML reads this number as a string.
            ("training: {learning_rate: 5e-4}", Recipe(training=TrainingSettings(learning_rate=5e-4))),
        ],
    )
    def test_values_as_people_write_them(self, text, expected, tmp_path):
        assert Recipe.from_yaml(recipe_file(tmp_path, text)) == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "ratoi: 0.4",
                r"recipe.yaml: 'ratoi' is not a setting; the settings are data, instruction, .*seed",
            ),
            (
                "training:\n  lr: 1",
                r"recipe.yaml: training: 'lr' is not a setting; the settings are method, .*seed",
            ),
            ("training: 5", "recipe.yaml: training holds int; write settings as `name: value`"),
            ("training:", "recipe.yaml: training holds NoneType; write settings as `name: value`"),
            ("- ratio", "recipe.yaml holds list; write settings as `name: value`"),
            ("ratio: [", "recipe.yaml is not valid YAML: .* line 1"),
            ("ratio: 0", "ratio=0.0 must be above 0 and at most 1"),
            ("ratio: 1.5", "ratio=1.5 must be above 0 and at most 1"),
            ("ratio: much", "recipe.yaml: ratio='much' must be of type float"),
            ("max_ifd: true", "recipe.yaml: max_ifd=True must be of type float"),
            ("by: 5", "recipe.yaml: by=5 must be of type str"),
            ("{by: n_tokens, strategy: random}", "by='n_tokens' has no effect on strategy='random'"),
            ("{by: n_tokens, max_ifd: 0.9}", "max_ifd=0.9 bounds IFD, but by='n_tokens' takes its place"),
            ("{strategy: ifd-band, lower: 0.9}", "lower=0.9 must be below upper=0.75"),
            ("upper: 0.9", "upper=0.9 has no effect on strategy='ifd-cluster'"),
            ("data: 5", "recipe.yaml: data=5 must be of type str"),
            ("k: '10'", "recipe.yaml: k='10' must be of type int"),
            ("k: 0", "k=0 must be a whole number of at least 1"),
            ("rows: 1.5", r"recipe.yaml: rows=1.5 must be of type int \| None"),
            ("rows: 0", "rows=0 must be a whole number of at least 1"),
            ("rows: 40", "rows=40 leaves no rows to train on beside held_out=40"),
            ("held_out: -1", "held_out=-1 must be a whole number of at least 1"),
            ("max_new_tokens: 0", "max_new_tokens=0 must be a whole number of at least 1"),
            ("strategy: best", "strategy='best' is not known; choose one of cluster-random, deita, "),
            ("training: {method: dora}", "method='dora' is not known; choose one of full, lora, qlora"),
            ("training: {optimizer: sgd}", "optimizer='sgd' is not known; choose one of adafactor, adamw, "),
            ("training: {learning_rate: 0}", "learning_rate=0.0 must be a finite number above 0"),
        ],
    )
    def test_errors_name_the_setting(self, text, message, tmp_path):
        with pytest.raises(UserError, match=message):
            Recipe.from_yaml(recipe_file(tmp_path, text))

    def test_not_utf8(self, tmp_path):
        (tmp_path / "recipe.yaml").write_bytes(b"data: \xff")
        with pytest.raises(UserError, match=r"recipe\.yaml is not valid YAML"):
            Recipe.from_yaml(tmp_path / "recipe.yaml")

    @pytest.mark.parametrize("name", ["absent.yaml", ""])
    def test_no_file(self, name, tmp_path):
        with pytest.raises(MissingFileError, match=r"is not a file; give a recipe written by Recipe\.to"):
            Recipe.from_yaml(tmp_path / name)


class TestCommandLine:
    @pytest.mark.slow
    def test_an_unknown_model_is_reported_in_one_sentence(self, tmp_path):
        here = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-m", "workbench", "quickstart", "--model", "no/such"],
            cwd=tmp_path,
            env=here
            | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("workbench: model='no/such' cannot be found. local folder: there is no")
        assert "hub: out of reach (ConnectionRefusedError from http://127.0.0.1:9)" in done.stderr
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--ratio", "1.5", "ratio=1.5 must be above 0 and at most 1"),
            ("--ratio", "0", "ratio=0.0 must be above 0 and at most 1"),
            ("--rows", "-3", "rows=-3 must be a whole number of at least 1"),
            ("--rows", "30", "rows=30 leaves no rows to train on beside held_out=40"),
            ("--data", "missing.jsonl", "missing.jsonl does not exist; check the path"),
            ("--recipe", "missing.yaml", "missing.yaml is not a file"),
        ],
    )
    def test_an_error_is_one_sentence_and_exit_code_2(
        self, option, value, message, capsys, monkeypatch, tmp_path
    ):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            cli.main(["quickstart", option, value])
        errors = capsys.readouterr().err
        assert ended.value.code == 2
        assert errors.startswith(f"workbench: {message}")
        assert errors.count("\n") == 1

    def test_finetune_says_that_it_trains_on_one_gpu_and_keeps_the_samples_of_a_step(
        self, capsys, monkeypatch, tmp_path
    ):
        from workbench.training import job

        settings = {}
        monkeypatch.setattr(job, "run_here", lambda *args, **options: settings.update(options) or 0)
        Recipe(gpus=4, training=TrainingSettings(accumulation=2)).to_yaml(tmp_path / "recipe.yaml")
        files = ["--recipe", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "run")]
        with pytest.raises(SystemExit) as ended:
            cli.main(["finetune", *files])
        assert (ended.value.code, settings["accumulation"]) == (0, 8)
        assert "gpus=4: finetune trains on one, with accumulation=8 instead of 2" in capsys.readouterr().out

    @pytest.mark.parametrize("arguments", [["fly"], [], ["quickstart", "--ratio", "much"]])
    def test_an_unknown_command_prints_the_usage(self, arguments, capsys):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith("usage: workbench")

    @pytest.mark.parametrize(
        ("arguments", "shown"),
        [
            (["--help"], "first-look"),
            (["quickstart", "--help"], "--recipe"),
            (["first-look", "--help"], "usage: workbench first-look"),
        ],
    )
    def test_help(self, arguments, shown, capsys):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert not ended.value.code
        assert shown in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], QUICKSTART),
            (["--rows", "0", "--full"], replace(QUICKSTART, rows=None, full=True)),
            (["--model", "m", "--data", "d.csv"], replace(QUICKSTART, model="m", scorer="m", data="d.csv")),
            (["--recipe", "recipe.yaml"], Recipe(full=True, k=3)),
            (
                ["--strategy", "ifd-band", "--by", "quality", "--lower", "0.4", "--upper", "0.9"],
                replace(QUICKSTART, strategy="ifd-band", by="quality", lower=0.4, upper=0.9),
            ),
            (["--recipe", "recipe.yaml", "--ratio", "0.1"], Recipe(full=True, k=3, ratio=0.1)),
        ],
    )
    def test_options_change_the_recipe(self, arguments, expected, monkeypatch, tmp_path):
        class Arrived(Exception):
            pass

        def travel(recipe, folder):
            assert recipe == expected
            assert folder == Path("runs/quickstart")
            raise Arrived

        monkeypatch.chdir(tmp_path)
        recipe_file(tmp_path, "full: true\nk: 3")
        monkeypatch.setattr(journey, "travel", travel)
        with pytest.raises(Arrived):
            cli.main(["quickstart", *arguments])

    def test_select_ranks_by_a_column_of_the_data(self, tmp_path, capsys):
        rows = [{"instruction": f"add {i}", "response": f"x + {i}", "quality": i % 7} for i in range(20)]
        data, kept = tmp_path / "rows.jsonl", tmp_path / "kept.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        choose = ["select", "--recipe", "quickstart", "--data", str(data), "--output", str(kept)]
        cli.main([*choose, "--strategy", "ifd-top", "--by", "quality", "--ratio", "0.2"])
        assert "4 of 20 rows kept by ifd-top by quality" in capsys.readouterr().out
        assert [json.loads(line)["quality"] for line in kept.read_text().splitlines()] == [5, 6, 5, 6]
        for by, problem in (("instruction", "holds no numbers"), ("qualty", "is missing from the dataset")):
            with pytest.raises(SystemExit) as ended:
                cli.main([*choose, "--by", by])
            assert ended.value.code == 2
            named = "name a numeric one (there are: quality)."
            assert capsys.readouterr().err == f"workbench: by='{by}': this column {problem}; {named}\n"

    def test_an_interrupt_ends_with_130(self, monkeypatch, capsys):
        # Python's own handler, since shells make background jobs ignore SIGINT.
        monkeypatch.setattr(journey, "travel", lambda *_: signal.default_int_handler(signal.SIGINT, None))
        with pytest.raises(SystemExit) as ended:
            cli.main(["quickstart"])
        assert ended.value.code == 130
        assert capsys.readouterr().err.startswith("workbench: stopped;")


@pytest.fixture
def leaking(tmp_path, monkeypatch) -> Path:
    """Twelve scored rows, of which the second leaks the only task of a benchmark."""
    text = "Write a function that counts the vowels of every word in a sentence and returns the largest"
    task = {"task_id": "T/0", "prompt": f'def most(s):\n    """{text}"""\n', "canonical_solution": "pass"}
    for name in ("HUMANEVAL", "MBPP"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(task))
        monkeypatch.setenv(f"{name}_OVERRIDE_PATH", str(tmp_path / f"{name}.jsonl"))
    names = [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ]
    rows = [{"instruction": f"Count to {name}.", "response": f"count({name})"} for name in names]
    rows[1]["instruction"] = text
    for number, row in enumerate(rows):
        row |= {"quality": number, "n_tokens": 10}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_inspect_reports_and_leaves_out_only_on_request(leaking, tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    cli.main(["inspect", str(leaking)])
    assert "12 rows, 1 with a flag" in capsys.readouterr().out
    cli.main(["inspect", str(leaking), "--output", str(output)])
    marked = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["contaminated_by"] for row in marked[:3]] == [None, "T/0", None]
    cli.main(["inspect", str(leaking), "--drop", "leak", "refusal", "--output", str(output)])
    assert f"{output}: 11 of 12 rows remain" in capsys.readouterr().out
    assert len(output.read_text().splitlines()) == 11
    for arguments, message in (
        (["--drop", "leak"], "--drop needs --output FILE"),
        (["--drop", "rude", "--output", str(output)], "--drop='rude' is not known; choose one of empty"),
        (["--output", str(tmp_path / "out.xlsx")], "--output's suffix='.xlsx' is not known"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["inspect", str(leaking), *arguments])
        assert message in capsys.readouterr().err


def test_the_recipe_names_the_rules_to_leave_out(leaking, tmp_path, capsys):
    recipe = replace(Recipe(), data=str(leaking), strategy="ifd-top", by="quality", ratio=1.0)
    replace(recipe, exclude=("leak", "no-code")).to_yaml(tmp_path / "r.yaml")
    choose = ["select", "--recipe", str(tmp_path / "r.yaml"), "--output", str(tmp_path / "kept.jsonl")]
    cli.main(choose)
    out = capsys.readouterr().out
    assert "left out 1 of 12 rows to select from: 1 leak, 0 no-code (--keep-leaks keeps" in out
    assert "11 of 11 rows kept" in out
    recipe.to_yaml(tmp_path / "r.yaml")
    cli.main(choose)
    assert "12 of 12 rows kept" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"exclude='rude' is not known; choose one of empty, exact-duplicate"):
        Recipe(exclude=("rude",))


def test_a_quickstart_leaves_leaks_out_of_the_pool_by_default(leaking, tmp_path):
    assert QUICKSTART.exclude == ("leak",)
    recipe = replace(QUICKSTART, data=str(leaking), rows=None, held_out=2)
    for exclude, n_rows, n_sentences in ((("leak",), 9, 2), ((), 10, 1)):
        sentences = []
        study = journey.Study(replace(recipe, exclude=exclude, seed=1), tmp_path)
        journey._load(study, sentences.append)
        assert "T/0" not in str(study.excluded)
        assert len(study.pool) == n_rows
        assert len(sentences) == n_sentences
    assert study.excluded == {}


def test_leaks_that_cannot_be_checked_are_said(leaking, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))
    monkeypatch.delenv("HUMANEVAL_OVERRIDE_PATH")
    sentences = []
    rows, counts = journey.leave_out(QUICKSTART, workbench.load(str(leaking)), sentences.append)
    assert (len(rows), counts) == (12, {})
    assert sentences[0].startswith("rows to select from were not checked for leak: benchmark humaneval: ")
