"""Score variants against hand-worked tables; conventions, hostile rows and explanations."""

import copy
import json
import math
import pickle

import datasets
import numpy as np
import pytest
import torch
from conftest import table

import workbench as wb
from workbench import figures
from workbench.complexity import RowScorer, ScorerSettings, cached, derive, explain, score
from workbench.complexity.cached import ScoreCache
from workbench.complexity.pairs import pairs
from workbench.core.errors import UserError
from workbench.data import RejectedRowsWarning
from workbench.lm import forward, models, prompts
from workbench.lm.nll import padded_nll
from workbench.study.scorer_agreement import Agreement, agreement, compare_scorers

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"


def sums(*rows: tuple) -> datasets.Dataset:
    """A scored table from (nll_response, n_response, nll_conditioned, n_conditioned, status)."""
    names = ("nll_response", "n_response", "nll_conditioned", "n_conditioned", "score_status")
    return datasets.Dataset.from_dict(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


# Mean nll without and with the instruction: 2 and 1 nats, 2 and 2, 4 and 6. The fourth row has no score.
SUMS = sums(
    (20.0, 10, 10.0, 10, "ok"),
    (4.0, 2, 6.0, 3, "ok"),
    (40.0, 10, 60.0, 10, "truncated"),
    (None, 0, None, 0, "empty"),
)


@pytest.fixture
def llama_dir(toy_model_dir):
    return toy_model_dir("llama")


@pytest.fixture
def chat_dir(toy_model_dir, tmp_path):
    model, tokenizer = models.load_model(toy_model_dir("llama"), "float32")
    model.save_pretrained(tmp_path / "chat")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(tmp_path / "chat")
    return tmp_path / "chat"


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("ppl-ratio", [math.exp(-1), 1.0, math.exp(2), None]), ("loss-ratio", [0.5, 1.0, 1.5, None])],
)
def test_variants_match_hand_worked_scores(variant, expected):
    assert derive(SUMS, variant)["ifd"][:] == pytest.approx(expected)


def test_a_length_floor_leaves_short_responses_without_a_score():
    derived = derive(SUMS, min_tokens=3)
    assert [value is None for value in derived["ifd"]] == [False, True, False, True]
    assert derived["score_reason"][1] == "its response has 2 scored tokens, fewer than min_tokens=3"
    assert derived["score_status"][:] == ["ok", "ok", "truncated", "empty"]
    assert derive(derived)["ifd"][:2] == pytest.approx([math.exp(-1), 1.0])  # nothing is lost


def test_shrinkage_matches_hand_worked_scores():
    """The log scores are -1, 0 and 2 with weights 10, 2 and 10, so the typical log score is 10/22."""
    typical = 10 / 22
    expected = [(-10 + 10 * typical) / 20, (0 + 10 * typical) / 12, (20 + 10 * typical) / 20]
    derived = derive(SUMS, shrinkage=10)["ifd"][:]
    assert np.log(derived[:3]) == pytest.approx(expected)
    assert derived[3] is None


def test_a_loss_of_zero_gives_no_loss_ratio():
    derived = derive(sums((0.0, 3, 0.0, 3, "ok")), "loss-ratio")
    assert derived["ifd"][:] == [None]
    assert derived["score_reason"][:] == ["its loss-ratio is not a finite number"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"variant": "cherry"}, "variant='cherry' is not known; choose one of loss-ratio, ppl-ratio"),
        ({"min_tokens": 0}, "min_tokens=0 must be a whole number"),
        ({"shrinkage": -1}, "shrinkage=-1 must be a number of tokens"),
        ({"shrinkage": math.nan}, "shrinkage=nan must be a number of tokens"),
    ],
)
def test_an_invalid_setting_is_named(named, message):
    with pytest.raises(UserError, match=message):
        derive(SUMS, **named)


def test_another_variant_runs_no_model(llama_dir, monkeypatch):
    ds = table(["Add.", "Reverse the text."], ["a + b + c", "text[::-1]"])
    first = score(ds, llama_dir)
    monkeypatch.setattr(forward, "summed_nll", None)
    again = score(ds, llama_dir, variant="loss-ratio", shrinkage=5)
    assert again["nll_response"][:] == first["nll_response"][:]
    assert again["ifd"][:] == derive(first, "loss-ratio", shrinkage=5)["ifd"][:]


def test_same_tokens_scores_the_same_tokens_on_both_sides(llama_dir):
    tokenizer = models.load_tokenizer(llama_dir)
    for limit in (200, 12):
        (pair,) = pairs(tokenizer, ["Add."], ["return a + b - c"], limit, "same-tokens")
        alone, conditioned = (s.input_ids[s.first_target :] for s in (pair.alone, pair.conditioned))
        assert alone == conditioned
        assert pair.alone.input_ids[0] == tokenizer.eos_token_id  # this tokenizer has no BOS
    row = score(table(["Add."], ["return a + b - c"]), llama_dir, convention="same-tokens")[0]
    assert row["n_response"] == row["n_conditioned"] > 0


def test_same_tokens_scores_a_response_of_one_token(llama_dir):
    row = score(table(["Add."], ["a"]), llama_dir, convention="same-tokens")[0]
    assert (row["n_response"], row["n_conditioned"], row["score_status"]) == (1, 1, "ok")
    assert row["ifd"] > 0


def test_the_chat_prompt_is_the_models_own_and_keeps_the_turns(chat_dir):
    tokenizer = models.load_tokenizer(chat_dir)
    turns = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "a+b"},
        {"role": "user", "content": "Sum."},
    ]
    texts = prompts.scoring_prompts(tokenizer, ["Add.", turns], "chat")
    assert texts == ["<user>Add.\n<assistant>", "<user>Add.\n<assistant>a+b\n<user>Sum.\n<assistant>"]


def test_a_dialogue_is_scored_after_its_history(chat_dir):
    conversation = {
        "messages": [
            {"role": r, "content": c}
            for r, c in (
                ("user", "Add."),
                ("assistant", "a + b"),
                ("user", "Now reverse."),
                ("assistant", "text[::-1]"),
            )
        ]
    }
    single = {"messages": conversation["messages"][2:]}
    ds = wb.load(datasets.Dataset.from_list([conversation, single]))
    assert ds["dialogue"][1] is None
    assert [turn["content"] for turn in ds["dialogue"][0]] == ["Add.", "a + b", "Now reverse."]
    assert ds["response"][:] == ["text[::-1]"] * 2
    first, second = score(ds, chat_dir, prompt="chat")
    assert first["nll_response"] == pytest.approx(second["nll_response"], rel=1e-6)
    assert first["nll_conditioned"] != pytest.approx(second["nll_conditioned"], rel=1e-3)


def test_chat_without_a_template_is_refused(llama_dir):
    with pytest.raises(UserError, match=r"no chat template; score with prompt='paper'"):
        score(table(["Add."], ["a + b"]), llama_dir, prompt="chat")


HOSTILE = {
    "empty response": ("Add.", "", "empty"),
    "empty instruction": ("", "a + b", "empty"),
    "missing": ("Add.", None, "empty"),
    "whitespace": ("Add.", " \n\t ", "empty"),
    "200,000 characters": ("Add.", "a + b, " * 28_572, "truncated"),
    "NUL bytes": ("Add.\0", "a\0b\0c", "ok"),
    "one token": ("Add.", "a", "no_target"),
    "emoji and scripts": ("Grüße 👩‍👩‍👧 你好", "print('😀 مرحبا שלום')", "ok"),
    "long prompt": ("Add. " * 2000, "a + b", "no_target"),
    "ordinary": ("Add.", "return a + b", "ok"),
}


def test_hostile_rows_have_a_status_and_a_reason_and_no_accidental_score(llama_dir):
    instructions, responses, expected = map(list, zip(*HOSTILE.values(), strict=True))
    scored = score(table(instructions, responses), llama_dir, max_length=512)
    assert dict(zip(HOSTILE, scored["score_status"], strict=True)) == dict(
        zip(HOSTILE, expected, strict=True)
    )
    for row in scored:
        number = row["score_status"] in ("ok", "truncated")
        assert (row["ifd"] is not None) == number
        assert (row["score_reason"] is not None) == (row["score_status"] != "ok")
        assert not number or math.isfinite(row["ifd"])


def test_a_pickled_row_scorer_gives_each_row_the_score_of_the_one_process_path(llama_dir):
    instructions, responses, _ = map(list, zip(*HOSTILE.values(), strict=True))
    cells = {"instruction": instructions, "response": responses}
    scored = score(table(instructions, responses), llama_dir, max_length=512, cache=False)
    settings = ScorerSettings(str(llama_dir), "paper", "paper", "float32", "cpu", 512, 2048)
    columns = pickle.loads(pickle.dumps(RowScorer(settings)))(cells)
    assert columns.pop("refusal") == [None] * len(HOSTILE)
    assert columns == {name: scored[name][:] for name in columns}


def test_any_class_with_get_and_put_can_be_the_store(llama_dir):
    class Memory(dict):
        def get(self, keys):
            return {key: self[key] for key in keys if key in self}

        put = dict.update

    settings = ScorerSettings(str(llama_dir), "paper", "paper", "float32", "cpu", 512, 2048)
    cache = ScoreCache(["settings"], "paper", Memory())
    cells = {"instruction": ["Add.", "Add.", ""], "response": ["a + b", "return a", "pass"]}
    first = [part for part in cached.scores(cells, RowScorer(settings), cache) if part]
    assert [sorted(part) for part in first] == [[2], [0, 1]]
    assert len(cache.store) == 2
    again = [part for part in cached.scores(cells, RowScorer(settings), cache) if part]
    assert again[0] == first[1]


@pytest.mark.parametrize("cell", ["a\ud800", 3])
def test_a_cell_that_is_no_text_is_a_status_and_costs_its_row_only(llama_dir, cell):
    settings = ScorerSettings(str(llama_dir), "paper", "paper", "float32", "cpu", 512, 2048)
    columns = RowScorer(settings)({"instruction": ["Add.", "Add."], "response": [cell, "a + b"]})
    assert columns["score_status"] == ["not_text", "ok"]
    assert columns["nll_response"][0] is None


def test_a_lone_surrogate_never_becomes_a_row(tmp_path):
    lines = ['{"instruction": "a\\ud800", "response": "b"}', '{"instruction": "Add.", "response": "a + b"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.warns(RejectedRowsWarning):
        ds = wb.load(str(tmp_path / "rows.jsonl"))
    assert ds["instruction"][:] == ["Add."]


def test_numbers_in_a_text_column_are_named(llama_dir):
    ds = datasets.Dataset.from_dict({"instruction": ["Add."], "response": [3]})
    with pytest.raises(UserError, match=r"column 'response' holds .*not text"):
        score(ds, llama_dir)


def test_an_explanation_adds_up_to_the_score(llama_dir):
    ds = table(["Add two numbers."], ["return a + b"])
    explanation = explain(ds, 0, llama_dir)
    row = score(ds, llama_dir)[0]
    assert "".join(explanation.tokens["token"]) == "return a + b"
    assert explanation.tokens["nll_conditioned"].sum() == pytest.approx(row["nll_conditioned"], rel=1e-5)
    assert explanation.tokens["nll_response"].sum() == pytest.approx(row["nll_response"], rel=1e-5)
    # convention="paper" does not score the first token of the response alone.
    assert np.isnan(explanation.tokens["gain"][0])
    assert explanation.ifd == pytest.approx(row["ifd"], rel=1e-5)
    whole = explain(ds, 0, llama_dir, convention="same-tokens")
    assert whole.tokens["gain"].notna().all()


@pytest.mark.parametrize("row", [-1, 1, 1.5, True])
def test_an_invalid_row_is_named(llama_dir, row):
    with pytest.raises(UserError, match=f"row={row} is not a row of the dataset; give a number from 0 to 0"):
        explain(table(["Add."], ["a + b"]), row, llama_dir)


def test_coloured_text_is_escaped(llama_dir):
    ds = table(["Add."], ["<script>alert(1)</script> & 'x'\n\"y\""])
    page = figures.token_gains(explain(ds, 0, llama_dir).tokens)._repr_html_()
    assert "<script" not in page
    assert "&lt;" in page
    assert "&amp;" in page


def test_agreement_matches_hand_worked_numbers():
    measured = agreement(np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.0, 4.0, 3.0, 2.0]))
    assert measured == Agreement(3, pytest.approx(0.5), pytest.approx(1 / 3), pytest.approx(0.5))
    assert agreement(np.array([1.0, np.nan]), np.array([1.0, 2.0])) is None


def test_a_cheap_scorer_beside_its_target(toy_model_dir):
    ds = table([f"Add {i} and {i * i}." for i in range(12)], [f"return {i} + {i * i}" for i in range(12)])
    same = compare_scorers(ds, str(toy_model_dir("llama")), str(toy_model_dir("llama")), rows=10, ratio=0.5)
    assert (same.agreement.rows, same.agreement.spearman, same.overlap) == (10, pytest.approx(1.0), 1.0)
    other = compare_scorers(ds, str(toy_model_dir("qwen2")), str(toy_model_dir("llama")), rows=12, ratio=0.5)
    assert abs(other.agreement.spearman) < 1
    assert "in place of" in str(other)


def test_out_of_memory_lowers_the_budget_for_later_batches(llama_dir, monkeypatch, capsys):
    monkeypatch.delenv("WORKBENCH_QUIET", raising=False)
    sizes, summed_nll = [], forward.summed_nll

    def tight(model, samples):
        sizes.append(sum(len(sample.input_ids) for sample in samples))
        if sizes[-1] > 300:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return summed_nll(model, samples)

    monkeypatch.setattr(forward, "summed_nll", tight)
    ds = table([f"Add {i}." for i in range(30)], ["return a + b"] * 30)
    assert score(ds, llama_dir, cache=False)["score_status"][:] == ["ok"] * 30
    assert sum(size > 300 for size in sizes) <= 4  # not once per batch
    assert "Out of memory: continuing with" in capsys.readouterr().err


def test_other_runtime_errors_are_raised(llama_dir, monkeypatch):
    def broken(model, samples):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(forward, "summed_nll", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        score(table(["Add."], ["a + b"]), llama_dir)


def test_padded_batches_score_as_single_samples(toy_model_dir):
    model, _ = models.load_model(toy_model_dir("bloom"), "float32")
    samples = [prompts.Sample(tuple(range(5, 5 + n)), 1) for n in (4, 30, 11)]
    with pytest.warns(UserWarning, match="in padded batches"):
        padded = forward.summed_nll(model, samples)
    with torch.inference_mode():
        alone = [float(padded_nll(model, [sample])[0].sum()) for sample in samples]
    assert padded == pytest.approx(alone, rel=1e-5)


def test_the_command_line_scores_by_a_recipe(llama_dir, tmp_path, capsys, monkeypatch):
    from workbench import cli

    rows = [{"instruction": f"Add {i}.", "output": "return a + b"} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = wb.Recipe(data=str(tmp_path / "rows.jsonl"), scorer=str(llama_dir), variant="loss-ratio")
    recipe.to_yaml(tmp_path / "recipe.yaml")
    out = tmp_path / "scores.parquet"
    cli.main(["score", "--recipe", str(tmp_path / "recipe.yaml"), "--output", str(out), "--dtype", "float32"])
    assert "4 rows, 4 ok" in capsys.readouterr().out
    written = datasets.Dataset.from_parquet(str(out), cache_dir=str(tmp_path / "hf"))
    expected = score(wb.load(recipe.data), str(llama_dir), variant="loss-ratio")
    assert written["ifd"][:] == expected["ifd"][:]
    with pytest.raises(SystemExit):
        cli.main(["score", "--output", str(tmp_path / "no/such/scores.parquet")])
