"""The held-out loss when rows have no response token within the maximum length."""

import pytest
from conftest import table

from workbench.core.errors import UserError
from workbench.evaluation import evaluate, heldout_loss
from workbench.evaluation.measure import instructions
from workbench.evaluation.measure.setup import without_verdicts
from workbench.lm import models

LONG = "Add. " * 1500
ROWS = table([LONG, "Add."], ["a + b", "a + b"]).add_column("id", ["long", "short"])
ROWS = ROWS.add_column("check", ["assert True"] * 2)


@pytest.fixture(scope="module")
def toy(toy_model_dir):
    return models.load_model(toy_model_dir("llama"), "float32", "cpu")


def test_rows_without_a_response_token_do_not_count(toy):
    assert heldout_loss(*toy, ROWS) == heldout_loss(*toy, ROWS.select([1]))


def test_no_response_token_at_all_is_named(toy):
    with pytest.raises(UserError, match=r"none of the 1 rows counts .*no response token within max_length=2"):
        heldout_loss(*toy, ROWS.select([0]))


@pytest.mark.parametrize("measures", [None, "loss"])
def test_a_report_names_the_rows_without_a_loss(toy_model_dir, monkeypatch, measures):
    monkeypatch.setattr(instructions, "_judged_instructions", lambda *request: without_verdicts(["long"]))
    settings = {"measures": measures, "dtype": "float32", "device": "cpu"}
    report = evaluate(str(toy_model_dir("llama")), ROWS, **settings)
    assert report.loss_per_token > 0
    if measures is None:
        assert report.problems[-1] == "long: left out of the loss, no response token within max_length=2048"
    else:
        assert report.tasks["loss"].isna().tolist() == [True, False]
    empty = evaluate(str(toy_model_dir("llama")), ROWS.select([0]), **settings)
    assert empty.loss_per_token is None
