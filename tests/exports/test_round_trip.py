"""A table survives its own files: load, score, save, load, select, export and load give the same rows.

WORKBENCH_FUZZ=200 tries as many tables instead of 12.
"""

import os
import warnings
from functools import partial

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.core import tables
from workbench.data import UnusedPartsWarning
from workbench.exports import rows

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
N_TABLES = int(os.environ.get("WORKBENCH_FUZZ", "12"))
CONTENT = ("id", "instruction", "response", "dialogue")


def saved_as_dataset(ds, folder):
    ds.save_to_disk(folder / "table")
    return folder / "table"


def written(write, name, ds, folder):
    write(ds, folder / name)
    return folder / name


# Format -> function that writes a table, and returns what `wb.load` reads again.
SAVED = {
    "parquet": partial(written, tables.write_parquet, "table.parquet"),
    "jsonl": partial(written, tables.write_jsonl, "table.jsonl"),
    "folder": saved_as_dataset,
    "pandas": lambda ds, folder: ds.to_pandas(),
    "polars": lambda ds, folder: ds.to_polars(),
}


@st.composite
def dialogues(draw) -> list[dict]:
    """One to three questions with their answers, in half of the cases after a system turn."""
    texts = draw(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
    turns = [
        {"role": role, "content": text}
        for pair in texts
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return [{"role": "system", "content": draw(TEXT)}, *turns] if draw(st.booleans()) else turns


@st.composite
def sources(draw) -> list[dict]:
    """Rows with dialogues of any length, ids in some tables, and other columns of several types."""
    messages = draw(st.lists(dialogues(), min_size=3, max_size=5))
    ids = draw(st.lists(TEXT, min_size=len(messages), max_size=len(messages), unique=True))
    has_ids, has_names = draw(st.booleans()), draw(st.booleans())
    rows = []
    for number, (turns, row_id) in enumerate(zip(messages, ids, strict=True)):
        # pandas has no integers beside a missing value, so a list of them would become floats.
        row = {"messages": turns, "n": number, "tests": [{"in": str(number), "out": ["x", None]}]}
        row |= {"lang": draw(st.none() | TEXT), "share": draw(st.none() | st.floats(-1, 1))}
        row |= {"id": row_id} if has_ids else {}
        rows.append(row | ({"input": "kept", "response": number} if has_names else {}))
    return rows


def plain(cell):
    """A cell as lists, so that vectors of any container compare."""
    return np.asarray(cell).tolist() if isinstance(cell, np.ndarray) else cell


def contents(ds: datasets.Dataset) -> dict:
    return {name: [plain(cell) for cell in ds[name][:]] for name in ds.column_names}


@pytest.fixture(scope="module")
def scored_rows(toy_model_dir):
    """Return a function that loads and scores rows; vectors are made up."""

    def scored(source: list[dict]) -> datasets.Dataset:
        ds = wb.score(wb.load(source), toy_model_dir("llama"), cache=False)
        angle = np.arange(len(ds), dtype=np.float32)
        vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return tables.with_columns(ds, {"embedding": vectors}, {"embedding": tables.vector(2)})

    return scored


@pytest.mark.slow
@settings(max_examples=N_TABLES)
@given(source=sources(), form=st.sampled_from([*SAVED]), export=st.sampled_from([*rows.FILES]))
def test_a_table_survives_its_files(tmp_path_factory, scored_rows, source, form, export):
    folder = tmp_path_factory.mktemp("trip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedPartsWarning)
        ds = scored_rows(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is renamed or left out when a table is loaded again
        again = wb.load(SAVED[form](ds, folder))
    assert again.column_names == ds.column_names
    assert contents(again) == contents(ds)
    assert tables.rows_sha256(again) == tables.rows_sha256(ds)
    kept = wb.select(again, rows=2, strategy="random", seed=1)
    assert kept.indices.tolist() == wb.select(ds, rows=2, strategy="random", seed=1).indices.tolist()
    if export == "alpaca" and any(tables.dialogues(kept.dataset)):
        export = "messages"
    exported = wb.load(wb.export(kept, folder / "out", export))
    for name in CONTENT:
        if name != "dialogue" or any(tables.dialogues(kept.dataset)):
            assert exported[name][:] == kept.dataset[name][:]
    assert tables.rows_sha256(exported) == tables.rows_sha256(kept.dataset)
    assert tables.rows_sha256(kept.dataset) in (folder / "out" / "README.md").read_text()


def test_the_hash_covers_the_turns():
    def row(*texts: str) -> datasets.Dataset:
        roles = ("user", "assistant")
        turns = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
        return wb.load(pd.DataFrame({"messages": [turns]}))

    three, one = row("p", "o", "q", "a"), row("User: p\n\nAssistant: o\n\nUser: q", "a")
    assert three["instruction"][:] == one["instruction"][:]
    assert tables.rows_sha256(three) != tables.rows_sha256(one)
    other_turns = three.map(
        lambda row: {"dialogue": [*row["dialogue"][:2], {"role": "user", "content": "r"}]}
    )
    assert tables.rows_sha256(three) != tables.rows_sha256(other_turns)
    assert tables.rows_sha256(one) == tables.rows_sha256(one.remove_columns("id"))
