"""The export panel: its code, recipe and command keep the same rows as the dashboard."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

import workbench as wb
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.exports import code
from workbench.study.recipe import Recipe
from workbench.widgets import ErrorPanel, ExportPanel
from workbench.widgets.export import _TABLE

ROOT = Path(wb.__file__).parents[1]
PACK = {"max_length": 128, "strategy": "balanced", "batch_size": 4, "overlong": "split", "seed": 3}
CUTS = [
    {"ratio": 0.4, "strategy": "ifd-cluster"},
    {"rows": 7, "strategy": "ifd-cluster"},
    {"tokens": 600, "strategy": "ifd-cluster"},
    {"ratio": 0.5, "strategy": "ifd-quota", "max_ifd": 0.97},
    {"ratio": 0.3, "strategy": "random", "seed": 5},
    {"tokens": 500, "strategy": "random-tokens", "seed": 2},
    {"rows": 9, "strategy": "k-center", "seed": 1},
    {"ratio": 0.5, "strategy": "ifd-band", "by": "n_response", "lower": 0.1, "upper": 0.9, "seed": 3},
    {"rows": 8, "strategy": "cluster-random", "seed": 6},
]


def write_rows(path: Path, n: int = 40) -> Path:
    """A JSONL file of `n` different rows."""
    verbs, things = ("add", "reverse", "sort", "count"), ("numbers", "strings", "lists", "words", "files")
    with path.open("w") as file:
        for i in range(n):
            verb, thing = verbs[i % 4], things[i % 5]
            row = {
                "instruction": f"Write a function to {verb} {i} {thing}.",
                "response": f"def {verb}_{thing}(values):\n    return values[{i}:]" + " # so" * (i % 9),
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture
def study(tmp_path, monkeypatch, toy_model_dir, toy_embedder_dir) -> datasets.Dataset:
    """Rows from a file, through all stages with toy models, in a temporary working directory."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl")
    ds = wb.score(wb.load("rows.jsonl"), str(toy_model_dir("llama")), max_length=256)
    ds = wb.embed(wb.derive(ds, "loss-ratio", shrinkage=2.5), str(toy_embedder_dir))
    return wb.cluster(ds, 3, seed=7)


def panel_of(selection, **settings) -> ExportPanel:
    return ExportPanel(lambda: selection, lambda: {"pack": PACK} | settings, ErrorPanel(), "out")


def run_in_new_process(program: str, *arguments: str) -> list:
    """The last line, as JSON, that `program` prints in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# Runs each snippet in its own namespace: [ids, rows of the plan].
RUN_CODE = """
import json, sys
results = []
for text in json.loads(open(sys.argv[1]).read()):
    names = {}
    exec(text, names)
    results.append([names["sel"].dataset["id"][:], names["plan"].rows])
print(json.dumps(results))
"""
RUN_RECIPES = """
import json, sys
from workbench import cli
ids = []
for i in range(int(sys.argv[1])):
    cli.main(["select", "--recipe", f"{i}.yaml", "--output", f"{i}.jsonl"])
    ids.append([json.loads(line)["id"] for line in open(f"{i}.jsonl")])
print(json.dumps(ids))
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", ["origin", "table"])
def test_code_and_recipe_keep_the_same_rows_as_the_dashboard(study, start, tmp_path):
    on_screen, snippets = [], []
    for i, cut in enumerate(CUTS):
        selection = wb.select(study, **cut)
        panel = panel_of(selection)
        if start == "table":
            panel.start.value = _TABLE
            panel.save_table.click()
        panel.show.click()
        assert ("rows.jsonl" in panel.code.text) == (start == "origin")
        snippets.append(panel.code.text)
        (tmp_path / f"{i}.yaml").write_text(panel.recipe.text)
        plan = wb.pack(selection.dataset, **PACK)
        on_screen.append([selection.dataset["id"][:], plan.rows])
    assert len({tuple(ids) for ids, _ in on_screen}) == len(CUTS)  # all differ
    (tmp_path / "snippets.json").write_text(json.dumps(snippets))
    assert run_in_new_process(RUN_CODE, "snippets.json") == on_screen
    assert run_in_new_process(RUN_RECIPES, str(len(CUTS))) == [ids for ids, _ in on_screen]


def test_the_recipe_has_every_setting(study, toy_model_dir, toy_embedder_dir):
    selection = wb.select(study, tokens=600, strategy="random-tokens", max_ifd=0.9, seed=4)
    recipe = code.as_recipe(selection, PACK)
    assert (recipe.data, recipe.scorer) == ("rows.jsonl", str(toy_model_dir("llama")))
    assert (recipe.score_max_length, recipe.variant, recipe.shrinkage) == (256, "loss-ratio", 2.5)
    assert (recipe.embedder, recipe.k, recipe.cluster_seed) == (str(toy_embedder_dir), 3, 7)
    assert (recipe.strategy, recipe.budget, recipe.max_ifd) == ("random-tokens", {"tokens": 600}, 0.9)
    assert recipe.seed == 4
    training = recipe.training
    assert {name: getattr(training, name) for name in PACK} == PACK


def test_code_repeats_the_call_of_each_stage(study, toy_model_dir, toy_embedder_dir):
    text = code.as_code(wb.select(study, rows=7), PACK)
    for line in (
        "ds = wb.load('rows.jsonl')",
        f"ds = wb.score(ds, model='{toy_model_dir('llama')}', convention='paper', prompt='paper', "
        "dtype='float32', max_length=256, template='auto')",
        "ds = wb.derive(ds, variant='loss-ratio', min_tokens=1, shrinkage=2.5)",
        f"ds = wb.embed(ds, model='{toy_embedder_dir}', dtype='float32')",
        "ds = wb.cluster(ds, k=3, seed=7)",
        "sel = wb.select(ds, strategy='ifd-cluster', rows=7, max_ifd=1.0, seed=0, by='ifd')",
        "plan = wb.pack(sel.dataset, max_length=128, strategy='balanced', batch_size=4, overlong='split', "
        "seed=3)",
    ):
        assert line in text.splitlines()


class TestOrigin:
    @pytest.fixture
    def loaded(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return wb.load(write_rows(tmp_path / "rows.jsonl"), limit=30)

    def test_a_file_with_its_arguments(self, loaded):
        origin = code.origin_of(loaded)
        assert origin.arguments == {"source": str(Path("rows.jsonl").absolute()), "limit": 30}
        assert origin.stages == {}
        assert code.replayable(loaded)
        selection = wb.select(loaded, ratio=0.5, strategy="random")
        assert code.as_recipe(selection).load()["id"][:] == loaded["id"][:]

    @pytest.mark.parametrize("rows", [[1, 0, *range(2, 30)], range(29)], ids=["moved", "left out"])
    def test_other_rows_have_no_origin(self, loaded, rows):
        assert code.origin_of(loaded.select(rows)) is None

    def test_scores_without_a_note_have_no_origin(self, loaded):
        assert code.origin_of(loaded.add_column("ifd", [0.5] * 30)) is None
        assert code.origin_of(loaded.add_column("my_column", [0.5] * 30)) is not None

    def test_a_column_of_the_users_own_that_ranks_has_no_origin(self, loaded):
        assert code.origin_of(loaded.add_column("my_score", [0.5] * 30), ["my_score"]) is None

    def test_rows_from_memory_have_no_origin(self, loaded):
        assert code.origin_of(wb.load(loaded.to_pandas())) is None

    def test_clusters_of_other_vectors_have_no_origin(self, loaded, toy_embedder_dir):
        ds = wb.cluster(wb.embed(loaded, str(toy_embedder_dir)), 3)
        assert list(code.origin_of(ds).stages) == ["embed", "cluster"]
        assert code.origin_of(wb.embed(ds, str(toy_embedder_dir), max_length=4)) is None

    def test_a_saved_table_repeats_only_later_stages(self, loaded, toy_embedder_dir):
        ds = wb.cluster(wb.embed(loaded, str(toy_embedder_dir)), 3)
        tables.write_parquet(ds, Path("table.parquet"))
        again = wb.load("table.parquet")
        assert code.origin_of(again) == code.Origin({"source": "table.parquet"}, {})
        assert list(code.origin_of(wb.cluster(again, 4)).stages) == ["cluster"]

    def test_the_first_look(self):
        origin = code.origin_of(wb.first_look())
        assert origin == code.Origin(None, {})

    def test_hostile_notes_never_become_code(self, loaded):
        hostile = "'); import os; os.system('x') #"
        ds = tables.note(loaded, "embed", {"model": hostile, "dtype": ["list"], "x=1); evil(": 1})
        text = code.as_code(
            wb.select(ds.add_column("n_tokens", [5] * 30), strategy="random", rows=3), None, "t"
        )
        assert "evil" not in text
        (line,) = code._from_origin(ds)[1:]
        assert line == f"ds = wb.embed(ds, model={hostile!r})"


def test_a_ranking_by_a_column_of_the_users_own_starts_from_a_saved_table(study):
    ds = study.add_column("my_score", list(range(len(study))))
    panel = panel_of(wb.select(ds, 0.5, by="my_score"))
    panel.show.click()
    assert panel.start.value == _TABLE
    panel.save_table.click()
    assert "by='my_score'" in panel.code.text
    assert "by: my_score" in panel.recipe.text


def test_rows_of_unknown_origin_start_from_a_saved_table(study):
    ds = study.select(range(30))
    panel = panel_of(wb.select(ds, 0.5))
    panel.show.click()
    assert panel.start.value == _TABLE
    assert panel.code.text == ""
    assert "save the table first" in panel.line.value
    panel.save_table.click()
    assert "ds = wb.load('out/table.parquet')" in panel.code.text
    assert wb.load("out/table.parquet")["id"][:] == ds["id"][:]


def test_an_outdated_saved_table_is_not_used(study):
    selections = [wb.select(study, 0.5)]
    panel = ExportPanel(lambda: selections[-1], lambda: {"pack": PACK}, ErrorPanel(), "out")
    panel.start.value = _TABLE
    panel.save_table.click()
    panel.show.click()
    assert panel.code.text
    selections.append(wb.select(wb.cluster(study, 4), 0.5))
    panel.refresh()
    assert panel.code.text == panel.recipe.text == ""


def test_a_new_clustering_is_part_of_code_and_recipe(study):
    panel = panel_of(wb.select(study, 0.5), cluster={"k": 5, "seed": 1})
    panel.show.click()
    assert "ds = wb.cluster(ds, k=5, seed=1)" in panel.code.text
    assert "\nk: 5\ncluster_seed: 1\n" in panel.recipe.text


@pytest.mark.parametrize("format", ["alpaca", "sharegpt", "messages", "parquet", "dataset"])
def test_kept_rows_are_written_in_every_format(study, format):
    selection = wb.select(study, 0.5)
    panel = panel_of(selection)
    panel.format.value = format
    panel.write.click()
    assert f"wrote {len(selection.indices)} rows to out/{format}" in panel.line.value
    assert (Path("out") / format / "README.md").is_file()


def test_a_folder_with_files_is_an_error_in_the_panel(study):
    errors = ErrorPanel()
    selection = wb.select(study, 0.5)
    panel = ExportPanel(lambda: selection, dict, errors, "out")
    panel.write.click()
    panel.write.click()
    assert isinstance(errors.last, UserError)
    assert "is not empty; nothing is overwritten" in errors.value


def test_the_saved_recipe_is_the_one_shown(study):
    panel = panel_of(wb.select(study, 0.5))
    panel.show.click()
    panel.save_recipe.click()
    assert str(Recipe.from_yaml("out/recipe.yaml")) == panel.recipe.text
    assert "--recipe out/recipe.yaml --output out/selection.jsonl" in panel.command.text


class TestPrepare:
    def test_other_clusters_are_computed_and_equal_ones_kept(self, study):
        recipe = Recipe(k=3, cluster_seed=7)
        assert recipe.prepare(study) is study
        again = Recipe(k=4, cluster_seed=7).prepare(study)
        assert len(np.unique(again["cluster"][:])) == 4

    def test_clusters_without_a_note_are_kept(self, study):
        study.info.description = ""
        assert Recipe(k=4).prepare(study) is study

    def test_stages_that_the_strategy_does_not_need_are_skipped(self, tmp_path):
        ds = wb.load(write_rows(tmp_path / "rows.jsonl"))
        assert Recipe(strategy="random").prepare(ds) is ds


def test_two_budgets_in_a_recipe_raise():
    with pytest.raises(UserError, match="keep_rows=5 and keep_tokens=9 are two budgets; give one"):
        Recipe(keep_rows=5, keep_tokens=9)
