"""The bundled dataset: its rows are sound, its card is right, and its stored results belong to it."""

import json
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from workbench import data
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.evaluation.judging.assertions import run_with_tests
from workbench.study import first_look

LEVELS = {"beginner", "intermediate", "advanced"}
ROWS = [
    json.loads(line) for line in (data.bundled_dir() / "instructions.jsonl").read_text("utf-8").splitlines()
]


@pytest.fixture(scope="module")
def looked():
    return first_look.first_look()


def verdicts(codes: list[str], checks: list[str]) -> dict[str, str]:
    """Verdict of each row's code followed by its check, by row id."""
    outcomes = run_with_tests(codes, checks)
    return {row["id"]: outcome.verdict for row, outcome in zip(ROWS, outcomes, strict=True)}


def nearest(texts: list[str], n: int) -> tuple[float, str, str]:
    """Largest Jaccard similarity between the word n-grams of two rows, and their ids."""
    grams = {}
    for row, text in zip(ROWS, texts, strict=True):
        words = re.findall(r"\w+", text.lower())
        grams[row["id"]] = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
    return max(
        (len(grams[a] & grams[b]) / max(1, len(grams[a] | grams[b])), a, b) for a, b in combinations(grams, 2)
    )


class TestRows:
    def test_all_are_loaded(self):
        assert data.load("bundled")["id"][:] == [row["id"] for row in ROWS]

    def test_fields(self):
        fields = ["id", "topic", "level", "instruction", "response", "check"]
        for row in ROWS:
            assert list(row) == fields
            assert all(isinstance(row[name], str) and row[name].strip() for name in fields), row["id"]

    def test_number_and_spread(self):
        assert len(ROWS) >= 300
        assert len({row["id"] for row in ROWS}) == len(ROWS)
        assert len({row["topic"] for row in ROWS}) >= 12
        assert {row["level"] for row in ROWS} == LEVELS

    def test_every_check_passes_with_its_response(self):
        by_row = verdicts([row["response"] for row in ROWS], [row["check"] for row in ROWS])
        assert {name: verdict for name, verdict in by_row.items() if verdict != "pass"} == {}

    def test_no_check_passes_without_its_response(self):
        by_row = verdicts([""] * len(ROWS), [row["check"] for row in ROWS])
        assert [name for name, verdict in by_row.items() if verdict == "pass"] == []

    @pytest.mark.parametrize(("field", "n"), [("instruction", 3), ("response", 4)])
    def test_no_two_rows_are_alike(self, field, n):
        similarity, *pair = nearest([row[field] for row in ROWS], n)
        assert similarity <= 0.35, pair

    def test_responses_range_from_one_line_to_a_page(self):
        lines = [len(row["response"].splitlines()) for row in ROWS]
        assert min(lines) <= 2
        assert 40 <= max(lines) <= 62


class TestFirstLook:
    def test_adds_every_stage_to_the_rows(self, looked):
        assert looked["id"][:] == [row["id"] for row in ROWS]
        assert looked["response"][:] == [row["response"] for row in ROWS]
        assert set(looked.column_names) == {
            *ROWS[0],
            *("nll_response", "nll_conditioned", "n_response", "n_conditioned"),
            *("ppl_response", "ppl_conditioned", "ifd", "score_status", "score_reason", "n_tokens"),
            *("embedding", "cluster", "x", "y"),
        }

    def test_embeddings_have_unit_length(self, looked):
        vectors = tables.array(looked, "embedding")
        assert vectors.shape == (len(ROWS), 384)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    def test_ifd_follows_from_the_summed_nll(self, looked):
        alone, conditioned = (
            np.exp(tables.array(looked, f"nll_{name}") / tables.array(looked, f"n_{name}"))
            for name in ("response", "conditioned")
        )
        np.testing.assert_allclose(tables.array(looked, "ppl_response"), alone, rtol=1e-12)
        np.testing.assert_allclose(tables.array(looked, "ppl_conditioned"), conditioned, rtol=1e-12)
        np.testing.assert_allclose(tables.array(looked, "ifd"), conditioned / alone, rtol=1e-9)

    def test_every_row_is_scored_and_on_the_map(self, looked):
        assert set(looked["score_status"]) == {"ok"}
        assert sorted(set(looked["cluster"])) == list(range(10))
        for name in ("x", "y"):
            assert np.isfinite(tables.array(looked, name)).all()

    def test_settings_name_models_and_versions(self):
        settings = first_look.settings()
        for stage in ("scorer", "embedder"):
            assert re.fullmatch("[0-9a-f]{32}", settings[stage]["fingerprint"])
        assert settings["scorer"]["name"] == "smollm2-135m-q4_1"
        assert settings["scorer"]["dtype"] == "float32"
        assert settings["convention"] == "paper"
        assert settings["clusters"] == {"k": 10, "seed": 42}
        assert {"torch", "transformers", "scikit-learn", "umap-learn"} <= set(settings["versions"])

    @pytest.mark.parametrize("change", ["another text", "another order"])
    def test_results_of_other_rows_are_an_error(self, change, tmp_path, monkeypatch):
        folder = data.bundled_dir()
        for name in ("first_look.parquet", "first_look.json"):
            (tmp_path / name).symlink_to(folder / name)
        rows = [{**ROWS[0], "response": "pass"}, *ROWS[1:]] if change == "another text" else ROWS[::-1]
        (tmp_path / "instructions.jsonl").write_text("\n".join(map(json.dumps, rows)))
        for module in ("", ".sources"):
            monkeypatch.setattr(f"workbench.data{module}.bundled_dir", lambda: tmp_path)
        with pytest.raises(UserError, match=r"computed from other rows .* `python -m workbench first-look`"):
            first_look.first_look()


class TestCard:
    CARD = (data.bundled_dir() / "README.md").read_text("utf-8")
    PROSE = " ".join(CARD.split())

    def test_rows_and_levels(self):
        assert f"{len(ROWS)} Python tasks" in self.CARD
        for level, n in Counter(row["level"] for row in ROWS).items():
            assert re.search(rf"`{level}` \({n}\b", self.CARD), (level, n)

    def test_topics(self):
        topics = Counter(row["topic"] for row in ROWS)
        assert f"one of {len(topics)}, below" in self.CARD
        listed = re.search(r"Rows for each topic: (.*?)\.", self.PROSE).group(1)
        assert {name: int(n) for name, n in re.findall(r"(\D+) (\d+)(?:, |$)", listed)} == dict(topics)

    @pytest.mark.parametrize(
        ("label", "column"),
        [
            ("response, lines", lambda row: len(row["response"].splitlines())),
            ("instruction, words", lambda row: len(row["instruction"].split())),
            ("training length, SmolLM2 tokens", lambda row: row["n_tokens"]),
            ("IFD", lambda row: round(row["ifd"], 3)),
        ],
    )
    def test_quantiles(self, looked, label, column):
        line = re.search(rf"^\| {label} \|(.*)\|$", self.CARD, re.MULTILINE).group(1)
        values = [column(row) for row in looked.remove_columns("embedding")]
        quantiles = np.quantile(values, [0, 0.1, 0.5, 0.9, 1])
        step = 0.0011 if label == "IFD" else 1  # the card rounds
        np.testing.assert_allclose([float(cell) for cell in line.split("|")], quantiles, atol=step)

    def test_mean_ifd_by_level(self, looked):
        ifd, level = tables.array(looked, "ifd"), np.array(looked["level"][:])
        for name in LEVELS:
            assert f"{name} {ifd[level == name].mean():.3f}" in self.PROSE
