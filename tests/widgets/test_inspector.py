"""The inspector without a browser: it shows of a row what the functions of `workbench` return."""

import asyncio
import re
import time
from html import unescape

import datasets
import numpy as np
import pandas as pd
import pytest
from pages import HOSTILE, Page

import workbench as wb
from workbench import complexity, selection
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.core.texts import visible
from workbench.widgets import Inspector
from workbench.widgets.rows import inspector as inspector_module
from workbench.widgets.rows import row_view


def text_of(html: str) -> str:
    return Page(html).text


@pytest.fixture(scope="module")
def ds() -> datasets.Dataset:
    """Clusters of rows 0 to 3 and 4 to 6; the IFD of row 3 is above 1, row 6 is not scored."""
    angles = np.radians([0, 10, 20, 30, 90, 100, 110])
    return datasets.Dataset.from_dict(
        {
            "id": [f"r{i}" for i in range(7)],
            "instruction": [f"Write {i} in Python." for i in range(7)],
            "response": [f"x = {i}  # a number" for i in range(7)],
            "ifd": [0.5, 0.9, 0.7, 1.2, 0.6, 0.6, None],
            "score_status": ["ok"] * 6 + ["no_target"],
            "score_reason": [None] * 6 + ["its response is one token"],
            "n_tokens": [10, 20, 30, 40, 50, 60, 70],
            "cluster": [0, 0, 0, 0, 1, 1, 1],
            "embedding": np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32),
        }
    )


@pytest.fixture
def chosen(ds) -> selection.Selection:
    """Rows 1 and 4: half of the eligible rows of each cluster, rounded down."""
    selected = wb.select(ds, 0.5)
    assert selected.indices.tolist() == [1, 4]
    return selected


@pytest.fixture
def inspector(ds) -> Inspector:
    return Inspector(ds)


class TestRowDetails:
    @pytest.mark.parametrize(
        ("row", "reason", "cluster", "rank", "ranked"),
        [
            (0, "IFD 0.5000 is below the cut of cluster 0", 0, 3, 3),
            (1, None, 0, 1, 3),
            (3, "IFD 1.2000 is not below max_ifd 1", 0, None, 3),
            (4, None, 1, 1, 2),
            (5, "IFD 0.6000 is below the cut of cluster 1", 1, 2, 2),  # a tie: the first is ahead
            (6, "not scored: its response is one token", 1, None, 2),
        ],
    )
    def test_worked_by_hand(self, chosen, row, reason, cluster, rank, ranked):
        details = selection.row_details(chosen, row)
        assert (details.reason, details.cluster, details.rank, details.ranked) == (
            reason,
            cluster,
            rank,
            ranked,
        )

    def test_nearest_rows_are_kept_rows_without_the_row_itself(self, chosen):
        assert [row for row, _ in selection.row_details(chosen, 0).nearest] == [1, 4]
        assert selection.row_details(chosen, 0).nearest[0][1] == pytest.approx(np.cos(np.radians(10)))
        assert [row for row, _ in selection.row_details(chosen, 4).nearest] == [1]
        assert [row for row, _ in selection.row_details(chosen, 6, n_nearest=1).nearest] == [4]

    def test_without_clusters_and_embeddings(self, ds):
        details = selection.row_details(wb.select(ds.select_columns(["ifd"]), 0.5, "ifd-top"), 2)
        assert (details.cluster, details.rank, details.ranked, details.nearest) == (None, 2, 5, [])


class TestOneRow:
    def test_shows_texts_scores_and_verdict(self, inspector, chosen):
        inspector.show(5, chosen)
        assert text_of(inspector.instruction.body.value) == "Write 5 in Python."
        assert text_of(inspector.response.body.value) == "x = 5  # a number"
        assert '<span class="workbench-c1"># a number</span>' in inspector.response.body.value
        text = text_of(inspector.scores.value)
        for words in ("id r5", "status ok", "IFD 0.6000", "tokens in training 60"):
            assert words in text
        text = text_of(inspector.verdict.value)
        assert text.startswith("Dropped: IFD 0.6000 is below the cut of cluster 1")
        assert text.endswith("rank 2 of 2 eligible rows in cluster 1, by IFD")
        assert [button.description[:4] for button in inspector.near.children] == ["0.98", "0.00"]

    def test_a_kept_row(self, inspector, chosen):
        inspector.show(4, chosen)
        assert text_of(inspector.verdict.value).startswith("Kept by ifd-cluster")

    def test_without_a_selection(self, inspector):
        inspector.show(6)
        assert inspector.verdict.value == "cluster 1, of 3 rows"
        assert "because its response is one token" in text_of(inspector.scores.value)
        assert "IFD" not in text_of(inspector.scores.value)
        assert len(inspector.near.children) == 0

    def test_a_selection_stays_until_the_next(self, inspector, chosen, ds):
        inspector.show(1, chosen)
        inspector.show(2)
        assert "Dropped" in inspector.verdict.value
        inspector.show(2, wb.select(ds, 1.0))
        assert "Kept" in inspector.verdict.value

    def test_a_neighbour_opens(self, inspector, chosen):
        inspector.show(0, chosen)
        inspector.near.children[0].click()
        assert inspector.row == inspector.number.value == 1

    def test_texts_are_the_only_required_columns(self):
        inspector = Inspector(datasets.Dataset.from_dict({"instruction": ["a"], "response": [None]}))
        assert text_of(inspector.response.body.value) == ""
        assert inspector.scores.value == inspector.verdict.value == ""
        assert inspector.previous.disabled
        assert inspector.next.disabled

    def test_buttons_move_and_stop_at_the_ends(self, inspector):
        assert inspector.previous.disabled
        inspector.next.click()
        assert inspector.row == 1
        inspector.number.value = 6
        assert inspector.row == 6
        assert inspector.next.disabled
        inspector.previous.click()
        assert inspector.row == 5
        assert repr(inspector) == "<Inspector at row 5 of 7>"

    @pytest.mark.parametrize("row", [-1, 7])
    def test_a_missing_row_raises(self, inspector, row):
        with pytest.raises(
            UserError, match=rf"row={row} is not a row of the dataset; give a number from 0 to 6"
        ):
            inspector.show(row)

    def test_an_empty_table_or_a_missing_column_raises(self, ds):
        with pytest.raises(UserError, match="no rows to look at"):
            Inspector(ds.select([]))
        with pytest.raises(UserError, match=r"'response' is missing .* make it with wb\.load first"):
            Inspector(ds.remove_columns("response"))


class TestManyRows:
    def test_lists_them_with_a_summary_and_opens_the_first(self, inspector, chosen):
        inspector.show_many([5, 1, 6, 1], chosen)
        assert inspector.row == 1
        assert "3 rows · 1 kept · mean IFD 0.750 · 150 tokens · 2 clusters" in inspector.list.summary.value
        labels = [label for label, _ in inspector.list.choice.options]
        assert [label.split()[:2] for label in labels] == [["1", "kept"], ["5", "dropped"], ["6", "dropped"]]
        assert "not scored" in labels[2]

    def test_a_line_opens_its_row_and_buttons_move_the_line(self, inspector, chosen):
        inspector.show_many([1, 5, 6], chosen)
        inspector.list.choice.value = 6
        assert inspector.row == 6
        assert inspector.next.disabled
        inspector.previous.click()
        assert inspector.row == inspector.list.choice.value == 5

    def test_a_row_outside_the_list_marks_no_line(self, inspector, chosen):
        inspector.show_many([1, 5, 6], chosen)
        inspector.show(2)
        assert inspector.list.choice.value is None
        inspector.next.click()
        assert inspector.row == 1

    def test_no_rows_close_the_list(self, inspector):
        inspector.show_many([1, 5])
        inspector.show_many([])
        assert inspector.list.layout.display == "none"
        inspector.next.click()
        assert inspector.row == 2

    def test_a_long_list_shows_its_first_rows(self):
        ds = datasets.Dataset.from_dict({"instruction": ["a"] * 2000, "response": ["b"] * 2000})
        inspector = Inspector(ds)
        inspector.show_many(range(10, 1900))
        assert len(inspector.list.choice.options) == row_view.MAX_LISTED
        assert "1,890 rows · the first 500 listed" in inspector.list.summary.value

    def test_rows_outside_the_table_raise(self, inspector):
        with pytest.raises(UserError, match="rows=5 to 7 are not all rows"):
            inspector.show_many([5, 7])


class TestTexts:
    @pytest.mark.parametrize("language", ["python", "c#", "markdown", "a language of <nobody>"])
    @pytest.mark.parametrize(
        "text", [HOSTILE, "\n\n  indented\n", "```python\nx = 1\n```", "", "\x00\x1b[0m"]
    )
    def test_no_character_is_lost_and_only_colours_are_markup(self, text, language):
        page = Page(row_view.coloured(text, language))
        assert page.text == visible(text)
        assert set(page.tags) <= {"span"}

    def test_a_long_text_is_cut_until_all_of_it_is_requested(self):
        view, text = row_view.TextView("Response"), "x = '<b>'\n" * 100_000
        view.show(text, "python")
        assert text_of(view.body.value) == text[: row_view.MAX_SHOWN]
        assert view.more.description == "Show all of 1,000,000 characters"
        assert view.more.layout.display is None
        assert "1,000,000 characters, the first 4,000 shown" in view.head.value
        view.more.click()
        assert text_of(view.body.value) == text
        assert view.more.layout.display == "none"
        view.show("short", "python")
        assert view.more.layout.display == "none"

    def test_hostile_rows_are_escaped_in_every_part(self, ds):
        columns = {name: [HOSTILE] * 7 for name in ("id", "instruction", "response", "score_reason")}
        hostile = ds.remove_columns(list(columns))
        for name, values in columns.items():
            hostile = hostile.add_column(name, values)
        inspector = Inspector(hostile)
        inspector.show_many(range(7), wb.select(hostile, 0.5))
        inspector.show(6)
        for part in (
            inspector.scores,
            inspector.verdict,
            inspector.instruction.body,
            inspector.response.body,
        ):
            page = Page(part.value)
            assert set(page.tags) <= {"span", "b", "pre"}
            assert visible(HOSTILE) in page.text


class TestGains:
    @pytest.fixture
    def explained(self, monkeypatch):
        """Arguments of the calls of `wb.explain`, which returns one token."""
        calls = []

        def explain(ds, row, model, **settings):
            calls.append((row, model, settings))
            time.sleep(0.05)
            return complexity.Explanation("", pd.DataFrame({"token": [f"<{row}>"], "gain": [1.0]}), 0.5)

        monkeypatch.setattr(inspector_module.complexity, "explain", explain)
        return calls

    def test_runs_on_request_only(self, inspector, explained, chosen):
        inspector.show(2)
        assert explained == []
        assert "loads smollm2-135m" in inspector.gains.button.description
        inspector.gains.button.click()
        assert explained == [(2, "smollm2-135m", {})]
        assert "&lt;2&gt;" in inspector.gains.tokens.value
        assert inspector.gains.line.value == "IFD 0.5000 by smollm2-135m"
        inspector.show(2, chosen)  # as the slider moves
        assert "&lt;2&gt;" in inspector.gains.tokens.value
        inspector.show(3)
        assert inspector.gains.tokens.value == ""

    def test_uses_the_settings_of_the_scores(self, ds, explained):
        made = {"model": "m", "convention": "same-tokens", "prompt": "chat", "dtype": "float32"}
        noted = tables.note(ds, "score", made | {"max_length": 99})
        Inspector(noted).gains.button.click()
        assert explained[0][2] == {"convention": "same-tokens", "prompt": "chat", "max_length": 99}

    def test_runs_in_the_background_and_drops_the_result_of_another_row(self, inspector, explained):
        async def click_and_go_on():
            inspector.gains.button.click()
            assert inspector.gains.button.disabled
            assert "Scoring row 0 with smollm2-135m" in inspector.gains.line.value
            inspector.show(1)
            await inspector.gains._task

        asyncio.run(click_and_go_on())
        assert explained[0][0] == 0
        assert inspector.gains.tokens.value == ""
        assert not inspector.gains.button.disabled

    def test_a_failure_is_shown(self, inspector, monkeypatch):
        def refuse(*_, **__):
            raise UserError("row=0 has no token of the response to compare")

        monkeypatch.setattr(inspector_module.complexity, "explain", refuse)
        inspector.gains.button.click()
        assert "no token of the response to compare" in inspector.errors.value
        assert not inspector.gains.button.disabled


def test_an_explanation_with_a_toy(ds, toy_model_dir):
    inspector = Inspector(ds, model=str(toy_model_dir("llama")))
    inspector.gains.button.click()
    assert inspector.errors.last is None
    tokens = re.sub("<[^>]+>", "", inspector.gains.tokens.value.partition("</pre>")[0])
    assert unescape(tokens).startswith("x = 0")
