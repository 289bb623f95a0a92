"""Which answers of a dialogue are targets: the last one, or all."""

import pytest
import torch
from chats import CHAT, DIALOGUE, chatty
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import UserError
from workbench.lm import forward, models
from workbench.lm.batching import collate
from workbench.lm.nll import padded_nll
from workbench.lm.prompts import IGNORE_INDEX, Sample, training_samples

# CHAT with the marks by which transformers, and so TRL's assistant_only_loss, knows answers.
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}{% else %}{{ m['content'] }}<|im_end|>"
    "{% endif %}\n\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RESPONSE = "def f(a, b, c):\n    return a + b + c"


def answers(*contents: str) -> list[dict]:
    """A dialogue in which `contents` answer questions, up to one more question."""
    turns = [{"role": "system", "content": "Be brief."}]
    for i, content in enumerate(contents):
        turns += [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": content}]
    return [*turns, {"role": "user", "content": "And now?"}]


def only_sample(tokenizer, turns, response: str = RESPONSE, **settings) -> Sample:
    (sample,) = training_samples(tokenizer, [turns], [response], "chat", **settings)
    return sample


def targets(tokenizer, sample: Sample) -> str:
    return tokenizer.decode([label for label in sample.labels if label != IGNORE_INDEX])


@pytest.mark.parametrize(
    "turns",
    [
        DIALOGUE,
        answers("a + b", "x = 1\n\n", "    return a\n"),
        answers("\n\nA newline first.", " a blank first"),
        [DIALOGUE[1], DIALOGUE[2], {"role": "assistant", "content": "b"}, DIALOGUE[3]],
    ],
)
def test_all_answers_are_the_targets_of_assistant_only_loss(toy_tokenizer, turns):
    tokenizer = chatty(toy_tokenizer, MARKED)
    whole = tokenizer.apply_chat_template(
        [*turns, {"role": "assistant", "content": RESPONSE}],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    expected = [
        token if answer else IGNORE_INDEX
        for token, answer in zip(whole["input_ids"], whole["assistant_masks"], strict=True)
    ]
    sample = only_sample(tokenizer, turns, train_on="all")
    n = len(sample.input_ids)
    assert list(sample.input_ids) == whole["input_ids"][:n]
    assert sample.labels == expected[:n]
    assert set(expected[n:]) <= {IGNORE_INDEX}


# What SFTTrainer of trl 1.16 trains on for DIALOGUE and RESPONSE under MARKED, token by token.
_DEFINITION = ["def", " ", "f", "(", "a", ",", " b", ",", " ", "c", "):"]
_BODY = ["\n   ", " return", " a", " +", " b", " +", " ", "c", "<|im_end|>"]
TRL = {"last": [*_DEFINITION, *_BODY]}
TRL["all"] = ["a", " +", " b", "<|im_end|>", *TRL["last"]]


@pytest.mark.parametrize("train_on", TRL)
def test_the_targets_are_those_of_trl(toy_tokenizer, train_on):
    tokenizer = chatty(toy_tokenizer, MARKED)
    sample = only_sample(tokenizer, DIALOGUE, train_on=train_on)
    labels = [label for label in sample.labels if label != IGNORE_INDEX]
    assert [tokenizer.decode([label]) for label in labels] == TRL[train_on]


def test_the_tokens_are_the_same_for_the_last_answer_and_all(toy_tokenizer):
    tokenizer = chatty(toy_tokenizer, CHAT)
    turns = answers("\n  a", "print('<|im_end|>')")
    last, every = (only_sample(tokenizer, turns, train_on=train_on) for train_on in ("last", "all"))
    assert last.input_ids == every.input_ids
    assert targets(tokenizer, last) == f"{RESPONSE}<|im_end|>"
    assert targets(tokenizer, every).endswith(f"print('<|im_end|>')<|im_end|>{RESPONSE}<|im_end|>")


@pytest.mark.parametrize("question", ["Add.", [DIALOGUE[1]], [DIALOGUE[0], DIALOGUE[1]]])
def test_rows_without_an_earlier_answer_do_not_change(toy_tokenizer, question):
    tokenizer = chatty(toy_tokenizer, CHAT)
    assert only_sample(tokenizer, question, train_on="all") == only_sample(tokenizer, question)


def test_a_greeting_before_the_first_question_is_no_answer(toy_tokenizer):
    tokenizer = chatty(toy_tokenizer, CHAT)
    turns = [{"role": "assistant", "content": "Hello."}, *DIALOGUE[1:]]
    assert targets(tokenizer, only_sample(tokenizer, turns, train_on="all")) == (
        f"a + b<|im_end|>{RESPONSE}<|im_end|>"
    )


def test_a_template_without_an_end_of_turn_leaves_the_texts_of_the_answers(toy_tokenizer):
    template = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    sample = only_sample(chatty(toy_tokenizer, template), DIALOGUE, train_on="all")
    assert targets(toy_tokenizer, sample).startswith(" a + b\ndef f")


def test_a_template_that_rewrites_earlier_answers_is_refused(toy_tokenizer):
    template = CHAT.replace("{{ m['content'] }}", "{{ m['content'] if loop.last else '...' }}")
    tokenizer = chatty(toy_tokenizer, template)
    with pytest.raises(UserError, match=r"train_on='all': .*the row whose turns .*; use train_on='last'"):
        only_sample(tokenizer, DIALOGUE, train_on="all")
    with pytest.raises(UserError, match="train_on='first' is not known; choose one of all, last"):
        only_sample(tokenizer, DIALOGUE, train_on="first")


SAMPLE = Sample(tuple(range(10, 20)), 2, ((4, 7),))


def test_gaps_are_no_targets():
    assert SAMPLE.labels == [-100, -100, 12, 13, -100, -100, -100, 17, 18, 19]
    assert SAMPLE.n_targets == 5


@given(st.lists(st.integers(1, 9), max_size=4), st.integers(1, 9), st.integers(2, 12))
def test_pieces_of_a_sample_have_its_targets_once(bounds, first_target, size):
    bounds = sorted({bound + first_target for bound in bounds})
    gaps = tuple(zip(bounds[::2], bounds[1::2], strict=False))
    whole = Sample(tuple(range(30)), first_target, gaps)
    pieces = [whole.part(start, start + size) for start in range(0, 29, size - 1)]
    labels = [label for piece in pieces for label in piece.labels if label != IGNORE_INDEX]
    assert labels == [label for label in whole.labels if label != IGNORE_INDEX]
    assert sum(piece.n_targets for piece in pieces) == whole.n_targets == len(labels)


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
@pytest.mark.filterwarnings("ignore:.*cannot run packed samples")
def test_the_nll_is_that_of_the_targets(toy_model_dir, architecture):
    model, _ = models.load_model(toy_model_dir(architecture), "float32", "cpu")
    whole, other = Sample(SAMPLE.input_ids, 2), Sample((5, 6, 7), 1)
    kept = [0, 1, 5, 6, 7]
    with torch.no_grad():
        expected = padded_nll(model, [whole])[0][kept]
        nll = forward.token_nll(model, [other, SAMPLE])
    torch.testing.assert_close(torch.tensor(nll[1]), expected, atol=1e-5, rtol=1e-4)
    assert len(nll[0]) == 2
    assert (collate([[other, SAMPLE]])["labels"] != IGNORE_INDEX).sum() == 7
