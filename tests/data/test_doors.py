"""The doors of `load` and of the files that tables are written to."""

import datetime
import decimal
import json

import datasets
import numpy as np
import pandas as pd
import pytest

from workbench.core import tables
from workbench.core.errors import MissingFileError, UserError, positive, seed_of
from workbench.data import RejectedRowsWarning, load, rejected
from workbench.study.recipe import Recipe

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:ab12\nsize 2989075\n"


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.csv", "t.parquet", "t.jsonl.gz"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POINTER, "is a Git LFS pointer"),
        ("\n<!DOCTYPE html><html>", "is a web page"),
        ("<HTML>", "is a web p"),
    ],
)
def test_a_file_that_is_no_data_is_named_as_what_it_is(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load(tmp_path / name)


def test_a_pattern_without_files_is_named_as_such():
    with pytest.raises(MissingFileError, match=r"shards/\*.jsonl matches no file"):
        load("shards/*.jsonl")


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "output": "a"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"instruction": "q", "output": "a", "tests": [{"n": 1}]},
        {
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
            "tools": [{"n": 1}],
        },
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_file_may_hold_one_row(tmp_path, row, indent):
    (tmp_path / "t.json").write_text(json.dumps(row, indent=indent))
    ds = load(tmp_path / "t.json")
    assert (ds["instruction"][:], ds["response"][:]) == (["q"], ["a"])


@pytest.mark.parametrize(
    ("lines", "kept", "bad"),
    [
        (['q,"a', "q,a", "q,a"], [2], [3, 4, 5]),  # never closed
        (['q,"a', "q,a", 'q,"a"', "q,a"], [2, 6], [3, 4, 5]),  # closed before another quote
        (['print a 5" ruler,a', "q,a"], [2, 3, 4], []),
    ],
)
def test_a_stray_quote_costs_the_lines_that_it_swallows(tmp_path, lines, kept, bad):
    (tmp_path / "t.csv").write_text("\n".join(["instruction,response", "q,a", *lines]))
    if bad:
        with pytest.warns(RejectedRowsWarning):
            ds = load(tmp_path / "t.csv")
    else:
        ds = load(tmp_path / "t.csv")
    assert ds["id"][:] == [f"t:{line}" for line in kept]
    assert rejected(ds)["line"].tolist() == bad


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (datetime.time(12, 30), "12:30:00"),
        (datetime.timedelta(seconds=5), "0:00:05"),
        (decimal.Decimal("1.50"), "1.50"),
        (b"a\xff", "a\\xff"),
        (float("nan"), None),
        ([float("inf"), 1.0], [None, 1.0]),
    ],
)
def test_any_cell_can_be_written_as_json(tmp_path, value, text):
    ds = datasets.Dataset.from_dict({"instruction": ["q"], "response": ["a"], "x": [value]})
    tables.write_jsonl(ds, tmp_path / "t.jsonl")

    def refuse(name):
        raise AssertionError(name)

    row = json.loads((tmp_path / "t.jsonl").read_text(), parse_constant=refuse)
    assert row["x"] == text


def test_a_file_is_replaced_only_when_the_new_one_is_complete(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("mine\n")
    rows = iter([{"x": 1}])

    class Broken:
        def __iter__(self):
            yield next(rows)
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        tables.write_jsonl(Broken(), path)
    assert path.read_text() == "mine\n"
    assert list(tmp_path.iterdir()) == [path]


def test_frames_keep_a_named_index_and_every_column():
    frame = pd.DataFrame({"instruction": ["q"], "response": ["a"]}, index=pd.Index(["x"], name="id"))
    assert load(frame)["id"][:] == ["x"]
    twice = pd.DataFrame([["q", "a", 1, 2]], columns=["instruction", "response", 1, "1"])
    with pytest.raises(UserError, match="two columns called '1'"):
        load(twice)


def test_rows_without_a_vector_are_named():
    with_vectors = datasets.Dataset.from_dict(
        {"embedding": [[0.6, 0.8]]}, datasets.Features(embedding=tables.vector(2))
    )
    both = datasets.concatenate_datasets([with_vectors, datasets.Dataset.from_dict({"x": [1, 2]})])
    with pytest.raises(UserError, match=r"row 1: no vector \(2 of 3 rows have none"):
        tables.vectors(both)


def test_numpy_integers_are_whole_numbers():
    positive("k", np.int64(3))
    assert type(seed_of(np.int32(3))) is int
    assert len(load(pd.DataFrame([{"instruction": "q", "response": "a"}] * 3), limit=np.int64(2))) == 2
    for value in (-1, None, 1.5, True, 2**32):
        with pytest.raises(UserError, match=r"seed=.* must be a whole number"):
            seed_of(value)


def test_a_recipe_names_the_columns_of_its_data(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"ask": "q", "reply": "a", "who": "s"}\n')
    recipe = Recipe(data=str(tmp_path / "t.jsonl"), instruction="ask", response="reply", system="who")
    recipe.to_yaml(tmp_path / "recipe.yaml")
    ds = Recipe.from_yaml(tmp_path / "recipe.yaml").load()
    assert (ds["instruction"][0], ds["response"][0]) == ("s\n\nq", "a")
