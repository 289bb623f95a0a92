"""A chat template that refuses some rows costs these rows; one that refuses all ends in one sentence."""

import re

import pytest
from chats import CHAT, DIALOGUE, NO_SYSTEM, chat_model, chatty
from conftest import table
from trainings import FAST

from workbench.complexity import score
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.evaluation import evaluate, generate, heldout_loss
from workbench.evaluation.generation.prompt_format import PromptFormat
from workbench.evaluation.measure import instructions
from workbench.evaluation.sandbox.run import Outcome
from workbench.lm import chat, models
from workbench.lm.chat import TemplateRefusal
from workbench.lm.prompts import generation_prompts, training_samples
from workbench.training import finetune

REASON = r"refuses its turns \(system, user, assistant, user.*\): no system turns"
DIALOGUES = [None, DIALOGUE, None, DIALOGUE]
ROWS = tables.with_columns(
    table(["Add.", "Sum two? Now three.", "Reverse.", "Sum."], ["a + b", "a + b + c", "text[::-1]", "a"]),
    {"id": list("abcd"), "dialogue": DIALOGUES, "check": ["assert True"] * 4},
    {"id": tables.TEXT, "dialogue": [{"role": tables.TEXT, "content": tables.TEXT}], "check": tables.TEXT},
)
ACCEPTED, REFUSED = ROWS.select([0, 2]), ROWS.select([1, 3])
FIXED = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def folder(toy_model_dir, toy_tokenizer, tmp_path_factory):
    return chat_model(
        toy_model_dir("llama"), toy_tokenizer, tmp_path_factory.mktemp("chat"), template=NO_SYSTEM
    )


@pytest.mark.parametrize("prompt", ["paper", "chat"])
@pytest.mark.parametrize("template", ["chat", "deepseek"])
def test_the_score_has_a_status_and_the_others_do_not_change(folder, prompt, template):
    settings = FIXED | {"prompt": prompt, "template": template, "convention": "same-tokens", "cache": False}
    scored = score(ROWS, folder, **settings)
    if (prompt, template) == ("paper", "deepseek"):
        assert scored["score_status"][:] == ["ok"] * 4
        return
    assert scored["score_status"][:] == ["ok", "refused", "ok", "refused"]
    assert [n > 0 for n in scored["n_tokens"]] == [True, template == "deepseek"] * 2
    assert scored["ifd"][1] is None
    assert re.search(REASON, scored["score_reason"][1])
    others = score(ACCEPTED, folder, **settings)
    assert scored.select([0, 2])["ifd"][:] == pytest.approx(others["ifd"][:], rel=1e-5)
    with pytest.raises(UserError, match=f"none of the 2 rows can be scored: .*{REASON}"):
        score(REFUSED, folder, **settings)


def test_training_leaves_the_rows_out_and_counts_them(folder, tmp_path):
    with pytest.warns(UserWarning, match=f"2 of 4 rows are left out of the training, e.g. row 1: .*{REASON}"):
        run = finetune(ROWS, folder, tmp_path / "run", **FAST, heldout=ROWS, eval_steps=1).wait()
    assert (run.summary["samples"], run.summary["samples_refused"]) == (2, 2)
    tuned = models.load_model(run.model_dir, "float32", "cpu")
    assert run.history[-1]["heldout_loss"] == pytest.approx(heldout_loss(*tuned, ACCEPTED), rel=1e-4)
    with pytest.raises(UserError, match=f"none of the 2 rows can be trained on: .*{REASON}"):
        finetune(REFUSED, folder, tmp_path / "other", **FAST)


def test_the_held_out_loss_leaves_the_rows_out(folder):
    model = models.load_model(folder, "float32", "cpu")
    assert heldout_loss(*model, ROWS) == pytest.approx(heldout_loss(*model, ACCEPTED))
    with pytest.raises(UserError, match=f"none of the 2 rows counts in the loss: .*{REASON}"):
        heldout_loss(*model, REFUSED)


def test_the_answer_is_none(folder):
    model = models.load_model(folder, "float32", "cpu")
    questions = ["Add.", DIALOGUE]
    with pytest.warns(UserWarning, match=f"1 of 2 instructions get no answer, e.g. number 1: .*{REASON}"):
        texts = generate(*model, questions, max_new_tokens=2)
    assert texts == [*generate(*model, ["Add."], max_new_tokens=2), None]
    with pytest.raises(UserError, match=r"the row whose turns \(system.*'Be brief.': no system turns"):
        generate(*model, [DIALOGUE], max_new_tokens=2)


def test_the_verdict_is_an_error_with_the_reason(folder, monkeypatch):
    monkeypatch.setattr(instructions, "judge", lambda texts, checks: [Outcome("pass")] * len(texts))
    monkeypatch.setattr("workbench.evaluation.sandbox.why_unconfined", lambda: None)
    monkeypatch.setattr("workbench.evaluation.measure.setup.versions_here", dict)
    report = evaluate(str(folder), ROWS, **FIXED, max_new_tokens=2)
    assert report.tasks["base"].tolist() == ["pass", "error", "pass", "error"]
    assert re.search(REASON, report.tasks["detail"][1])
    assert any(
        problem.startswith("b: not measured, the chat template refuses") for problem in report.problems
    )
    with pytest.raises(UserError, match="no system turns"):
        evaluate(str(folder), REFUSED, **FIXED)


def test_measures_by_task_leave_the_rows_out(folder):
    report = evaluate(str(folder), ROWS, measures="loss", **FIXED)
    assert report.tasks["loss"].isna().tolist() == [False, True] * 2
    assert report.loss_per_token > 0
    assert [problem[:15] for problem in report.problems] == ["b: not measured", "d: not measured"]


def test_the_prompt_of_a_coding_task_is_the_refusal(toy_tokenizer):
    template = "{% if 'odd' in messages[0]['content'] %}{{ raise_exception('odd') }}{% endif %}" + CHAT
    tokenizer = chatty(toy_tokenizer, template)
    prompt_format = PromptFormat.resolve(tokenizer, "chat", None, ())
    accepted, refused = prompt_format.prompts(tokenizer, ["def f():", "def odd():"])
    assert isinstance(accepted, list)
    assert isinstance(refused, TemplateRefusal)
    samples = prompt_format.samples(tokenizer, ["def f():", "def odd():"], ["\n    pass"] * 2)
    assert [sample.n_targets > 0 for sample in samples] == [True, False]


@pytest.mark.parametrize("fault", ["1 / 0", "'a' + 1", "messages[9].content", "'1,5' | int('x') + 1"])
def test_an_error_in_the_template_is_a_refusal_too(toy_tokenizer, fault):
    template = "{% if messages[0].role == 'system' %}{{ FAULT }}{% endif %}".replace("FAULT", fault) + CHAT
    samples = training_samples(chatty(toy_tokenizer, template), ["Add.", DIALOGUE], ["a", "b"], "chat")
    assert [sample.refusal is None for sample in samples] == [True, False]


def test_a_template_that_requires_a_system_turn_is_trained_on(toy_tokenizer):
    template = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT
    tokenizer = chatty(toy_tokenizer, template, "<eos>")
    samples = training_samples(tokenizer, ["Add.", DIALOGUE], ["a + b", "a + b + c"], "chat")
    assert samples[0].refusal == "the chat template refuses its turns (user): no system"
    assert samples[1].input_ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_a_template_that_refuses_every_conversation_is_one_sentence(toy_tokenizer):
    tokenizer = chatty(toy_tokenizer, "{{ raise_exception('never') }}")
    with pytest.raises(UserError, match=r"refuses every conversation: .*: never; choose another template"):
        training_samples(tokenizer, ["Add."] * 3, ["a"] * 3, "chat")
    with pytest.raises(UserError, match="never"):
        generation_prompts(tokenizer, ["Add."] * 3, "chat")
    assert chat.turn_end(tokenizer) is None


def test_each_refused_row_of_many_is_identified(toy_tokenizer):
    tokenizer = chatty(toy_tokenizer, NO_SYSTEM)
    refused = [i % 7 == 3 for i in range(50)]
    questions = [DIALOGUE if refusal else f"Add {i}." for i, refusal in enumerate(refused)]
    samples = training_samples(tokenizer, questions, ["a"] * 50, "chat")
    assert [sample.refusal is not None for sample in samples] == refused
    alone = training_samples(tokenizer, questions[:1], ["a"], "chat")
    assert samples[0] == alone[0]
