"""`load`: formats, columns, dialogues, and the report of every kind of bad row."""

import ast
import gzip
import json
import sys
import time
import tokenize
import warnings
from pathlib import Path

import datasets
import pandas as pd
import pytest
from datasets.features.features import Features
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import MissingFileError, UserError
from workbench.data import RejectedRowsWarning, UnusedPartsWarning, bundled_dir, load, rejected
from workbench.data.files import SUFFIXES

ROW = {"instruction": "Add.", "response": "a + b"}
SHARED = Path(__file__).resolve().parents[3] / "shared/data"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jsonl(path: Path, *rows: dict) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def pairs(ds: datasets.Dataset) -> list[tuple]:
    return list(zip(ds["id"], ds["instruction"], ds["response"], strict=True))


def only_pair(row: dict, **named) -> tuple[str, str]:
    """Return instruction and response of a source with this one row."""
    return pairs(load(pd.DataFrame([row]), **named))[0][1:]


def reasons(tmp_path: Path, *lines: str, **named) -> list[tuple[int, str]]:
    """Return (line, reason) of the rejected `lines`, which follow a usable first line."""
    text = "\n".join([json.dumps(ROW | {"q": "Add.", "a": "a + b"}), *lines])
    with pytest.warns(RejectedRowsWarning):
        ds = load(write(tmp_path / "data.jsonl", text), **named)
    assert len(ds) == 1
    table = rejected(ds)
    return list(zip(table["line"], table["reason"], strict=True))


@pytest.fixture(autouse=True)
def _no_unexpected_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RejectedRowsWarning)
        yield


class TestFormats:
    JSONL = '{"instruction": "a", "response": "b"}\n\n{"instruction": "c", "response": "d"}\n'
    CSV = 'instruction,response\na,"b\n1"\n\nc,d\n'

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("t.jsonl", JSONL, [("t:1", "a", "b"), ("t:3", "c", "d")]),
            ("t.ndjson", JSONL, [("t:1", "a", "b"), ("t:3", "c", "d")]),
            ("t.json", JSONL, [("t:1", "a", "b"), ("t:3", "c", "d")]),  # as written by Dataset.to_json
            ("t.json", '[{"problem": "a",\n "solution": "b"}]', [("t:1", "a", "b")]),
            ("t.json", '{"v": 1, "data": [{"query": "a", "response": "b"}]}', [("t:1", "a", "b")]),
            ("t.csv", CSV, [("t:2", "a", "b\n1"), ("t:5", "c", "d")]),
            ("t.tsv", "question\tanswer\r\na,1\tb\r\n", [("t:2", "a,1", "b")]),
            ("T.CSV", "\ufeffinstruction,output\na,é\n", [("T:2", "a", "é")]),
            ("t.jsonl", "\ufeff" + JSONL, [("t:1", "a", "b"), ("t:3", "c", "d")]),
        ],
    )
    @pytest.mark.parametrize("packed", [False, True])
    def test_every_text_format_is_read(self, tmp_path, name, text, expected, packed):
        data = gzip.compress(text.encode()) if packed else text.encode()
        path = write(tmp_path / (name + ".gz" * packed), data)
        assert pairs(load(path)) == expected
        assert pairs(load(str(path))) == expected

    def test_a_csv_field_may_be_long(self, tmp_path):
        path = write(tmp_path / "t.csv", "instruction,response\na," + "x" * 200_000 + "\n")
        assert len(load(path)[0]["response"]) == 200_000

    def test_parquet_files_and_datasets_keep_their_types(self, tmp_path):
        ds = datasets.Dataset.from_dict(
            {"prompt": ["a", "", "c"], "completion": ["b", "x", "d"], "label": [0, 1, 0], "when": [1, 2, 3]},
            features=Features(
                prompt=datasets.Value("string"),
                completion=datasets.Value("string"),
                label=datasets.ClassLabel(names=["no", "yes"]),
                when=datasets.Value("int8"),
            ),
        )
        ds.to_parquet(tmp_path / "t.parquet")
        for source, stem in ((ds, "dataset"), (tmp_path / "t.parquet", "t")):
            with pytest.warns(
                RejectedRowsWarning, match="1 of 3 rows rejected; the first: row 2: instruction"
            ):
                loaded = load(source)
            assert pairs(loaded) == [(f"{stem}:1", "a", "b"), (f"{stem}:3", "c", "d")]
            assert {name: loaded.features[name] for name in ("label", "when")} == {
                name: ds.features[name] for name in ("label", "when")
            }
            assert loaded["when"][:] == [1, 3]

    def test_a_selected_dataset_is_loaded_in_its_order(self):
        ds = datasets.Dataset.from_dict({"instruction": list("abc"), "response": list("xyz"), "n": [1, 2, 3]})
        assert load(ds.select([2, 0]))[:] == {
            "id": ["dataset:1", "dataset:2"],
            "instruction": ["c", "a"],
            "response": ["z", "x"],
            "n": [3, 1],
        }

    def test_a_data_frame_is_loaded(self):
        frame = pd.DataFrame(
            {"instruction": ["a", None, "c"], "response": ["b", "x", float("nan")], "n": [1.5, 2, None]},
            index=[7, 7, 7],
        )
        with pytest.warns(RejectedRowsWarning):
            ds = load(frame)
        assert ds[:] == {"id": ["dataframe:1"], "instruction": ["a"], "response": ["b"], "n": [1.5]}
        assert rejected(ds)["reason"].tolist() == ["instruction is missing", "response is missing"]

    def test_bundled_dir_is_the_data_folder(self):
        assert bundled_dir() == Path(__file__).resolve().parents[2] / "data"

    def test_scores_survive_every_file_format(self, tmp_path):
        scored = datasets.Dataset.from_dict(
            ROW | {"id": ["x/1"], "instruction": ["a"], "response": ["b"], "ifd": [0.5], "cluster": [3]}
        ).add_column("embedding", [[0.6, 0.8]], feature=datasets.List(datasets.Value("float32"), length=2))
        scored.to_parquet(tmp_path / "t.parquet")
        scored.to_json(tmp_path / "t.jsonl")
        scored.to_json(tmp_path / "list.json", lines=False)
        for name in ("t.parquet", "t.jsonl", "list.json"):
            loaded = load(tmp_path / name)
            assert loaded.features == scored.features
            assert loaded[:] == scored[:]
        assert load(scored.to_pandas())[:] == scored[:]
        assert load(scored).features == scored.features


class TestColumns:
    @pytest.mark.parametrize(
        ("row", "instruction"),
        [
            ({"instruction": "a", "input": "i", "output": "b", "response": "no"}, "a\ni"),
            ({"instruction": "a", "input": " ", "output": "b"}, "a"),
            ({"instruction": "a", "input": None, "output": "b"}, "a"),
            ({"instruction": "a", "output": "b"}, "a"),
            ({"instruction": "a", "response": "b", "prompt": "no", "completion": "no"}, "a"),
            ({"problem": "a", "solution": "b"}, "a"),
            ({"prompt": "a", "completion": "b", "response": "no"}, "a"),
            ({"prompt": "a", "response": "b"}, "a"),
            ({"question": "a", "answer": "b"}, "a"),
            ({"query": "a", "response": "b"}, "a"),
        ],
    )
    def test_usual_column_names_are_recognized(self, row, instruction):
        assert only_pair(row) == (instruction, "b")

    def test_source_columns_are_renamed(self):
        ds = load(pd.DataFrame([{"instruction": "a", "input": "i", "output": "b", "lang": "py"}]))
        assert ds.column_names == ["id", "instruction", "response", "lang"]

    def test_named_columns_take_precedence(self):
        row = {"q": "a", "more": "i", "a": "b", "response": "other", "input": "kept"}
        with pytest.warns(UnusedPartsWarning, match="'response' as 'source_response', 'input' as"):
            ds = load(pd.DataFrame([row]), instruction="q", response="a", input="more")
        assert ds[0] == {
            "id": "dataframe:1",
            "instruction": "a\ni",
            "response": "b",
            "source_response": "other",
            "source_input": "kept",
        }

    def test_a_column_may_first_appear_in_a_late_row(self, tmp_path):
        rows = [{"instruction": "a"}] * 1200 + [ROW]
        with pytest.warns(RejectedRowsWarning, match=r"1,200 of 1,201 rows rejected; .* response is missing"):
            assert len(load(jsonl(tmp_path / "t.jsonl", *rows))) == 1

    def test_errors(self):
        frame = pd.DataFrame([{"q": "a", "a": "b"}])
        with pytest.raises(UserError, match="response='answer': DataFrame has no such column; it has 'q', "):
            load(frame, instruction="q", response="answer")
        with pytest.raises(
            UserError,
            match="not recognized; it has 'q', 'a': name two of them with instruction= and resp",
        ):
            load(frame)
        with pytest.raises(UserError, match=r"instruction='q', dialogue='a': .*name only dialogue="):
            load(frame, instruction="q", dialogue="a")
        with pytest.raises(UserError, match="input=3 must be the name of a column"):
            load(frame, input=3)
        with pytest.raises(UserError, match="two columns called 'q'"):
            load(pd.concat([frame, frame], axis=1))
        with pytest.raises(UserError, match="response='no': Dataset has no such column; it has 'x'"):
            load(datasets.Dataset.from_dict({"x": [1]}), instruction="x", response="no")

    @pytest.mark.parametrize(
        ("columns", "ids"),
        [
            ({"id": ["p", "q"], "task_id": ["r", "s"]}, ["p", "q"]),
            ({"id": [7, 8]}, ["7", "8"]),
            ({"id": ["p", "p"], "task_id": ["r", "s"]}, ["r", "s"]),
            ({"id": ["p", None]}, ["dataframe:1", "dataframe:2"]),
            ({"id": ["p", " "]}, ["dataframe:1", "dataframe:2"]),
            ({"id": [["p"], ["q"]]}, ["dataframe:1", "dataframe:2"]),
        ],
    )
    def test_ids_are_the_rows_own_if_unique(self, columns, ids):
        frame = pd.DataFrame({"instruction": ["a", "c"], "response": ["b", "d"], **columns})
        assert load(frame)["id"][:] == ids
        assert load(datasets.Dataset.from_pandas(frame))["id"][:] == [
            name.replace("dataframe", "dataset") for name in ids
        ]


def messages_of(*turns: str) -> list[dict]:
    """Return messages from turns such as "user: hi"."""
    return [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]


class TestDialogues:
    @pytest.mark.parametrize(
        ("turns", "instruction"),
        [
            (["user: q", "assistant: a"], "q"),
            (["system: s", "user: q", "assistant: a"], "s\n\nq"),
            (["user: q", "assistant: a", "user: thanks"], "q"),
            (["user: p", "assistant: o", "user: q", "assistant: a"], "User: p\n\nAssistant: o\n\nUser: q"),
            (
                ["system: s", "user: p", "assistant: o", "system: t", "user: q", "assistant: a"],
                "s\n\nUser: p\n\nAssistant: o\n\nSystem: t\n\nUser: q",
            ),
        ],
    )
    def test_messages_become_instruction_and_response(self, turns, instruction):
        messages = messages_of(*turns)
        assert only_pair({"messages": messages}) == (instruction, "a")
        names = {"user": "human", "assistant": "gpt", "system": "system"}
        shared_gpt = [{"from": names[m["role"]], "value": m["content"]} for m in messages]
        assert only_pair({"conversations": shared_gpt}) == (instruction, "a")
        ds = datasets.Dataset.from_list([{"messages": messages}])
        assert pairs(load(ds)) == [("dataset:1", instruction, "a")]

    def test_prompt_and_completion_may_be_messages(self):
        prompt, completion = messages_of("system: s", "user: q"), messages_of("assistant: a")
        assert only_pair({"prompt": prompt, "completion": completion}) == ("s\n\nq", "a")
        assert only_pair({"prompt": prompt, "completion": "a"}) == ("s\n\nq", "a")
        assert only_pair({"prompt": "q", "completion": completion}) == ("q", "a")

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            (messages_of("user: q"), "the dialogue in messages has no assistant turn"),
            ([], "the dialogue in messages has no assistant turn"),
            (
                messages_of("assistant: a"),
                "the dialogue in messages has no user turn before the assistant's last",
            ),
            (messages_of("user:  ", "assistant: a"), "instruction is empty (column 'messages')"),
            (messages_of("user: q", "assistant:  "), "response is empty (column 'messages')"),
            (
                messages_of("user: q", "tool: t", "assistant: a"),
                "message 2 of messages has the role 'tool', not one",
            ),
            ([{"role": "user", "content": None}], "the content of message 1 of messages is missing"),
            ([{"role": "user", "content": 3}], "the content of message 1 of messages is a number"),
            ([{"text": "q"}], "message 1 of messages has no role"),
            (["q"], "message 1 of messages is text, not an object"),
            (3, "messages is a number, not a list of messages"),
            (None, "messages is missing"),
        ],
    )
    def test_unusable_dialogues_are_rejected_with_a_reason(self, tmp_path, cell, reason):
        path = jsonl(
            tmp_path / "t.jsonl", {"messages": messages_of("user: q", "assistant: a")}, {"messages": cell}
        )
        with pytest.warns(RejectedRowsWarning, match="line 2"):
            assert rejected(load(path))["reason"][0].startswith(reason)


class TestBadRows:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ('{"instruction": "a", "response": ""}', "response is empty"),
            ('{"instruction": " \\n\\t", "response": "b"}', "instruction is empty"),
            ('{"instruction": "a", "response": null}', "response is missing"),
            ('{"instruction": "a", "response": NaN}', "response is missing"),
            ('{"response": "b"}', "instruction is missing"),
            ('{"instruction": 1, "response": "b"}', "instruction is a number, not text"),
            ('{"instruction": true, "response": "b"}', "instruction is a boolean, not text"),
            ('{"instruction": "a", "response": ["b"]}', "response is a list, not text"),
            ('{"instruction": "a", "response": {"b": 1}}', "response is an object, not text"),
            (
                '{"instruction": "a", "response": "\\ud800"}',
                "response holds a lone surrogate, which UTF-8 cannot write",
            ),
            (
                '{"instruction": "a", "respo',
                "not valid JSON: Unterminated string starting at: line 1 column 22",
            ),
            ('["a", "b"]', "the row is a list, not an object"),
            ("[" * 100_000, "not valid JSON: "),
        ],
    )
    def test_bad_rows_are_rejected_with_line_and_reason(self, tmp_path, line, reason):
        ((number, reported),) = reasons(tmp_path, "", line)
        assert number == 3
        assert reported.startswith(reason)

    def test_the_reason_names_the_column(self, tmp_path):
        line = '{"q": "a", "a": 3, "instruction": "a", "response": "b"}'
        rejections = reasons(tmp_path, line, instruction="q", response="a")
        assert rejections == [(2, "response is a number, not text (column 'a')")]

    def test_an_input_that_is_not_text_is_rejected(self, tmp_path):
        path = jsonl(tmp_path / "t.jsonl", ROW | {"output": "b"}, ROW | {"output": "b", "input": 3})
        with pytest.warns(RejectedRowsWarning, match="line 2: input is a number, not text"):
            load(path)

    def test_nul_characters_are_text(self, tmp_path):
        path = jsonl(tmp_path / "t.jsonl", {"instruction": "a\0", "response": "\0"})
        assert pairs(load(path)) == [("t:1", "a\0", "\0")]

    def test_bad_csv_records_are_rejected(self, tmp_path):
        text = 'instruction,response\na,b\n"c\nd",e,f\ng\n"h"i,j\nk,"l\nm'
        with pytest.warns(RejectedRowsWarning, match="5 of 6 rows rejected"):
            ds = load(write(tmp_path / "t.csv", text))
        assert [(line, reason) for _, line, reason, _ in rejected(ds).itertuples(index=False)] == [
            (3, "the row has 3 cells, the header 2"),
            (5, "response is missing"),
            (6, "not valid CSV: ',' expected after '\"'"),
            (7, "not valid CSV: unexpected end of data"),
            (8, "part of the bad record at line 7"),
        ]

    def test_the_warning_counts_rows_and_the_list_names_them(self, tmp_path):
        long = ROW | {"response": "", "more": "é\n\ud800" * 100}
        path = jsonl(tmp_path / "data.jsonl", *[ROW] * 16, long, ROW)
        sentence = (
            r"data.jsonl: 1 of 18 rows rejected; the first: line 17: response is empty. wb.rejected\(ds\)"
        )
        with pytest.warns(RejectedRowsWarning, match=sentence) as caught:
            table = rejected(load(path))
        assert caught[0].filename == __file__
        assert table.columns.tolist() == ["source", "line", "reason", "excerpt"]
        assert table.iloc[0][["source", "line", "reason"]].tolist() == [str(path), 17, "response is empty"]
        assert table["excerpt"][0].startswith('{"instruction": "Add.", "response": ""')
        assert len(table["excerpt"][0]) == 80

    def test_rejections_stay_with_the_dataset(self, tmp_path):
        with pytest.warns(RejectedRowsWarning):
            ds = load(jsonl(tmp_path / "data.jsonl", ROW, ROW, {"instruction": "a"}))
        expected = rejected(ds)
        assert len(expected) == 1
        one = datasets.Dataset.from_dict({"n": [1, 2]})
        ds.save_to_disk(tmp_path / "saved")
        derived = {
            "select": ds.select([1]),
            "map": ds.map(lambda row: {"n": 1}),
            "add_column": ds.add_column("n", [1, 2]),
            "concatenate columns": datasets.concatenate_datasets([ds, one], axis=1),
            "concatenate rows": datasets.concatenate_datasets([ds, ds]),
            "save_to_disk": datasets.load_from_disk(tmp_path / "saved"),
            "load": load(ds),
        }
        for operation, other in derived.items():
            pd.testing.assert_frame_equal(rejected(other), expected, obj=operation)

    def test_rejections_of_two_sources(self, tmp_path):
        with pytest.warns(RejectedRowsWarning):
            both = [load(jsonl(tmp_path / f"{name}.jsonl", ROW, {"instruction": name})) for name in "ab"]
        assert len(rejected(datasets.concatenate_datasets(both))) == 2

    @pytest.mark.parametrize("description", ["", "Another\n\ndescription.", "[1]", '{"a": 1}'])
    def test_other_descriptions_give_an_empty_list(self, description):
        info = datasets.DatasetInfo(description=description)
        table = rejected(datasets.Dataset.from_dict({"x": [1]}, info=info))
        assert table.empty
        assert table.columns.tolist() == ["source", "line", "reason", "excerpt"]


class TestBadSources:
    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("t.jsonl", "", "t.jsonl holds no rows"),
            ("t.jsonl", "\n\n", "t.jsonl holds no rows"),
            ("t.csv", "instruction,response\n", "t.csv holds no rows"),
            ("t.csv", "", "t.csv holds no rows"),
            ("t.csv", "a,b,a\n", "t.csv has two columns called 'a'; rename one"),
            ("t.csv", '"a', "the header line is not valid CSV: unexpected end of data"),
            ("t.json", "[]", "t.json holds no rows"),
            (
                "t.json",
                "[1, 2]",
                r"every row \(2\) was rejected; the first: row 1: the row is a number, not an o",
            ),
            ("t.json", '{"a": [{}], "b": [{}]}', "an object with 2 lists of objects; give a list of objects"),
            ("t.json", '{"a": 1}', "not recognized; it has 'a'"),
            ("t.json", "3", "t.json holds a number; give a list of objects"),
            ("t.json", '[{"a": ', "t.json is not valid JSON: Expecting value: line 1 column 8"),
            ("t.jsonl", "{\n]\n", "t.jsonl is not valid JSON: Expecting property name"),
            ("t.jsonl", "{]\n]\n", r"every row \(2\) was rejected; the first: line 1: not valid JSON"),
            ("t.jsonl", '{"instruction": "a", "response": ""}', "the first: line 1: response is empty; fix"),
            (
                "t.jsonl",
                b'{"a": "\xe9"}',
                r"line 1: byte 0xe9 \(at character 8 of the row\) is not UTF-8; give the file's encoding=",
            ),
            ("t.json", b'["\xe9"]', "row 1: byte 0xe9"),
            ("t.csv", b"\xe9,b\n1,2\n", "t.csv, the header line: byte 0xe9"),
            ("t.csv", "a,b\n".encode("utf-16"), "t.csv is not UTF-8 but UTF-16; give encoding='utf-16'"),
            ("t.jsonl.gz", b"plain", "t.jsonl.gz cannot be read: Not a gzipped file"),
            (
                "t.jsonl.gz",
                gzip.compress(b"{}" * 99, mtime=0)[:-9],
                "t.jsonl.gz cannot be read: Compressed file ended",
            ),
            ("t.parquet", b"PAR0", "t.parquet cannot be read as Parquet"),
            ("t.txt", "a", "t.txt has the suffix '.txt'; give a file with .jsonl, .ndjson"),
            ("t.txt.gz", "a", "t.txt.gz has the suffix '.txt.gz'"),
            ("t", "a", "t has the suffix ''"),
        ],
    )
    def test_unusable_sources_raise_an_error_that_names_the_fix(self, tmp_path, name, text, message):
        with pytest.raises(UserError, match=message):
            load(write(tmp_path / name, text))

    def test_a_missing_file_suggests_a_similar_name(self, tmp_path):
        jsonl(tmp_path / "train.jsonl", ROW)
        with pytest.raises(
            MissingFileError, match=r"trian.jsonl does not exist; did you mean .*train.jsonl\?"
        ):
            load(tmp_path / "trian.jsonl")
        with pytest.raises(FileNotFoundError, match="zzz does not exist; check the path"):
            load(str(tmp_path / "zzz"))
        with pytest.raises(MissingFileError, match="and neither does the folder nowhere"):
            load("nowhere/t.jsonl")

    def test_folders_without_data_and_other_types_are_errors(self, tmp_path):
        with pytest.raises(UserError, match=r"is a folder without a file to read \(.jsonl, "):
            load(tmp_path)
        with pytest.raises(UserError, match="source is of type int; give a path"):
            load(3)
        with pytest.raises(UserError, match="DatasetDict has no split 'train'; give split= one of 'a', 'b'"):
            load(datasets.DatasetDict(dict.fromkeys("ab", datasets.Dataset.from_list([ROW]))))

    @pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3"])
    def test_limit_must_be_positive(self, limit):
        with pytest.raises(UserError, match="limit="):
            load(pd.DataFrame([ROW]), limit=limit)

    def test_limit_counts_usable_rows(self, tmp_path):
        path = jsonl(tmp_path / "t.jsonl", {"instruction": "a"}, ROW, ROW, ROW)
        with pytest.warns(RejectedRowsWarning, match="1 of 3 rows"):
            ds = load(path, limit=2)
        assert ds["id"][:] == ["t:2", "t:3"]
        table = datasets.Dataset.from_list([ROW | {"n": n} for n in range(3)])
        assert load(table, limit=2)["n"][:] == [0, 1]

    def test_all_formats_have_a_suffix(self):
        assert {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz"} <= set(SUFFIXES)


class TestOtherColumns:
    @pytest.mark.parametrize(
        "cells",
        [
            [1, "a"],
            ["a", 1],
            [True, 1],
            [{"k": 1}, {"k": "a"}],
            [{"k": 1}, [1]],
            [2**70, 1],
            ["\ud800", "a"],
            [{}, {}],
            [[{"k": {}}], None],
        ],
    )
    def test_cells_without_a_common_type_are_json_encoded(self, tmp_path, cells):
        ds = load(jsonl(tmp_path / "t.jsonl", *[ROW | {"meta": cell} for cell in cells]))
        assert [cell if cell is None else json.loads(cell) for cell in ds["meta"]] == cells
        ds.to_parquet(tmp_path / "t.parquet")

    @pytest.mark.parametrize(
        ("early", "late", "read"),
        [
            (None, 3, lambda cell: cell),  # a key that the first rows do not have
            (1, 2.5, lambda cell: cell),
            (1, "a", json.loads),
            ([1], [], lambda cell: cell),
        ],
    )
    def test_types_may_change_in_late_rows(self, tmp_path, early, late, read):
        rows = [ROW | ({} if early is None else {"meta": early})] * 10_500 + [ROW | {"meta": late}]
        loaded = load(jsonl(tmp_path / "t.jsonl", *rows))["meta"][:]
        assert loaded[-1] is not None
        assert read(loaded[-1]) == late
        assert loaded[0] is None if early is None else read(loaded[0]) == early
        assert len(loaded) == 10_501

    @given(st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists), min_size=1, max_size=5))
    def test_any_cell_is_kept(self, cells):
        rows = [{"instruction": "a", "response": "b", "meta": cell} for cell in cells]
        frame = pd.DataFrame(rows, dtype=object)
        loaded = load(frame)["meta"][:]
        assert loaded == cells or [cell and json.loads(cell) for cell in loaded] == cells


MODULE = '''
import does_not_exist


def plain(a, b=(1, 2), *, c: dict = {"k": 1}) -> int:  # a comment
    """Twenty characters or so,
    on two lines.
    """

    # kept
    return a


class Deep:
    @property
    def inner(
        self,
        é: str = "é:",
    ):
        "é One line that is long enough"; x = 1
        text = """
        stays
      as it is"""
        long = ("a"
                "b")
        return text

    async def later(self): "A docstring on the same line"; return 1

    def short(self):
        """Too short."""
        return 1

    def no_body(self):
        """This one only has a docstring."""
'''


class TestPackages:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        folder = tmp_path / "some_package"
        folder.mkdir()
        write(folder / "__init__.py", "raise RuntimeError('imported')")
        write(folder / "module.py", MODULE)
        monkeypatch.syspath_prepend(tmp_path)
        return folder

    def test_docstrings_become_instructions_and_code_responses(self, package):
        with pytest.warns(
            RejectedRowsWarning, match="1 of 4 rows rejected; the first: some_package/module.py, l"
        ):
            ds = load("package:some_package")
        plain, inner, later = ds
        assert plain == {
            "id": "some_package/module.py:5",
            "source": "some_package/module.py:5",
            "instruction": "Twenty characters or so,\non two lines.\n\n"
            'def plain(a, b=(1, 2), *, c: dict = {"k": 1}) -> int:',
            "response": 'def plain(a, b=(1, 2), *, c: dict = {"k": 1}) -> int:  # a comment\n'
            "\n    # kept\n    return a",
        }
        head = 'def inner(\n    self,\n    é: str = "é:",\n):'
        assert inner["instruction"] == f"é One line that is long enough\n\n{head}"
        assert inner["response"] == (
            f"@property\n{head}\n    x = 1\n"
            '    text = """\n        stays\n      as it is"""\n'
            '    long = ("a"\n            "b")\n'
            "    return text"
        )
        assert later["instruction"] == "A docstring on the same line\n\nasync def later(self):"
        assert later["response"] == "async def later(self): return 1"
        assert rejected(ds).values.tolist() == [
            [
                "some_package/module.py",
                34,
                "the function has no body besides its docstring",
                "def no_body(self):",
            ]
        ]
        assert "some_package" not in sys.modules

    def test_a_dotted_name_is_not_imported(self, package):
        with pytest.warns(RejectedRowsWarning):
            assert len(load("package:some_package.module")) == 3
        assert "some_package" not in sys.modules

    def test_files_that_do_not_parse_are_rejected(self, package):
        write(package / "broken.py", "x = 1\ndef f(:\n")
        write(package / "latin.py", b"'\xe9'")
        with pytest.warns(RejectedRowsWarning):
            table = rejected(load("package:some_package"))
        assert table[["source", "line"]].values.tolist()[:2] == [
            ["some_package/broken.py", 2],
            ["some_package/latin.py", 1],
        ]
        assert table["reason"].str.startswith("the file does not parse: ").sum() == 2

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "not_there_at_all",
                "'not_there_at_all' is not installed here; give the name used to import it",
            ),
            ("json.not_there", "'json.not_there' is not installed here"),
            ("os.path", "'os.path' is not installed here"),
            ("sys", "'sys' has no Python source"),
            ("../json", "is not installed here"),
            ("", "is not installed here"),
        ],
    )
    def test_errors(self, name, message):
        with pytest.raises(UserError, match=message):
            load(f"package:{name}")

    @pytest.mark.parametrize("name", ["json", "textwrap", "os", "inspect"])
    def test_extracted_code_has_the_same_syntax_tree(self, name):
        root = Path(json.__file__).parents[1]
        trees = {}
        for row in load(f"package:{name}"):
            path, line = row["source"].split(":")
            if path not in trees:
                with tokenize.open(root / path) as file:
                    trees[path] = ast.parse(file.read())
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            nodes = (node for node in ast.walk(trees[path]) if isinstance(node, kinds))
            node = next(node for node in nodes if node.lineno == int(line))
            del node.body[0]  # outer functions come first, before this changes their inner ones
            assert ast.dump(ast.parse(row["response"]).body[0]) == ast.dump(node)

    @pytest.mark.slow
    def test_the_standard_library_has_thousands_of_pairs(self):
        with pytest.warns(RejectedRowsWarning, match="no body besides its docstring"):
            ds = load("package:stdlib")
        assert len(ds) > 5000
        assert len(set(ds["id"])) == len(ds)
        files = {source.split(":")[0] for source in ds["source"]}
        assert "json/decoder.py" in files
        folders = {folder for file in files for folder in file.split("/")[:-1]}
        assert folders.isdisjoint({"test", "tests", "site-packages"})


class TestHub:
    @pytest.fixture(autouse=True)
    def _unreachable(self, monkeypatch, tmp_path):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def test_an_unreachable_hub_is_reported_within_seconds(self):
        start = time.monotonic()
        with pytest.raises(
            UserError, match=r"'owner/name'.*out of reach \(ConnectionRefusedError from http://127.0.0.1:9\)"
        ):
            load("owner/name")
        assert time.monotonic() - start < 10

    def test_offline_mode_is_reported(self, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(UserError, match=r"the hub is switched off by HF_HUB_OFFLINE .* give a path"):
            load("owner/name")

    def test_the_cache_is_used_if_the_hub_is_unreachable(self, tmp_path):
        source = jsonl(tmp_path / "t.jsonl", ROW)
        datasets.load_dataset("json", data_files={"train": str(source)}, cache_dir=str(tmp_path / "cache"))
        (built,) = (tmp_path / "cache" / "json").glob("*/*/*/*-train.arrow")
        home = tmp_path / "cache" / "owner___name" / "default" / "0.0.0" / "0123456789abcdef"
        home.mkdir(parents=True)
        info = json.loads((built.parent / "dataset_info.json").read_text())
        info |= {"dataset_name": "name", "config_name": "default"}
        write(home / "dataset_info.json", json.dumps(info))
        built.rename(home / "name-train.arrow")
        assert pairs(load("owner/name")) == [("owner/name:1", "Add.", "a + b")]
        with pytest.raises(UserError, match="split='test'"):
            load("owner/name", split="test")

    def test_a_file_name_is_not_a_hub_id(self):
        with pytest.raises(MissingFileError):
            load("owner/name.jsonl")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not beside this checkout")
class TestRealFiles:
    def test_a_real_alpaca_file_is_loaded(self):
        ds = load(SHARED / "codealpaca_4k.jsonl")
        assert len(ds) == 4435
        assert ds[0]["instruction"].endswith("given its width and height.\nwidth: 5, height: 8")

    def test_a_real_benchmark_file_is_loaded(self):
        path = SHARED / "HumanEvalPlus-v0.1.10.jsonl.gz"
        ds = load(path, instruction="prompt", response="canonical_solution")
        assert len(ds) == 164
        assert ds[0]["id"] == "HumanEval/0"
