"""Every file format, place and layout that `load` reads gives the same rows."""

import bz2
import gzip
import io
import json
import lzma

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.core.errors import MissingFileError, UserError
from workbench.data import RejectedRowsWarning, load, rejected
from workbench.data.files import READERS, SUFFIXES

ROWS = [{"instruction": f"q{n}", "response": f"ä{n}\n"} for n in range(3)]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
TEXTS = list(zip(*COLUMNS.values(), strict=True))
DIALOGUE = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def texts(source, **arguments) -> list[tuple[str, str]]:
    ds = load(source, **arguments)
    assert len(set(ds["id"])) == len(ds)
    return list(zip(ds["instruction"], ds["response"], strict=True))


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def arrow(format: str) -> bytes:
    table, sink = pa.table(COLUMNS), io.BytesIO()
    new = pa.ipc.new_file if format == "file" else pa.ipc.new_stream
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def lines(rows=ROWS) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(separator: str = ",") -> str:
    return pd.DataFrame(ROWS).to_csv(index=False, sep=separator)


WRITTEN = {
    ".jsonl": lines(),
    ".ndjson": lines(),
    ".json": json.dumps(ROWS, ensure_ascii=False),
    ".csv": as_csv(),
    ".tsv": as_csv("\t"),
}
PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}
UNPACKED = {suffix: text.encode() for suffix, text in WRITTEN.items()}
FILES = UNPACKED | {
    suffix + end: pack(content) for suffix, content in UNPACKED.items() for end, pack in PACKED.items()
}
TABLES = {".arrow": arrow("file"), ".feather": arrow("file")}


def test_each_format_is_tested():
    assert {*FILES, *TABLES, ".parquet"} == set(SUFFIXES)
    assert set(FILES) == set(READERS)


@pytest.mark.parametrize("suffix", FILES)
def test_compressed_text_is_read_like_plain_text(tmp_path, suffix):
    (tmp_path / f"t{suffix}").write_bytes(FILES[suffix])
    assert texts(tmp_path / f"t{suffix}") == TEXTS


@pytest.mark.parametrize("content", [arrow("file"), arrow("stream")])
@pytest.mark.parametrize("suffix", TABLES)
def test_arrow_files_and_streams_are_read(tmp_path, suffix, content):
    (tmp_path / f"t{suffix}").write_bytes(content)
    assert texts(tmp_path / f"t{suffix}") == TEXTS


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".jsonl.zst", ".jsonl.bz2", ".csv.xz"])
@pytest.mark.parametrize("content", [b"", b"ARROW1", b"no such format"])
def test_a_broken_file_is_named(tmp_path, suffix, content):
    (tmp_path / f"t{suffix}").write_bytes(content)
    with pytest.raises(UserError, match=rf"t{suffix} (cannot be read|holds no rows)"):
        load(tmp_path / f"t{suffix}")


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "cp1252", "utf-8-sig"])
def test_other_encodings_are_read_by_name(tmp_path, suffix, encoding):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(WRITTEN[suffix].encode(encoding))
    assert texts(path, encoding=encoding) == TEXTS


def test_an_encoding_that_does_not_fit_or_exist_is_named(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(lines().encode("latin-1"))
    with pytest.raises(UserError, match=r"t.jsonl is not ascii: 'ascii' codec can't decode byte 0xe4"):
        load(tmp_path / "t.jsonl", encoding="ascii")
    for encoding in ("utf-99", "base64", None):
        with pytest.raises(UserError, match=rf"encoding={encoding!r} is no text encoding"):
            load(tmp_path / "t.jsonl", encoding=encoding)


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("column", ["instruction", "note"])
def test_a_bad_byte_costs_its_row(tmp_path, suffix, column):
    rows = [row | {"note": "n"} for row in ROWS]
    rows[1][column] = "X"
    frame = pd.DataFrame(rows)
    written = {".csv": frame.to_csv(index=False), ".tsv": frame.to_csv(index=False, sep="\t")}
    text = written.get(suffix, json.dumps(rows) if suffix == ".json" else lines(rows))
    (tmp_path / f"t{suffix}").write_bytes(text.encode().replace(b"X", b"\xe9"))
    with pytest.warns(RejectedRowsWarning, match="byte 0xe9"):
        ds = load(tmp_path / f"t{suffix}")
    assert ds["response"][:] == [ROWS[0]["response"], ROWS[2]["response"]]
    assert ds["note"][:] == ["n", "n"]
    assert len(rejected(ds)) == 1


LAYOUTS = {
    "array": (".jsonl", json.dumps(ROWS)),
    "indented array": (".jsonl", json.dumps(ROWS, indent=2)),
    "array with a row on each line": (".jsonl", "[" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n"),
    "arrays on lines": (".jsonl", json.dumps(ROWS[:2]) + "\n" + json.dumps(ROWS[2:])),
    "several objects on a line": (
        ".jsonl",
        json.dumps(ROWS[0]) + json.dumps(ROWS[1]) + "\n" + json.dumps(ROWS[2]),
    ),
    "indented objects": (".jsonl", "\n".join(json.dumps(row, indent=1) for row in ROWS)),
    "indented objects as .json": (".json", "\n\n".join(json.dumps(row, indent=1) for row in ROWS)),
    "blank lines first": (".jsonl", "\n \n" + lines()),
    "columns": (".json", json.dumps(COLUMNS)),
    "indented columns": (".json", json.dumps(COLUMNS, indent=2)),
    "columns of pandas": (".json", pd.DataFrame(ROWS).to_json()),
    "records of pandas": (".json", pd.DataFrame(ROWS).to_json(orient="records")),
    "lines of pandas": (".jsonl", pd.DataFrame(ROWS).to_json(orient="records", lines=True)),
    "columns of dialogues": (
        ".json",
        json.dumps(
            {
                "messages": [
                    [{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in TEXTS
                ]
            }
        ),
    ),
    "list in an object": (".json", json.dumps({"version": 1, "data": ROWS})),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_json(tmp_path, layout):
    suffix, text = LAYOUTS[layout]
    (tmp_path / f"t{suffix}").write_text(text)
    assert texts(tmp_path / f"t{suffix}") == TEXTS


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(DIALOGUE),
        json.dumps([DIALOGUE]),
        json.dumps({"messages": DIALOGUE}),
        json.dumps([{"messages": DIALOGUE}]),
        json.dumps(DIALOGUE, indent=1),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_list_of_messages_is_one_row(tmp_path, suffix, text):
    (tmp_path / f"t{suffix}").write_text(text)
    assert texts(tmp_path / f"t{suffix}") == [("q", "a")]


SOURCES = {
    "list": ROWS,
    "dict": COLUMNS,
    "DatasetDict": datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)),
    "DatasetDict with one split": datasets.DatasetDict(other=datasets.Dataset.from_list(ROWS)),
    "IterableDataset": datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "IterableDatasetDict": datasets.IterableDatasetDict(
        train=datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    ),
    "DataFrame": pd.DataFrame(ROWS),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_tables_in_memory(kind):
    assert texts(SOURCES[kind]) == TEXTS
    assert texts(SOURCES[kind], limit=2) == TEXTS[:2]


def test_polars():
    polars = pytest.importorskip("polars")
    assert texts(polars.DataFrame(ROWS)) == TEXTS


def test_an_endless_dataset_is_read_up_to_the_limit():
    def rows():
        while True:
            yield ROWS[0]

    assert len(load(datasets.IterableDataset.from_generator(rows), limit=5)) == 5


def test_rows_that_are_no_dicts_are_rejected():
    with pytest.warns(RejectedRowsWarning, match="row 2: the row is text, not a dict"):
        assert len(load([ROWS[0], "x"])) == 1


@pytest.mark.parametrize("key", [1, None, "\ud800", "n\0", ("a",)])
def test_a_row_with_a_key_that_is_no_name_is_rejected(key):
    with pytest.warns(RejectedRowsWarning, match="row 2: the key .* cannot be the name of a column"):
        ds = load([ROWS[0], ROWS[1] | {key: 1}])
    assert ds.column_names == ["id", "instruction", "response"]


class TestFolders:
    def write(self, folder, names):
        for name, row in zip(names, ROWS, strict=False):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".parquet":
                pq.write_table(pa.Table.from_pylist([row]), path)
            else:
                path.write_text(lines([row]))

    @pytest.mark.parametrize(
        "names",
        [
            ["part-0.jsonl", "part-1.jsonl", "part-2.jsonl"],
            ["part-0.parquet", "part-1.parquet", "part-2.parquet"],
            ["a.jsonl", "b.parquet", "c/d.jsonl"],
            ["a.jsonl", "b.jsonl", "c/a.jsonl"],
        ],
    )
    def test_the_files_of_a_folder_are_one_table(self, tmp_path, names):
        self.write(tmp_path, [*names])
        (tmp_path / "README.md").write_text("no rows")
        (tmp_path / ".hidden.jsonl").write_text("{}")
        (tmp_path / "dataset_info.json").write_text("{}")
        assert texts(tmp_path) == TEXTS
        assert texts(str(tmp_path)) == TEXTS

    def test_rows_and_rejections_name_their_file(self, tmp_path):
        self.write(tmp_path, ["a.jsonl", "b.jsonl"])
        (tmp_path / "b.jsonl").write_text("no JSON\n" + lines(ROWS[1:2]))
        with pytest.warns(RejectedRowsWarning, match=r"the first: b.jsonl, line 1: not valid JSON"):
            ds = load(tmp_path)
        assert ds["id"][:] == ["a.jsonl:1", "b.jsonl:2"]
        assert rejected(ds)["source"].tolist() == ["b.jsonl"]

    @pytest.mark.parametrize(
        "names",
        [
            ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet", "validation-0.parquet"],
            ["data/train.jsonl", "data/test.jsonl", "data/dev.jsonl"],
            ["train/a.jsonl", "test/a.jsonl", "val/a.jsonl"],
        ],
    )
    def test_a_split_is_the_files_that_name_it(self, tmp_path, names):
        self.write(tmp_path, names)
        assert texts(tmp_path) == TEXTS[:1]
        assert texts(tmp_path, split="test") == TEXTS[1:2]
        assert texts(tmp_path, split="validation") == TEXTS[2:]
        with pytest.raises(UserError, match=r"no file of split='extra'; its files name test, train, valid"):
            load(tmp_path, split="extra")

    def test_names_that_only_contain_a_split_are_no_split(self, tmp_path):
        self.write(tmp_path, ["training_notes.jsonl", "contest.jsonl", "latest.jsonl"])
        assert sorted(texts(tmp_path)) == sorted(TEXTS)

    def test_patterns(self, tmp_path, monkeypatch):
        self.write(tmp_path, ["a-0.jsonl", "a-1.jsonl", "b/a-2.jsonl"])
        assert texts(tmp_path / "a-*.jsonl") == TEXTS[:2]
        assert texts(str(tmp_path / "**" / "*.jsonl")) == TEXTS
        monkeypatch.chdir(tmp_path)
        assert texts("a-[0].jsonl") == TEXTS[:1]
        assert texts("b/*") == TEXTS[2:]
        with pytest.raises(MissingFileError, match=r"c-\*.jsonl matches no file"):
            load("c-*.jsonl")

    def test_a_file_whose_name_has_brackets_is_a_file(self, tmp_path):
        self.write(tmp_path, ["a[1].jsonl"])
        assert texts(tmp_path / "a[1].jsonl") == TEXTS[:1]

    def test_shards_with_different_columns(self, tmp_path):
        pq.write_table(pa.Table.from_pylist([ROWS[0] | {"n": 1}]), tmp_path / "a.parquet")
        pq.write_table(pa.Table.from_pylist([ROWS[1] | {"m": 2.5}]), tmp_path / "b.parquet")
        ds = load(tmp_path)
        assert ds["n"][:] == [1, None]
        assert ds["m"][:] == [None, 2.5]
        pq.write_table(pa.Table.from_pylist([ROWS[2] | {"n": "text"}]), tmp_path / "c.parquet")
        with pytest.raises(UserError, match="its tables do not have the same types"):
            load(tmp_path)

    def test_a_pointer_among_the_shards_is_named(self, tmp_path):
        self.write(tmp_path, ["a.jsonl", "b.jsonl"])
        (tmp_path / "b.jsonl").write_text("version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(UserError, match=r"b.jsonl is a Git LFS pointer"):
            load(tmp_path)

    def test_saved_datasets(self, tmp_path):
        ds = datasets.Dataset.from_list(ROWS)
        ds.save_to_disk(tmp_path / "one")
        datasets.DatasetDict(train=ds, test=ds.select([0])).save_to_disk(tmp_path / "two")
        assert texts(tmp_path / "one") == TEXTS
        assert texts(tmp_path / "two") == TEXTS
        assert texts(tmp_path / "two", split="test") == TEXTS[:1]
        with pytest.raises(UserError, match="two has no split 'x'; give split= one of 'train', 'test'"):
            load(tmp_path / "two", split="x")
        (tmp_path / "one" / "data-00000-of-00001.arrow").unlink()
        with pytest.raises(UserError, match="one cannot be read"):
            load(tmp_path / "one")

    def test_a_folder_of_code_is_read_as_a_package_is(self, tmp_path):
        (tmp_path / "m.py").write_text(
            'def add(a, b):\n    """Add two numbers and return the sum."""\n    return a + b\n'
        )
        ((instruction, response),) = texts(tmp_path)
        assert instruction == "Add two numbers and return the sum.\n\ndef add(a, b):"
        assert response == "def add(a, b):\n    return a + b"


def test_a_part_of_a_hub_dataset_is_passed_on(monkeypatch):
    calls = []

    def load_dataset(hub_id, /, **arguments):
        calls.append(arguments)
        ds = datasets.Dataset.from_list(ROWS)
        return ds.to_iterable_dataset() if arguments["streaming"] else ds

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    arguments = {"split": "train[:1%]", "config": "python", "revision": "v1", "streaming": True}
    assert texts("owner/name", limit=2, **arguments) == TEXTS[:2]
    assert texts("owner/name") == TEXTS
    assert calls == [
        {"split": "train[:1%]", "name": "python", "revision": "v1", "streaming": True},
        {"split": "train", "name": None, "revision": None, "streaming": False},
    ]
