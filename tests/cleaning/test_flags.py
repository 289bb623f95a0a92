"""Marking near-duplicates, and dropping marked rows."""

import numpy as np
import pytest
from benchmarks.duplicates import texts
from hypothesis import given
from hypothesis import strategies as st

from workbench.cleaning.duplicates import THRESHOLDS, duplicate_groups, jaccard, mark_duplicates, shingles
from workbench.cleaning.flagged import drop_flagged
from workbench.core import tables
from workbench.core.errors import UserError

LONG = "Write a function that counts the vowels of every word in a sentence"


def rows(instructions, responses=None):
    responses = responses or ["pass"] * len(instructions)
    columns = {"id": [f"r{i}" for i in range(len(instructions))], "instruction": instructions}
    kinds = dict.fromkeys(["id", "instruction", "response"], tables.TEXT)
    return tables.datasets.Dataset.from_dict(
        columns | {"response": responses}, features=tables.datasets.Features(kinds)
    )


def test_jaccard_matches_the_value_by_hand():
    a, b = shingles("a b c d"), shingles("a b c e")  # {abc, bcd}, {abc, bce}
    assert (len(a), len(b)) == (2, 2)
    assert jaccard(a, b) == pytest.approx(1 / 3)


def test_text_duplicates_name_the_first_row_of_their_group():
    ds = mark_duplicates(rows([LONG, "Sort a list.", LONG.upper(), LONG + " now", "Sort a list."]))
    assert ds["duplicate_of"][:] == [None, None, "r0", "r0", "r1"]
    groups = duplicate_groups(ds)
    assert groups[["group", "id"]].to_numpy().tolist() == [
        *(["r0", "r0"], ["r0", "r2"], ["r0", "r3"], ["r1", "r1"], ["r1", "r4"]),
    ]
    out = drop_flagged(ds)
    assert out.dataset["id"][:] == ["r0", "r1"]
    assert out.dropped["id"].tolist() == ["r2", "r3", "r4"]


def test_a_chain_of_similar_rows_is_not_one_group():
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


def test_empty_tables_and_invalid_input():
    assert mark_duplicates(rows([]))["duplicate_of"][:] == []
    assert mark_duplicates(rows(["", ""], ["", ""]))["duplicate_of"][:] == [None, None]
    assert len(duplicate_groups(mark_duplicates(rows(["one"])))) == 0
    with pytest.raises(UserError, match=r"threshold=0 must be above 0"):
        mark_duplicates(rows(["a"]), threshold=0)
    with pytest.raises(UserError, match="has none of the columns duplicate_of"):
        drop_flagged(rows(["a"]))


def brute_force(n: int, alike) -> list[int | None]:
    """Return the group of each row as documented, by comparing it with the first row of every group."""
    group = []
    for row in range(n):
        matches = (other for other in range(row) if group[other] is None and alike(other, row))
        group.append(next(matches, None))
    return group


def groups_of(ds, **arguments) -> list[int | None]:
    column = mark_duplicates(ds, **arguments)["duplicate_of"][:]
    return [None if id is None else int(id[1:]) for id in column]


few_words = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8).map(" ".join)


@given(st.lists(few_words, min_size=1, max_size=8), st.data())
def test_every_exact_copy_is_marked(originals, data):
    copied = data.draw(st.lists(st.sampled_from(originals), max_size=6))
    respaced = [f"  {text.upper()}\n" for text in copied]
    groups = groups_of(rows(originals + respaced))
    for text, first in zip(copied, groups[len(originals) :], strict=True):
        assert first is not None
        similarity = jaccard(shingles(f"{text}\npass"), shingles(f"{originals[first]}\npass"))
        assert similarity >= THRESHOLDS["text"]


@given(st.lists(few_words, max_size=14))
def test_each_group_keeps_its_first_row_and_no_row_is_lost(instructions):
    ds = mark_duplicates(rows(instructions))
    ids, first = ds["id"][:], ds["duplicate_of"][:]
    out = drop_flagged(ds)
    kept = out.dataset["id"][:]
    assert sorted(kept + out.dropped["id"].tolist()) == sorted(ids)
    assert set(kept) >= set(filter(None, first))  # a row that a dropped one names is kept
    assert out.dropped["duplicate_of"].tolist() == list(filter(None, first))
    assert set(duplicate_groups(ds)["id"]) == {*filter(None, first), *out.dropped["id"]}


@given(st.integers(1, 40), st.integers(2, 4), st.floats(0.5, 1.0), st.integers(0, 9))
def test_by_embedding_exactly_the_similar_rows_are_marked(n, d, threshold, seed):
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    vectors[n // 2 :] = vectors[: n - n // 2]  # exact copies
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ds = rows([str(i) for i in range(n)])
    ds = tables.with_columns(ds, {"embedding": vectors}, {"embedding": tables.vector(d)})
    expected = brute_force(n, lambda a, b: vectors[a] @ vectors[b] >= threshold - 1e-6)
    assert groups_of(ds, by="embedding", threshold=threshold) == expected


def test_by_text_at_most_one_of_1000_is_missed_and_none_is_wrong():
    planted = texts(1000, np.random.default_rng(1))  # the last 100 are copies with up to nine words changed
    hashes = [shingles(text) for text in planted]
    expected = brute_force(1000, lambda a, b: jaccard(hashes[a], hashes[b]) >= THRESHOLDS["text"])
    groups = groups_of(rows(planted, [""] * 1000))
    n_correct = sum(a == b for a, b in zip(groups, expected, strict=True))
    assert sum(row is not None for row in expected) > 90
    assert n_correct >= 999
    assert all(expected[row] is not None for row, first in enumerate(groups) if first is not None)


def test_near_duplicates_of_a_leaked_row_are_dropped_too():
    ds = mark_duplicates(rows([LONG, LONG + " now", "Sort a list."]))
    ds = tables.with_columns(ds, {"contaminated_by": ["T/0", None, None]}, {"contaminated_by": tables.TEXT})
    out = drop_flagged(ds)
    assert out.dataset["id"][:] == ["r2"]
    assert out.dropped[["duplicate_of", "contaminated_by"]].notna().to_numpy().tolist() == [
        [False, True],
        [True, False],
    ]
