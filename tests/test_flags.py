"""Near-duplicates, contamination, and leaving out what they mark."""

import json

import numpy as np
import pytest

from workbench import tables
from workbench.contamination import description, mark_contaminated, words
from workbench.duplicates import duplicate_groups, jaccard, mark_duplicates, shingles
from workbench.errors import UserError
from workbench.flagged import drop_flagged

LONG = "Write a function that counts the vowels of every word in a sentence"


def rows(instructions, responses=None):
    responses = responses or ["pass"] * len(instructions)
    columns = {"id": [f"r{i}" for i in range(len(instructions))], "instruction": instructions}
    kinds = dict.fromkeys(["id", "instruction", "response"], tables.TEXT)
    return tables.datasets.Dataset.from_dict(
        columns | {"response": responses}, features=tables.datasets.Features(kinds)
    )


def test_jaccard_by_hand():
    a, b = shingles("a b c d"), shingles("a b c e")  # {abc, bcd}, {abc, bce}
    assert (len(a), len(b)) == (2, 2)
    assert jaccard(a, b) == pytest.approx(1 / 3)


def test_text_duplicates_name_the_first_of_their_group():
    ds = mark_duplicates(rows([LONG, "Sort a list.", LONG.upper(), LONG + " now", "Sort a list."]))
    assert ds["duplicate_of"][:] == [None, None, "r0", "r0", "r1"]
    groups = duplicate_groups(ds)
    assert groups[["group", "id"]].to_numpy().tolist() == [
        *(["r0", "r0"], ["r0", "r2"], ["r0", "r3"], ["r1", "r1"], ["r1", "r4"]),
    ]
    out = drop_flagged(ds)
    assert out.dataset["id"][:] == ["r0", "r1"]
    assert out.dropped["id"].tolist() == ["r2", "r3", "r4"]


def test_a_chain_makes_no_group():
    angles = np.radians([0, 15, 30])  # cos 15° is 0.966, cos 30° is 0.866
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    ds = tables.with_columns(rows(["a", "b", "c"]), {"embedding": vectors}, {"embedding": tables.vector(2)})
    assert mark_duplicates(ds, by="embedding")["duplicate_of"][:] == [None, "r0", None]


def test_identical_embeddings_are_one_group_across_blocks():
    vectors = np.full((1100, 3), 3**-0.5, np.float32)
    ds = rows([str(i) for i in range(1100)])
    ds = tables.with_columns(ds, {"embedding": vectors}, {"embedding": tables.vector(3)})
    column = mark_duplicates(ds, by="embedding", threshold=1.0)["duplicate_of"][:]
    assert column == [None] + ["r0"] * 1099


def test_edges_and_errors():
    assert mark_duplicates(rows([]))["duplicate_of"][:] == []
    assert mark_duplicates(rows(["", ""], ["", ""]))["duplicate_of"][:] == [None, None]
    assert len(duplicate_groups(mark_duplicates(rows(["one"])))) == 0
    with pytest.raises(UserError, match=r"threshold=0 must be above 0"):
        mark_duplicates(rows(["a"]), threshold=0)
    with pytest.raises(UserError, match="has none of the columns duplicate_of"):
        drop_flagged(rows(["a"]))


@pytest.fixture
def benchmark(tmp_path):
    doc = LONG + " and returns the largest of these counts"
    prompt = f'def most(s):\n    """{doc}\n    >>> most("a")\n    1\n    """\n'
    solution = "    return max(sum(c in 'aeiou' for c in w) for w in s.split())\n"
    task = {"task_id": "T/0", "prompt": prompt, "canonical_solution": solution}
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(task) + "\n")
    return path, doc, solution


def test_description_ends_at_the_examples():
    assert description('"""\nDo it.\nassert f(1) == 2\n"""\n').strip() == "Do it."
    assert description("def broken(:") == "def broken(:"


def test_matches_name_task_kind_and_text(benchmark):
    path, doc, solution = benchmark
    ds = rows(
        [doc.upper() + "!", "Please. " + LONG + "; thanks", "Other task", "Sort a list."],
        ["x", "x", solution, "x"],
    )
    ds = mark_contaminated(ds, ["humaneval"], paths={"humaneval": path})
    assert ds["contaminated_by"][:] == ["T/0", "T/0", "T/0", None]
    assert ds["contaminated_how"][0] == "exact description"
    assert ds["contaminated_how"][2] == "exact solution"
    assert ds["contaminated_how"][1].startswith("13-gram of ")
    assert ds["contaminated_text"][1] == " ".join(words(LONG)[:13])
    assert drop_flagged(ds).dataset["id"][:] == ["r3"]


def test_runs_of_numbers_and_short_names_are_idioms(benchmark):
    path, *_ = benchmark
    counting = " ".join(map(str, range(20)))
    task = {"task_id": "T/1", "prompt": f'"""{counting}"""', "canonical_solution": counting}
    path.write_text(json.dumps(task) + "\n")
    ds = mark_contaminated(rows([f"Sum {counting}."]), ["humaneval"], paths={"humaneval": path})
    assert ds["contaminated_by"][:] == [None]


def test_a_missing_benchmark_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MBPP_OVERRIDE_PATH", str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match=r"none.jsonl of benchmark mbpp does not exist"):
        mark_contaminated(rows(["a"]), ["mbpp"])
