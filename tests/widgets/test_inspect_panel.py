"""The panel of the cleaning report: rows of a rule, and what is left out."""

import pytest
from conftest import table

import workbench as wb
from workbench.core.errors import UserError


@pytest.fixture
def panel():
    simple = "It is <b>simple</b> to see for everyone who reads the whole text."
    responses = ["x = 1", "x = 1", simple, "I'm sorry, I can't help with that."]
    ds = table(["Set x.", "Set x.", "Explain <i>.", "Do it."], responses)
    rules = ["exact-duplicate", "near-duplicate", "empty", "refusal", "no-code"]
    return wb.widgets.InspectPanel(wb.inspect(ds, rules))


def test_nothing_is_left_out_until_a_box_is_ticked(panel):
    assert (len(panel.dataset), panel.rules) == (4, ())
    panel.boxes["refusal"].value = True
    panel.boxes["exact-duplicate"].value = True
    assert panel.dataset["response"][:] == [
        "x = 1",
        "It is <b>simple</b> to see for everyone who reads the whole text.",
    ]
    assert "2 of 4 rows remain" in panel.summary.value
    panel.boxes["refusal"].value = False
    assert len(panel.dataset) == 3
    assert panel.boxes["empty"].disabled


def test_a_click_lists_the_rows_of_a_rule_with_the_reasons(panel):
    panel.buttons["no-code"].click()
    assert [row for _, row in panel.list.options] == [2, 3]
    assert "It is <b>simple</b>" in panel.list.options[0][0]  # a list shows text, no markup
    assert "simple" in panel.response.body.value
    assert "<b>simple" not in panel.response.body.value
    panel.list.value = 3
    assert "sorry" in panel.response.body.value
    panel.buttons["exact-duplicate"].click()
    assert [row for _, row in panel.list.options] == [1]
    assert "x" in panel.response.body.value
    assert panel.errors.last is None
    with pytest.raises(UserError, match="rule='leak' is not in this report"):
        panel.show("leak")


def test_pages_without_widgets_show_the_report(panel):
    bundle = panel._repr_mimebundle_()
    assert "<svg" in bundle["text/html"]
    assert "the response declines to answer" in bundle["text/html"]
    assert "4 rows, 3 with a flag" in bundle["text/plain"]


def test_a_dataset_is_inspected(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))
    monkeypatch.delenv("HUMANEVAL_OVERRIDE_PATH", raising=False)
    panel = wb.widgets.InspectPanel(table(["Set x."], ["x = 1"]))
    assert panel.buttons["leak"].description == "not checked"
    assert panel.boxes["leak"].disabled
