"""Prompts: which tokens a model reads, and which of them are targets."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import UserError
from workbench.lm.prompts import (
    IGNORE_INDEX,
    Sample,
    generation_prompts,
    resolve_template,
    scoring_prompts,
    training_samples,
)

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def chat_tokenizer(toy_tokenizer):
    tokenizer = copy.deepcopy(toy_tokenizer)
    tokenizer.chat_template = CHAT
    return tokenizer


def only_sample(tokenizer, instruction: str, response: str, **settings) -> Sample:
    (sample,) = training_samples(tokenizer, [instruction], [response], **settings)
    return sample


def test_the_scoring_prompt_is_that_of_the_paper():
    assert scoring_prompts(None, ["Add {two} numbers."]) == ["Question:\nAdd {two} numbers.\n\nAnswer:\n"]


@pytest.mark.parametrize(
    ("first_target", "labels"),
    [(1, [-100, 8, 9]), (2, [-100, -100, 9]), (3, [-100, -100, -100])],
)
def test_labels_are_the_tokens_from_the_first_target_on(first_target, labels):
    sample = Sample((7, 8, 9), first_target)
    assert sample.labels == labels
    assert sample.n_targets == 3 - first_target


def test_only_the_response_and_the_closing_eos_are_targets(toy_tokenizer):
    sample = only_sample(toy_tokenizer, "Add.", "a + b", template="deepseek")
    prompt = toy_tokenizer("### Instruction:\nAdd.\n### Response:\n").input_ids
    answer = toy_tokenizer("a + b").input_ids
    assert list(sample.input_ids) == [*prompt, *answer, toy_tokenizer.eos_token_id]
    assert sample.labels == [IGNORE_INDEX] * len(prompt) + [*answer, toy_tokenizer.eos_token_id]


def test_the_template_of_codellama(toy_tokenizer):
    (prompt,) = generation_prompts(toy_tokenizer, ["Add."], "codellama")
    assert toy_tokenizer.decode(prompt) == "[INST] Add. [/INST]"


def test_auto_is_the_chat_template_if_there_is_one_else_deepseek(toy_tokenizer, chat_tokenizer):
    assert resolve_template(toy_tokenizer) == "deepseek"
    assert resolve_template(chat_tokenizer) == "chat"
    (prompt,) = generation_prompts(chat_tokenizer, ["Add."])
    assert chat_tokenizer.decode(prompt) == "<user>Add.\n<assistant>"


def test_braces_in_an_instruction_are_kept(toy_tokenizer):
    (prompt,) = generation_prompts(toy_tokenizer, ["Print {x} and {}."], "deepseek")
    assert "Print {x} and {}." in toy_tokenizer.decode(prompt)


def test_a_truncated_sample_loses_its_end(toy_tokenizer):
    whole = only_sample(toy_tokenizer, "Add.", "return a + b")
    cut = only_sample(toy_tokenizer, "Add.", "return a + b", max_length=len(whole.input_ids) - 2)
    assert cut.input_ids == whole.input_ids[:-2]
    assert cut.n_targets == whole.n_targets - 2


def test_a_prompt_longer_than_max_length_leaves_no_target(toy_tokenizer):
    sample = only_sample(toy_tokenizer, "Add." * 20, "a + b", max_length=10)
    assert (len(sample.input_ids), sample.n_targets) == (10, 0)
    assert sample.labels == [IGNORE_INDEX] * 10


def test_chat_needs_a_chat_template(toy_tokenizer):
    with pytest.raises(UserError, match=r"'chat'.*no chat template; .*template='codellama' or 'deepseek'"):
        training_samples(toy_tokenizer, ["Add."], ["a + b"], "chat")


def test_an_unknown_template_is_named_with_the_valid_ones(toy_tokenizer):
    with pytest.raises(
        UserError, match="template='alpaca' is not known; choose one of auto, chat, codellama, deepseek"
    ):
        generation_prompts(toy_tokenizer, ["Add."], "alpaca")


def test_a_tokenizer_without_eos_is_refused(toy_tokenizer):
    tokenizer = copy.deepcopy(toy_tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        training_samples(tokenizer, ["Add."], ["a + b"])


def test_no_rows_give_no_samples(toy_tokenizer):
    assert training_samples(toy_tokenizer, [], []) == []
    assert generation_prompts(toy_tokenizer, []) == []


@given(st.text(max_size=40), st.text(max_size=40), st.integers(1, 60))
def test_a_sample_starts_with_the_prompt_of_generation(toy_tokenizer, instruction, response, max_length):
    (prompt,) = generation_prompts(toy_tokenizer, [instruction])
    sample = only_sample(toy_tokenizer, instruction, response, max_length=max_length)
    assert len(sample.labels) == len(sample.input_ids) <= max_length
    n = min(len(prompt), max_length)
    assert list(sample.input_ids[:n]) == prompt[:n]
    assert sample.labels[:n] == [IGNORE_INDEX] * n
    assert sample.labels[n:] == list(sample.input_ids[n:])
