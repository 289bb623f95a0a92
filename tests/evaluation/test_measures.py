"""Preference and margin: what `evaluate` measures of a model, and how reports of them compare."""

import shutil

import datasets
import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.core.errors import UserError
from workbench.evaluation import EvalReport, SandboxError, evaluate, heldout_loss, level, statistics
from workbench.evaluation.heldout import likelihood_table
from workbench.lm import models, prompts
from workbench.lm.forward import summed_nll

try:
    level()
except SandboxError as refused:
    pytest.skip(str(refused), allow_module_level=True)

TASKS = datasets.Dataset.from_dict(
    {
        "id": ["add", "largest", "greet"],
        "instruction": ["Add two numbers.", "Return the larger one.", "Greet."],
        "response": [
            "def add(a, b):\n    return a + b",
            "def largest(a, b):\n    return max(a, b) if a < b or True else a",
            "def greet():\n    return 'hi'",
        ],
        "check": ["assert add(1, 2) == 3", "assert largest(1, 2) == 2", "assert greet() == 'hi'"],
    }
)
ALL = ("loss", "preference", "pass")


@pytest.fixture
def measured(toy_model_dir):
    def measure(tasks=TASKS, **options) -> EvalReport:
        options = {"dtype": "float32", "device": "cpu", "max_new_tokens": 2} | options
        return evaluate(str(toy_model_dir("llama")), tasks, **options)

    return measure


class TestEvaluate:
    def test_preference_and_margin_are_those_of_the_nll(self, measured, toy_model_dir):
        report = measured(measures=ALL)
        model, tokenizer = models.load_model(toy_model_dir("llama"), "float32", "cpu")
        twins = wb.twins(TASKS)
        pairs = [
            prompts.training_samples(tokenizer, [twin["instruction"]] * 2, [twin["response"], twin["twin"]])
            for twin in twins
        ]
        margins = pd.Series([np.diff(summed_nll(model, pair))[0] for pair in pairs], index=twins["id"][:])
        assert report.margin == pytest.approx(margins.mean(), abs=1e-4)
        assert report.preference == (margins > 0).mean()
        rows = report.tasks.set_index("task_id")
        assert rows.loc["add", "margin"] == pytest.approx(margins["add"], abs=1e-4)
        assert rows["n_twins"].to_dict() == {"greet": 0} | margins.groupby(level=0).size().to_dict()
        assert rows.loc["greet", ["preference", "margin"]].isna().all()
        assert set(rows["base"]) <= {"pass", "fail", "error", "timeout"}

    def test_loss_by_task_adds_up_to_the_loss(self, measured, toy_model_dir):
        report = measured(measures="loss")
        loaded = models.load_model(toy_model_dir("llama"), "float32", "cpu")
        assert report.loss_per_token == pytest.approx(heldout_loss(*loaded, TASKS), rel=1e-6)
        assert report.measures.loc["loss", "value"] == pytest.approx(report.loss_per_token)
        assert list(report.tasks) == ["task_id", "base", "plus", "loss", "n_tokens"]

    def test_loss_by_task_asks_with_the_turns_of_a_dialogue(self, toy_model_dir, tmp_path):
        folder = tmp_path / "chatty"
        shutil.copytree(toy_model_dir("llama"), folder)
        tokenizer = models.load_tokenizer(folder)
        tokenizer.chat_template = (
            "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }} {% endfor %}"
        )
        tokenizer.save_pretrained(folder)
        turns = [{"role": role, "content": "Add."} for role in ("user", "assistant", "user")]
        tasks = TASKS.add_column("dialogue", [turns, None, None])
        report = evaluate(str(folder), tasks, measures="loss", dtype="float32", device="cpu")
        loaded = models.load_model(folder, "float32", "cpu")
        assert report.loss_per_token == pytest.approx(heldout_loss(*loaded, tasks), rel=1e-6)
        assert report.loss_per_token != pytest.approx(heldout_loss(*loaded, TASKS), rel=1e-3)

    def test_without_pass_nothing_is_generated(self, measured, monkeypatch):
        monkeypatch.setattr("workbench.evaluation.generation.answers.generate_texts", None)
        report = measured(measures=("loss", "preference"))
        assert not report.has_pass
        assert (list(report.measures.index), len(report.scores)) == (["loss", "preference", "margin"], 0)
        assert "preference" in repr(report)
        with pytest.raises(UserError, match="pass was not measured"):
            _ = report.pass_at_1

    def test_several_samples_repeat_the_measures_of_their_task(self, measured):
        once, thrice = measured(measures=ALL), measured(measures=ALL, n_samples=3, temperature=1.0)
        assert len(thrice.tasks) == 9
        assert thrice.margin == pytest.approx(once.margin)

    def test_rows_without_check_have_preference_but_no_pass(self, measured):
        unchecked = TASKS.remove_columns("check")
        assert measured(unchecked, measures="preference").preference is not None
        with pytest.raises(UserError, match="column 'check' is missing"):
            measured(unchecked, measures=ALL)

    @pytest.mark.usefixtures("evalplus")
    @pytest.mark.parametrize("template", ["raw", "deepseek"])
    def test_code_tasks_use_the_reference_solution(self, measured, monkeypatch, template):
        sample = __file__.replace("test_measures.py", "evalplus_sample/humaneval-tasks.jsonl.gz")
        monkeypatch.setenv("HUMANEVAL_OVERRIDE_PATH", sample)
        report = measured("humaneval+", measures=("loss", "preference"), limit=3, template=template)
        assert len(report.tasks) == 3
        assert report.tasks["n_twins"].sum() > 3
        assert report.loss_per_token > 0
        assert report.benchmark == "HumanEval+"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"measures": ("loss", "bleu")}, "measures='bleu' is not known"),
            ({"measures": ()}, "measures=\\(\\) is empty"),
            (
                {"measures": "preference", "tasks": TASKS.select([2])},
                "no reference solution has a broken twin",
            ),
            (
                {"measures": "loss", "tasks": datasets.concatenate_datasets([TASKS, TASKS])},
                "id='add' names several rows",
            ),
        ],
    )
    def test_unusable_measures_are_refused(self, measured, options, message):
        with pytest.raises(UserError, match=message):
            measured(**options)

    def test_samples_have_no_likelihood(self, tmp_path):
        with pytest.raises(UserError, match="a samples file has no likelihoods"):
            evaluate(samples=tmp_path / "s.jsonl", measures=("loss",))


@pytest.mark.slow
def test_an_untrained_model_prefers_half_of_the_references(toy_tokenizer, toy_model_dir):
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    twins = wb.twins("bundled", limit=40)
    twins = twins.filter(lambda row: len(row["response"]) < 300)
    owners = twins["id"][:]

    def samples(programs: list[str]) -> list[prompts.Sample]:
        return prompts.training_samples(toy_tokenizer, twins["instruction"][:], programs, "auto", 2048)

    references = dict(zip(owners, samples(twins["response"][:]), strict=True))
    pairs = list(zip(owners, samples(twins["twin"][:]), strict=True))
    shares = []
    for seed in range(8):
        set_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(toy_model_dir("llama"))).eval()
        table = likelihood_table(model, references, pairs)
        shares.append(np.average(table["preference"], weights=table["n_twins"]))
    assert 0.45 <= np.mean(shares) <= 0.55, shares


def made(model="m", **columns) -> EvalReport:
    """A report on 40 tasks with the measures in `columns`."""
    n = 40
    weights = {"n_tokens": 10, "n_twins": 2}
    table = {"task_id": range(n), "base": None, "plus": None} | weights | columns
    return EvalReport(model, "bundled", pd.DataFrame(table))


class TestReports:
    MARGINS = np.random.default_rng(0).normal(4, 2, 40)

    def test_a_report_says_what_difference_it_can_show(self):
        report = made(margin=self.MARGINS, preference=1.0)
        margin, preference = (report.measures.loc[name] for name in ("margin", "preference"))
        assert margin["low"] < margin["value"] < margin["high"]
        scatter = self.MARGINS.std(ddof=1)
        assert margin["detectable"] == pytest.approx(statistics.detectable_mean(40, scatter))
        assert (preference["low"], preference["high"]) == statistics.wilson(40, 40)

    def test_pairing_shows_what_a_single_report_cannot(self):
        first = made(margin=self.MARGINS, preference=0.5)
        second = made(margin=self.MARGINS + np.random.default_rng(1).normal(0.1, 0.1, 40), preference=0.5)
        compared = first.compare(second)
        row = compared.measures.loc["margin"]
        assert 0.05 < row["low"] < row["difference"] < row["high"] < 0.15
        assert row["p_value"] < 0.001
        assert row["detectable"] < 0.1 < first.measures.loc["margin", "detectable"]
        assert row["second"] - row["first"] == pytest.approx(row["difference"])
        assert compared.measures.loc["preference", "p_value"] == 1
        assert (compared.n_tasks, len(compared.flipped)) == (40, 0)
        assert "margin +0.1" in repr(compared)

    def test_pass_and_other_measures_are_compared_together(self):
        verdicts = np.where(np.arange(40) < 10, "pass", "fail")
        first = made(base=verdicts, loss=1.0)
        second = made(base=verdicts[::-1].copy(), loss=1.5)
        measures = first.compare(second).measures
        assert list(measures.index) == ["loss", "pass@1"]
        assert measures.loc["loss", "difference"] == pytest.approx(0.5)
        assert measures.loc["pass@1", "p_value"] == statistics.mcnemar(10, 10)
        assert measures.loc["pass@1", "detectable"] == statistics.detectable_share(40, discordance=0.5)

    def test_losses_over_different_tokens_are_not_compared(self):
        other = made(loss=1.5, margin=4.0, n_tokens=12)
        assert list(made(loss=1.0, margin=4.0).compare(other).measures.index) == ["margin"]

    def test_reports_without_a_common_measure_are_refused(self):
        with pytest.raises(UserError, match="no measure by task in common"):
            made(loss=1.0).compare(made(margin=1.0))

    def test_a_saved_report_has_its_measures(self, tmp_path):
        report = made(margin=self.MARGINS, preference=0.5)
        back = EvalReport.load(report.save(tmp_path / "rep.json"))
        pd.testing.assert_frame_equal(back.measures, report.measures)
        assert not back.has_pass
