"""IFD against a ten-line reimplementation of the paper's scorer; caching, interruptions and failures."""

import json
import math
import sqlite3
from pathlib import Path

import datasets
import pytest
import torch
from conftest import LEAKING, table
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.complexity import FEATURES, score
from workbench.core.errors import UserError
from workbench.core.store import cache_dir
from workbench.data import load
from workbench.lm import forward, models

REFERENCE = Path(__file__).resolve().parents[3] / "shared/data/ifd_reference.jsonl"
INSTRUCTIONS = [
    "Write a function that adds.",
    "Reverse the string.",
    "Sort a list of words by length, then name.",
]
RESPONSES = ["def add(a, b):\n    return a + b", "text[::-1]", "sorted(words, key=lambda w: (len(w), w))"]


def reference(model, tokenizer, question: str, answer: str, max_length: int) -> tuple[float, int, int]:
    """IFD and the two token counts of one row, computed as the released scorer of arXiv 2504.12687 does."""
    prompt = f"Question:\n{question}\n\nAnswer:\n"
    end = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=max_length).input_ids.shape[1]

    def perplexity(text: str, start: int, length: int) -> tuple[torch.Tensor, int]:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=length).input_ids
        labels = ids.clone()
        labels[0, :start] = -100
        return torch.exp(model(input_ids=ids, labels=labels).loss), int((labels[0, 1:] != -100).sum())

    with torch.inference_mode():
        alone, n_response = perplexity(answer, 0, max_length - end + 1)
        conditioned, n_conditioned = perplexity(prompt + answer, end, max_length)
    return (conditioned / alone).item(), n_response, n_conditioned


@pytest.fixture(scope="module")
def llama_dir(toy_model_dir):
    return toy_model_dir("llama")


@pytest.fixture(scope="module")
def llama(llama_dir):
    return models.load_model(llama_dir, "float32")


@pytest.fixture
def no_forward(monkeypatch):
    def forbidden(model, samples):
        raise AssertionError("ran the model")

    return lambda: monkeypatch.setattr(forward, "summed_nll", forbidden)


def stored() -> int:
    """Number of cached scores."""
    with sqlite3.connect(cache_dir() / "results.sqlite") as db:
        return db.execute("SELECT count(*) FROM results WHERE kind = 'ifd'").fetchone()[0]


def same_scores(scored: datasets.Dataset, expected: datasets.Dataset) -> None:
    """Assert that scores are equal up to rounding, which depends on the batch."""
    assert scored["score_status"][:] == expected["score_status"][:]
    for name in FEATURES.keys() - {"score_status", "score_reason"}:
        assert scored[name][:] == pytest.approx(expected[name][:], rel=1e-5)


def failing(status: str, scored: datasets.Dataset, row: int) -> None:
    """Assert that `row` has this status and no number, and that the other rows are scored."""
    assert scored["score_status"][:] == [status if i == row else "ok" for i in range(len(scored))]
    for name in ("nll_response", "nll_conditioned", "ppl_response", "ppl_conditioned", "ifd"):
        assert [value is None for value in scored[name]] == [i == row for i in range(len(scored))]


texts = st.text(min_size=1, max_size=60).filter(str.strip)  # an empty row has a status of its own


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=5), max_length=st.sampled_from([24, 40, 512])
)
def test_any_row_gets_the_score_of_the_papers_scorer(llama_dir, llama, rows, max_length):
    model, tokenizer = llama
    scored = score(table(*map(list, zip(*rows, strict=True))), llama_dir, max_length=max_length, cache=False)
    for (question, answer), row in zip(rows, scored, strict=True):
        ifd, n_response, n_conditioned = reference(model, tokenizer, question, answer, max_length)
        assert (row["n_response"], row["n_conditioned"]) == (n_response, n_conditioned)
        if n_response and n_conditioned:
            assert row["ifd"] == pytest.approx(ifd, rel=1e-5)
            cut = max_length < len(tokenizer(f"Question:\n{question}\n\nAnswer:\n{answer}").input_ids)
            assert row["score_status"] == "truncated" if cut else row["score_status"] in ("ok", "truncated")
        else:
            assert (row["ifd"], row["score_status"]) == (None, "no_target")


def test_all_score_columns_follow_from_sums_and_counts(llama_dir):
    for row in score(table(INSTRUCTIONS, RESPONSES), llama_dir):
        assert row["ppl_response"] == pytest.approx(math.exp(row["nll_response"] / row["n_response"]))
        assert row["ppl_conditioned"] == pytest.approx(
            math.exp(row["nll_conditioned"] / row["n_conditioned"])
        )
        assert row["ifd"] == pytest.approx(row["ppl_conditioned"] / row["ppl_response"])


def test_n_tokens_is_the_length_of_the_training_sample(llama_dir, llama):
    _, tokenizer = llama
    (n,) = score(table(["Add."], ["a + b"]), llama_dir)["n_tokens"]
    text = "### Instruction:\nAdd.\n### Response:\n"
    assert n == len(tokenizer(text).input_ids) + len(tokenizer("a + b").input_ids) + 1  # closing eos


def test_a_response_of_one_token_has_no_target(llama_dir):
    failing("no_target", score(table(INSTRUCTIONS, [RESPONSES[0], "a", RESPONSES[2]]), llama_dir), row=1)


def test_a_prompt_longer_than_max_length_leaves_no_target(llama_dir):
    scored = score(table(["Add. " * 200, *INSTRUCTIONS[1:]], RESPONSES), llama_dir, max_length=120)
    failing("no_target", scored, row=0)


def test_scores_do_not_depend_on_the_token_budget(llama_dir):
    ds = table(INSTRUCTIONS, RESPONSES)
    whole = score(ds, llama_dir, cache=False)
    for budget in (1, 60, 100_000):
        same_scores(score(ds, llama_dir, token_budget=budget, cache=False), whole)


def test_a_second_call_runs_no_model(llama_dir, no_forward):
    ds = table(INSTRUCTIONS, RESPONSES)
    first = score(ds, llama_dir)
    no_forward()
    assert score(ds, llama_dir).to_dict() == first.to_dict()


def test_without_the_cache_nothing_is_read_or_written(llama_dir, no_forward):
    ds = table(INSTRUCTIONS, RESPONSES)
    score(ds, llama_dir)
    before = stored()
    score(table(["Other."], ["return b"]), llama_dir, cache=False)
    assert stored() == before
    no_forward()
    with pytest.raises(AssertionError, match="ran the model"):
        score(ds, llama_dir, cache=False)


def test_a_changed_row_rescores_that_row_only(llama_dir, monkeypatch):
    score(table(INSTRUCTIONS, RESPONSES), llama_dir)
    scored, summed_nll = [], forward.summed_nll
    monkeypatch.setattr(
        forward, "summed_nll", lambda m, samples: scored.extend(samples) or summed_nll(m, samples)
    )
    score(table(INSTRUCTIONS, [*RESPONSES[:2], "words.sort()"]), llama_dir)
    assert len(scored) == 2  # the response alone, and after its instruction
    assert stored() == 4


@pytest.mark.parametrize("changed", [{"max_length": 100}, {"dtype": "bfloat16"}])
def test_other_settings_are_scored_separately(llama_dir, changed, no_forward):
    ds = table(INSTRUCTIONS, RESPONSES)
    score(ds, llama_dir)
    score(ds, llama_dir, **changed)
    assert stored() == 6


def test_an_interrupted_call_keeps_its_finished_scores(llama_dir, monkeypatch):
    calls, summed_nll = [], forward.summed_nll

    def interrupted(model, samples):
        calls.append(samples)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return summed_nll(model, samples)

    ds = table(INSTRUCTIONS, RESPONSES)
    with monkeypatch.context() as patch:
        patch.setattr(forward, "summed_nll", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score(ds, llama_dir, token_budget=1)
    assert stored() == 1
    assert score(ds, llama_dir)["score_status"][:] == ["ok"] * 3
    assert stored() == 3


def test_a_batch_that_does_not_fit_the_memory_is_halved(llama_dir, monkeypatch):
    whole = score(table(INSTRUCTIONS, RESPONSES), llama_dir, cache=False)
    sizes, summed_nll = [], forward.summed_nll

    def tight(model, samples):
        sizes.append(len(samples))
        if len(samples) > 2:
            raise torch.OutOfMemoryError
        return summed_nll(model, samples)

    monkeypatch.setattr(forward, "summed_nll", tight)
    scored = score(table(INSTRUCTIONS, RESPONSES), llama_dir, cache=False)
    assert sizes == [6, 2, 4, 2, 2]  # three rows of two sequences, split into 1 + 2 rows and then 1 + 1
    same_scores(scored, whole)


def test_a_row_that_never_fits_has_no_score_and_is_tried_again_later(llama_dir, monkeypatch):
    summed_nll, longest = forward.summed_nll, INSTRUCTIONS[2]

    def tight(model, samples):
        if any(len(sample.input_ids) > 150 for sample in samples):
            raise torch.OutOfMemoryError
        return summed_nll(model, samples)

    ds = table([INSTRUCTIONS[0], longest * 5, INSTRUCTIONS[1]], RESPONSES)
    with monkeypatch.context() as patch:
        patch.setattr(forward, "summed_nll", tight)
        failing("out_of_memory", score(ds, llama_dir), row=1)
    assert score(ds, llama_dir)["score_status"][:] == ["ok"] * 3


def test_nan_becomes_a_status_and_never_a_score(llama_dir, monkeypatch):
    # The sums of each row without and with its prompt; the second sum of the second row is NaN.
    sums = iter([[3.0, 2.0], [3.0, math.nan], [3.0, 2.0]])
    monkeypatch.setattr(forward, "summed_nll", lambda model, samples: next(sums))
    ds = table([f"{'Add. ' * n}" for n in (9, 6, 3)], ["a + b"] * 3)  # batches go longest first
    failing("not_finite", score(ds, llama_dir, token_budget=1), row=1)
    assert stored() == 2


def test_a_perplexity_beyond_the_range_of_floats_becomes_a_status(llama_dir, monkeypatch):
    summed_nll = forward.summed_nll

    def huge(model, samples):
        return [
            nll * 1e4 if len(sample.input_ids) > 20 else nll
            for nll, sample in zip(summed_nll(model, samples), samples, strict=True)
        ]

    monkeypatch.setattr(forward, "summed_nll", huge)
    ds = table(["Add.", "Reverse."], ["return a + b, " * 9, "a + b"])
    scored = score(ds, llama_dir, prompt="paper", token_budget=1)
    failing("not_finite", scored, row=0)
    monkeypatch.undo()
    again = score(ds, llama_dir)
    assert again["score_status"][:] == ["ok", "ok"]


def test_an_architecture_that_cannot_pack_gets_the_same_scores(toy_model_dir):
    folder = toy_model_dir(LEAKING)
    with pytest.warns(UserWarning, match="BloomForCausalLM cannot run packed samples"):
        scored = score(table(INSTRUCTIONS, RESPONSES), folder, max_length=512)
    model, tokenizer = models.load_model(folder, "float32")
    for question, answer, ifd in zip(INSTRUCTIONS, RESPONSES, scored["ifd"], strict=True):
        assert ifd == pytest.approx(reference(model, tokenizer, question, answer, 512)[0], rel=1e-5)


def test_scoring_again_replaces_the_columns(llama_dir):
    once = score(table(INSTRUCTIONS, RESPONSES), llama_dir)
    assert score(once, llama_dir).column_names == once.column_names


def test_an_empty_table_stays_empty(llama_dir):
    scored = score(table(INSTRUCTIONS, RESPONSES).select([]), llama_dir)
    assert len(scored) == 0
    assert {*FEATURES, "n_tokens"} <= set(scored.column_names)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"convention": "cherry"}, "convention='cherry' is not known; choose one of paper"),
        ({"max_length": 0}, "max_length=0 must be a whole number"),
        ({"token_budget": 1.5}, "token_budget=1.5 must be a whole number"),
        ({"dtype": "int8"}, "dtype='int8' is not known"),
    ],
)
def test_an_invalid_setting_is_named(llama_dir, named, message):
    with pytest.raises(UserError, match=message):
        score(table(INSTRUCTIONS, RESPONSES), llama_dir, **named)


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match=r"column 'response' is missing.*make it with wb.load first"):
        score(table(INSTRUCTIONS, RESPONSES).remove_columns("response"))


@pytest.mark.model
@pytest.mark.xdist_group("model")
def test_bundled_rows_score_as_by_the_authors_released_scorer():
    """`authors_ifd.json` holds what the authors' own script computes for rows of the bundled data."""
    expected = json.loads(Path(__file__).with_name("authors_ifd.json").read_text())["ifd"]
    ids = sorted(expected)[::3]
    rows = {row["id"]: row for row in load("bundled")}
    ds = table([rows[name]["instruction"] for name in ids], [rows[name]["response"] for name in ids])
    scored = score(ds, "smollm2-135m-q4_1", dtype="float32", max_length=2048, cache=False)
    assert scored["ifd"][:] == pytest.approx([expected[name] for name in ids], rel=1e-5)


@pytest.mark.model
@pytest.mark.xdist_group("model")
@pytest.mark.skipif(not REFERENCE.exists(), reason="needs the reference scores")
def test_the_real_model_scores_as_the_authors_released_scorer():
    rows = [json.loads(line) for line in REFERENCE.read_text().splitlines()][::5]
    ds = table([row["question"] for row in rows], [row["answer"] for row in rows])
    scored = score(ds, "smollm2-135m-q4_1", dtype="float32", max_length=2048, cache=False)
    assert scored["ifd"][:] == pytest.approx([row["ifd"] for row in rows], rel=1e-5)
