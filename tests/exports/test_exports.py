"""Exported rows and models load in other tools, and their cards say where they are from."""

import datasets
import pandas as pd
import pytest
import torch
import yaml
from conftest import table
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM

import workbench as wb
from workbench.core import tables
from workbench.core.errors import MissingFileError, UserError
from workbench.evaluation import EvalReport
from workbench.exports import cards, rows
from workbench.training import finetune

AWKWARD = [
    ("Sum  two\tnumbers.", "def add(a, b):\r\n    return a + b\n"),
    ("Null: \x00, escape: \x1b, delete: \x7f", "print('\x00')"),
    ("Line separators \u2028 \u2029 \x85", "'\u2028'"),
    ("Emoji 👩‍💻 \U0001d4b3, combining e\u0301, right to left \u202eabc", "s = '漢字'"),
    ('Quotes " \' ` \\ and {"json": [1]}', "x = '\\n'  # <|endoftext|> </s>"),
    (" leading and trailing ", "\n\n  spaces  \n"),
    ("- yaml: ---\n...\n# not a comment", "| pipes | in | a | table |"),
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def awkward() -> datasets.Dataset:
    ds = table(*map(list, zip(*AWKWARD, strict=True)))
    return ds.add_column("id", [f"row {i}" for i in range(len(ds))])


def reloaded(folder, format: str) -> datasets.Dataset:
    if format == "dataset":
        return wb.load(datasets.load_from_disk(folder))
    return wb.load(folder / rows.FILES[format])


def dialogues() -> datasets.Dataset:
    """A question, and two dialogues: of several turns, and with a system message."""
    turns = [
        [("user", "Add."), ("assistant", "a + b")],
        [("user", "Add."), ("assistant", "a+b"), ("user", "With spaces."), ("assistant", "a + b")],
        [("system", "Be short."), ("user", "Square."), ("assistant", "x * x")],
    ]
    return wb.load(
        pd.DataFrame(
            {
                "id": ["one", "two", "three"],
                "messages": [[{"role": role, "content": text} for role, text in row] for row in turns],
            }
        )
    )


@pytest.fixture(scope="module")
def scored() -> datasets.Dataset:
    """Twelve rows with scores and clusters: ten of them eligible."""
    ds = table([f"Write {i}." for i in range(12)], [f"x = {i}" for i in range(12)])
    ifd = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.25, None]
    columns = {
        "id": [f"r{i}" for i in range(12)],
        "ifd": ifd,
        "score_status": ["ok"] * 11 + ["no_target"],
        "cluster": [i % 2 for i in range(12)],
        "n_tokens": [100] * 6 + [300] * 6,
    }
    kinds = {"id": tables.TEXT, "ifd": tables.FLOAT, "score_status": tables.TEXT}
    return tables.with_columns(ds, columns, kinds | {"cluster": tables.INT, "n_tokens": tables.INT})


class TestRows:
    @pytest.mark.parametrize("format", rows.FILES)
    def test_awkward_texts_are_read_back_unchanged(self, format, tmp_path):
        ds = awkward()
        loaded = reloaded(wb.export(ds, tmp_path / "out", format), format)
        for name in ("id", "instruction", "response"):
            assert loaded[name][:] == ds[name][:]
        assert tables.rows_sha256(loaded) == tables.rows_sha256(ds)

    @pytest.mark.parametrize("format", ["messages", "sharegpt", "parquet", "dataset"])
    def test_dialogues_keep_their_turns(self, format, tmp_path):
        ds = dialogues()
        loaded = reloaded(wb.export(ds, tmp_path / "out", format), format)
        for name in ("id", "instruction", "response", "dialogue"):
            assert loaded[name][:] == ds[name][:]
        assert len(ds["dialogue"][1]) == 3

    def test_alpaca_rejects_a_dialogue_and_leaves_no_folder(self, tmp_path):
        with pytest.raises(UserError, match=r"row 1 \(two\) is a dialogue of 4 turns; use format='messages'"):
            wb.export(dialogues(), tmp_path / "out", "alpaca")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("format", ["messages", "alpaca", "sharegpt"])
    def test_trainers_load_the_files(self, format, tmp_path):
        folder = wb.export(awkward(), tmp_path / "out", format)
        loaded = datasets.load_dataset(
            "json", data_files=str(folder / rows.FILES[format]), split="train", cache_dir=str(tmp_path / "hf")
        )
        instruction, response = AWKWARD[0]
        expected = {
            "messages": {
                "messages": [
                    {"role": "user", "content": instruction},
                    {"role": "assistant", "content": response},
                ]
            },
            "alpaca": {"instruction": instruction, "input": "", "output": response},
            "sharegpt": {
                "conversations": [{"from": "human", "value": instruction}, {"from": "gpt", "value": response}]
            },
        }
        assert loaded[0] == {"id": "row 0"} | expected[format]
        assert len(loaded) == len(AWKWARD)

    @pytest.mark.parametrize("format", ["parquet", "dataset"])
    def test_tables_keep_every_other_column(self, scored, format, tmp_path):
        loaded = reloaded(wb.export(scored, tmp_path / "out", format), format)
        assert set(loaded.column_names) == set(scored.column_names)
        for name in ("ifd", "n_tokens", "cluster", "score_status"):
            assert loaded[name][:] == scored[name][:]

    def test_rows_without_ids_are_exported_and_reloaded(self, tmp_path):
        for format in rows.FILES:
            loaded = reloaded(wb.export(table(["Add."], ["a + b"]), tmp_path / format, format), format)
            assert loaded["instruction"][:] == ["Add."]

    def test_loading_rejects_lone_surrogates(self, tmp_path):
        (tmp_path / "rows.jsonl").write_text(
            '{"prompt": "\\ud800", "response": "a"}\n{"prompt": "b", "response": "c"}\n'
        )
        with pytest.warns(UserWarning, match="lone surrogate, which UTF-8 cannot write"):
            ds = wb.load(tmp_path / "rows.jsonl")
        assert ds["instruction"][:] == ["b"]

    @given(
        st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), min_size=1)] * 2), min_size=1)
    )
    def test_any_text_survives_json(self, tmp_path_factory, pairs):
        pairs = [pair for pair in pairs if all(text.strip() for text in pair)] or [("a", "b")]
        ds = table(*map(list, zip(*pairs, strict=True)))
        folder = tmp_path_factory.mktemp("any")
        for format in ("messages", "alpaca", "sharegpt"):
            rows.write(ds, folder, format)
            assert tables.rows_sha256(wb.load(folder / rows.FILES[format])) == tables.rows_sha256(ds)

    def test_the_hash_covers_texts_and_their_order(self):
        ds = awkward()
        assert tables.rows_sha256(table(["a"], ["b"])).startswith("3e0529f99913")
        assert tables.rows_sha256(ds.remove_columns("id")) == tables.rows_sha256(ds)
        assert tables.rows_sha256(ds.select([1, 0, *range(2, 7)])) != tables.rows_sha256(ds)
        assert tables.rows_sha256(table(["ab"], ["c"])) != tables.rows_sha256(table(["a"], ["bc"]))


class TestErrors:
    def test_a_folder_that_is_not_empty(self, tmp_path):
        (tmp_path / "out").mkdir()
        wb.export(awkward(), tmp_path / "out")  # an empty folder is allowed
        before = (tmp_path / "out/data.jsonl").read_bytes()
        with pytest.raises(UserError, match=r"path='.*out' is not empty; nothing is overwritten: give a new"):
            wb.export(dialogues(), tmp_path / "out")
        assert (tmp_path / "out/data.jsonl").read_bytes() == before

    @pytest.mark.parametrize(
        ("what", "options", "message"),
        [
            (
                awkward(),
                {"format": "csv"},
                "format='csv' is not known; choose one of alpaca, dataset, messages",
            ),
            (awkward().select([]), {}, "what has no rows"),
            (awkward().remove_columns("response"), {}, "column 'response' is missing"),
            (table(["a", None], ["b", "c"]), {}, "instruction of row 1 is None, not text"),
            ([1, 2], {}, "what is a list; give a selection, a datasets.Dataset, a run or its folder"),
            (
                awkward(),
                {"recipe": "papr"},
                "recipe='papr' is neither a file nor a preset; the presets are quickstart",
            ),
            (awkward(), {"recipe": "quickstart"}, "column 'n_tokens' is missing .* make it with wb.score"),
            (awkward(), {"recipe": "quickstart", "format": "alpaca"}, "which read 'messages'; use that"),
        ],
    )
    def test_what_cannot_be_exported(self, what, options, message, tmp_path):
        with pytest.raises(UserError, match=message):
            wb.export(what, tmp_path / "out", **options)
        assert list(tmp_path.iterdir()) == []

    def test_a_file_is_in_the_way(self, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(UserError, match="is a file; nothing is overwritten"):
            wb.export(awkward(), tmp_path / "out")

    def test_a_folder_that_is_not_a_run(self, tmp_path):
        with pytest.raises(MissingFileError, match=r"has no run\.json; give a run"):
            wb.export(tmp_path, tmp_path / "out")


def front_matter(folder) -> tuple[dict, str]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


class TestDatasetCard:
    def test_it_shows_how_the_rows_were_selected(self, scored, tmp_path):
        sel = wb.select(scored, 0.4)
        head, body = front_matter(wb.export(sel, tmp_path / "out"))
        assert head["size_categories"] == ["n<1K"]
        assert head["configs"] == [{"config_name": "default", "data_files": "data.jsonl"}]
        assert tables.rows_sha256(sel.dataset) in body
        assert "strategy: ifd-cluster\nratio: 0.4\nmax_ifd: 1.0\nseed: 0\nby: ifd\n" in body
        assert "Rows are ranked by the column `ifd`." in body
        assert "4 of 12 rows kept: 33.3% of all, 40.0% of the 10 eligible." in body
        assert "| IFD is below the cut of cluster | 6 |" in body
        assert "| IFD is not below max_ifd 1 | 1 |" in body
        assert "| not scored: no_target | 1 |" in body
        # The kept scores are 0.7, 0.8, 0.9 and 0.95.
        assert "| ifd | 4 | 0.8375 | 0.7 | 0.73 | 0.85 | 0.935 | 0.95 |" in body

    def test_it_names_another_column_that_ranks(self, scored, tmp_path):
        ds = scored.add_column("my score", [float(i) / 4 for i in range(12)])
        _, body = front_matter(wb.export(wb.select(ds, 0.5, "ifd-top", by="my score"), tmp_path / "out"))
        assert "Rows are ranked by the column `my score`." in body
        assert "| my score is below the cut | 6 |" in body
        assert "| my score | 6 | 2.125 | 1.5 |" in body  # the kept scores are 1.5, 1.75 ... 2.75

    def test_a_table_without_scores_has_no_such_sections(self, tmp_path):
        _, body = front_matter(wb.export(awkward(), tmp_path / "out", "dataset"))
        assert "## S" not in body
        assert "datasets.load_from_disk" in body

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [
            ("IFD 0.4321 is below the cut of cluster 12", "IFD is below the cut of cluster"),
            ("IFD nan is below the cut", "IFD nan is below the cut"),
            ("not scored: 3 tokens", "not scored: 3 tokens"),
            ("longer than the kept ones", "longer than the kept ones"),
        ],
    )
    def test_reasons_are_counted_without_their_numbers(self, reason, kind):
        assert cards.kind_of_reason(reason) == kind


RUNS = {"dtype": "float32", "device": "cpu", "max_length": 256, "learning_rate": 1e-2, "batch_size": 4}


@pytest.fixture(scope="module")
def runs(toy_model_dir, tmp_path_factory) -> dict:
    """A finished run for each method."""
    finished = {}
    for method in ("full", "lora"):
        folder = tmp_path_factory.mktemp(method)
        finished[method] = finetune(awkward(), toy_model_dir("llama"), folder, **RUNS, method=method).wait()
    return finished


IDS = torch.tensor([[5, 80, 200, 13, 7]])


def tuned_logits(run) -> torch.Tensor:
    """Logits of the model in the run's folder, with its adapter but without merging."""
    if run.settings.method == "full":
        return AutoModelForCausalLM.from_pretrained(run.model_dir)(IDS).logits
    base = AutoModelForCausalLM.from_pretrained(run.model)
    return PeftModel.from_pretrained(base, run.model_dir).eval()(IDS).logits


class TestModels:
    @pytest.mark.parametrize("method", ["full", "lora"])
    def test_a_merged_model_is_the_tuned_one(self, runs, method, toy_model_dir, tmp_path):
        folder = wb.export(runs[method], tmp_path / "out")
        model = AutoModelForCausalLM.from_pretrained(folder)
        torch.testing.assert_close(model(IDS).logits, tuned_logits(runs[method]), rtol=0, atol=1e-5)
        untuned = AutoModelForCausalLM.from_pretrained(toy_model_dir("llama"))(IDS).logits
        assert (model(IDS).logits - untuned).abs().max() > 1e-3
        assert not (folder / "adapter_config.json").exists()
        assert wb.models.load_tokenizer(folder)("def add").input_ids

    def test_an_adapter_is_the_tuned_one(self, runs, toy_model_dir, tmp_path):
        folder = wb.export(runs["lora"].output_dir, tmp_path / "out", "adapter")
        base = AutoModelForCausalLM.from_pretrained(toy_model_dir("llama"))
        model = PeftModel.from_pretrained(base, folder).eval()
        torch.testing.assert_close(model(IDS).logits, tuned_logits(runs["lora"]), rtol=0, atol=1e-5)

    def test_weights_can_be_halved(self, runs, tmp_path):
        folder = wb.export(runs["full"], tmp_path / "out", dtype="bfloat16")
        assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16

    def test_a_run_without_an_adapter_is_an_error(self, runs, tmp_path):
        with pytest.raises(UserError, match="format='adapter': the run trained all weights"):
            wb.export(runs["full"], tmp_path / "out", "adapter")
        with pytest.raises(UserError, match="format='alpaca' is not known; choose one of adapter, merged"):
            wb.export(runs["full"], tmp_path / "out", "alpaca")
        assert list(tmp_path.iterdir()) == []

    def test_a_failed_run_is_an_error(self, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run/run.json").write_text('{"status": "failed"}')
        with pytest.raises(UserError, match="is failed; only one that is done or stopped has a model"):
            wb.export(tmp_path / "run", tmp_path / "out")

    def test_the_card_shows_data_settings_and_scores(self, runs, tmp_path):
        verdicts = pd.DataFrame(
            {"base": ["pass", "fail", "pass", "pass"], "plus": ["pass", "fail", "fail", None]}
        )
        report = EvalReport("toy", "humaneval", verdicts)
        head, body = front_matter(wb.export(runs["lora"], tmp_path / "out", "adapter", reports=[report]))
        assert (head["library_name"], head["pipeline_tag"]) == ("peft", "text-generation")
        assert f"Trained on the rows `{tables.rows_sha256(awkward())}`" in body
        assert "learning_rate: 0.01" in body
        assert "| humaneval | 4 | 75.0% | 33.3% |" in body
        assert f"| 2 | {runs['lora'].history[-1]['loss']:.4f} |" in body

    def test_the_export_does_not_reveal_local_paths(self, runs, toy_model_dir, tmp_path):
        folder = wb.export(runs["full"], tmp_path / "out")
        head, _ = front_matter(folder)
        assert "base_model" not in head
        for path in folder.glob("*.[jm]*[nd]"):  # .json and .md
            assert str(toy_model_dir("llama").parent) not in path.read_text(encoding="utf-8")

    def test_a_base_on_the_hub_is_linked(self):
        state = {"status": "done", "settings": {"method": "full"}, "summary": {}}
        card = cards.model_card(state, "owner/base", [], True, [])
        assert "base_model: owner/base\n" in card
        assert "base_model_relation: finetune\n" in card
