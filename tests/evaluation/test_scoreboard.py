"""The table of the paper's results beside reports, and the figures of both."""

import pandas as pd
import pytest

import workbench as wb
from workbench.core.errors import UserError
from workbench.evaluation import EvalReport, board, published, statistics

N_TASKS = {"HumanEval": 164, "HumanEval+": 164, "MBPP": 399, "MBPP+": 399}


def report(verdicts: str, plus: str | None = None, benchmark="HumanEval", **fields) -> EvalReport:
    """A letter for each task: p(ass), f(ail), t(imeout), e(rror), b(locked)."""
    words = {name[0]: name for name in wb.figures.VERDICTS}
    tasks = {
        "task_id": [f"T/{i}" for i in range(len(verdicts))],
        "base": [words[letter] for letter in verdicts],
        "plus": [words[letter] for letter in plus] if plus else None,
    }
    return EvalReport("m", benchmark, pd.DataFrame(tasks), **fields)


class TestPublished:
    def test_numbers_are_those_of_the_paper(self):
        table = published().set_index(["model", "trained on"])
        row = table.loc[("DS 40 %", "OSS-Instruct")]
        assert row.tolist() == ["30K", 68.3, 61.6, 75.9, 61.7, 66.9]
        assert len(table) == 16

    def test_the_average_is_the_mean_of_the_four_suites(self):
        table = published()
        mean = table[list(N_TASKS)].mean(axis=1)
        assert (mean - table["average"]).abs().max() < 0.0501

    def test_percentages_are_whole_numbers_of_tasks(self):
        """MBPP has 399 tasks in the paper, 378 today. Four of the paper's percentages fit neither."""
        table = published()
        slips = {
            (suite, percent)
            for suite, n in N_TASKS.items()
            for percent in table[suite]
            if abs(round(percent * n / 100) / n * 100 - percent) > 0.0501
        }
        assert slips == {("HumanEval", 53.3), ("HumanEval+", 49.0), ("MBPP", 58.5), ("MBPP+", 49.5)}


class TestBoard:
    def test_without_reports_the_table_is_the_paper_s(self):
        table = board()
        assert len(table) == 16 * 4
        assert table["published"].all()
        first = table.iloc[0]
        assert (first["name"], first["suite"], first["pass@1"]) == (
            "DeepSeek-Coder-Base 6.7B",
            "HumanEval",
            pytest.approx(0.476),
        )
        assert (first["low"], first["high"]) == statistics.wilson(78, 164)

    def test_rows_of_reports_name_their_suite_and_tasks(self):
        versions = {"benchmark": "MBPP(+) v0.2.0"}
        table = board({"mine": report("ppff", "pfff", "MBPP+", missing=("T/9",), versions=versions)})
        own = table[~table["published"]]
        assert own[["name", "suite", "pass@1", "tasks", "version"]].values.tolist() == [
            ["mine", "MBPP", 0.5, 4, "v0.2.0, 4 tasks, partial"],
            ["mine", "MBPP+", 0.25, 4, "v0.2.0, 4 tasks, partial"],
        ]
        assert set(table["suite"]) == {"MBPP", "MBPP+"}
        assert set(table.loc[table["published"], "version"]) == {"v0.1, 399 tasks"}

    def test_other_benchmarks_have_no_rows_of_the_paper(self):
        table = board(report("pf", benchmark="bundled"))
        assert table[["name", "suite", "version"]].values.tolist() == [["m", "bundled", "2 tasks"]]

    def test_the_paper_can_be_left_out(self):
        assert not board(report("pf", "ff"), paper=False)["published"].any()

    @pytest.mark.parametrize("reports", ["rep.json", [1], {"a": 1}])
    def test_other_types_than_reports_are_refused(self, reports):
        with pytest.raises(UserError, match=r"reports=.* must be a report of wb.evaluate"):
            board(reports)


class TestFigures:
    def test_a_panel_for_each_suite(self):
        figure = wb.figures.evaluation({"a": report("ppff", "pfff"), "b": report("pppp", "ppff")})
        assert [len(trace.x) for trace in figure.data] == [16, 2, 16, 2]
        own = figure.data[1]
        assert list(own.y) == ["a", "b"]
        assert list(own.x) == [50, 100]
        low, high = statistics.wilson(2, 4)
        assert own.error_x.arrayminus[0] == pytest.approx(50 - 100 * low)
        assert own.error_x.array[0] == pytest.approx(100 * high - 50)
        assert "the paper 164 tasks; yours 4 tasks" in figure.layout.title.text
        assert [trace.showlegend for trace in figure.data] == [True, True, False, False]

    def test_without_reports_there_are_four_panels(self):
        assert [len(trace.x) for trace in wb.figures.evaluation().data] == [16] * 4

    def test_markup_in_names_is_escaped(self):
        reports = {"<b>x": report("p")}
        for figure in (wb.figures.evaluation(reports, paper=False), wb.figures.verdicts(reports)):
            assert figure.data[0].y[0].startswith("&lt;b&gt;x")

    def test_verdicts_are_counted(self):
        figure = wb.figures.verdicts({"a": report("pffte", "pffff"), "b": report("bbbbb")})
        counts = {trace.name: dict(zip(trace.y, trace.x, strict=True)) for trace in figure.data}
        assert counts == {
            "pass": {"a · base": 1, "a · plus": 1, "b · base": 0},
            "fail": {"a · base": 2, "a · plus": 4, "b · base": 0},
            "timeout": {"a · base": 1, "a · plus": 0, "b · base": 0},
            "error": {"a · base": 1, "a · plus": 0, "b · base": 0},
            "blocked": {"a · base": 0, "a · plus": 0, "b · base": 5},
        }
        # Verdicts differ in more than colour.
        looks = {(trace.marker.pattern.shape, trace.marker.color) for trace in figure.data}
        assert len(looks) == len(counts)

    def test_flips_shows_who_passes_what(self):
        comparison = report("ppppff").compare(report("ppffpf"))
        counts = comparison.both, comparison.only_first, comparison.only_second
        assert (*counts, comparison.names) == (2, 2, 1, ("m", "m"))
        figure = wb.figures.flips(comparison)
        assert [trace.x[0] for trace in figure.data] == [2, 2, 1, 1]
        assert "on the 3 that differ: p = 1" in figure.layout.title.text
