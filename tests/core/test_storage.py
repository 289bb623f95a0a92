"""Files, folders and patterns in memory and on an S3 server, which hold the same bytes as on disk."""

import gzip
import json
import uuid

import datasets
import fsspec
import pyarrow as pa
import pytest

import workbench as wb
from workbench import cli
from workbench.core import tables
from workbench.core.errors import MissingFileError, UserError
from workbench.core.folders import new_content, new_folder
from workbench.core.storage import as_path

ROWS = [{"instruction": f"Write number {i}.", "response": f"print({i})", "ifd": i / 10} for i in range(8)]
LINES = ["".join(json.dumps(row) + "\n" for row in ROWS[start : start + 4]).encode() for start in (0, 4)]


@pytest.fixture(scope="module")
def s3_server():
    """The address of an S3 server of moto with an empty bucket `rows`."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    thread = server.ThreadedMotoServer(port=0, verbose=False)
    thread.start()
    host, port = thread.get_host_and_port()
    url = f"http://{host}:{port}"
    fsspec.filesystem("s3", **options_of(url)).mkdir("rows")
    yield url
    thread.stop()


def options_of(url: str) -> dict:
    return {"key": "testing", "secret": "testing", "client_kwargs": {"endpoint_url": url}}


@pytest.fixture(params=["memory", "s3"])
def remote(request) -> tuple[str, dict | None]:
    """A new folder on remote storage: its URL and the options of its filesystem."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}", None
    return f"s3://rows/{uuid.uuid4().hex}", options_of(request.getfixturevalue("s3_server"))


def put(remote: tuple[str, dict | None], files: dict[str, bytes]) -> None:
    filesystem, root = fsspec.core.url_to_fs(remote[0], **(remote[1] or {}))
    for name, content in files.items():
        filesystem.pipe_file(f"{root}/{name}", content)


def content(remote: tuple[str, dict | None]) -> dict[str, bytes]:
    """The files below a URL, by their names."""
    filesystem, root = fsspec.core.url_to_fs(remote[0], **(remote[1] or {}))
    filesystem.invalidate_cache()
    paths = filesystem.find(root)
    return {path.removeprefix(root).lstrip("/"): filesystem.cat_file(path) for path in paths}


def local_content(folder) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def parquet(rows: list[dict]) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


FILES = {
    "rows.jsonl": LINES[0] + LINES[1],
    "rows.jsonl.gz": gzip.compress(LINES[0] + LINES[1], mtime=0),
    "rows.jsonl.zst": pa.compress(LINES[0] + LINES[1], codec="zstd", asbytes=True),
    "rows.parquet": parquet(ROWS),
}


def same_rows(loaded: datasets.Dataset, expected: datasets.Dataset) -> None:
    assert loaded.to_list() == expected.to_list()


@pytest.mark.parametrize("name", FILES)
def test_a_file_at_a_url_loads_as_on_disk(remote, name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    put(remote, {name: FILES[name]})
    url, options = remote
    same_rows(wb.load(f"{url}/{name}", storage_options=options), wb.load(tmp_path / name))


def test_a_folder_of_shards_and_a_pattern_load_as_on_disk(remote, tmp_path):
    shards = {
        "train-0.jsonl": LINES[0],
        "more/train-1.jsonl.gz": gzip.compress(LINES[1]),
        "test.jsonl": b"{}",
    }
    put(remote, {f"shards/{name}": shard for name, shard in shards.items()})
    for name, shard in shards.items():
        (tmp_path / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shards" / name).write_bytes(shard)
    url, options = remote
    whole = wb.load(f"{url}/shards", storage_options=options)
    same_rows(whole, wb.load(tmp_path / "shards"))
    assert whole["instruction"][:] == [row["instruction"] for row in [*ROWS[4:], *ROWS[:4]]]
    matched = wb.load(f"{url}/**/train-*", storage_options=options)
    assert sorted(matched["response"]) == sorted(whole["response"])


def test_the_whole_path_gives_the_same_bytes_as_on_disk(remote, tmp_path):
    url, options = remote
    put(remote, {"rows.jsonl": LINES[0]})
    (tmp_path / "rows.jsonl").write_bytes(LINES[0])
    ds = wb.load(tmp_path / "rows.jsonl")
    same_rows(wb.load(f"{url}/rows.jsonl", storage_options=options), ds)
    selection = wb.select(ds, rows=2, strategy="ifd-top", by="ifd")
    for place, storage_options in ((url, options), (str(tmp_path), None)):
        tables.write_parquet(ds, as_path(f"{place}/scores.parquet", storage_options))
        tables.write_jsonl(ds, as_path(f"{place}/scores.jsonl", storage_options))
        for format in ("messages", "parquet", "dataset"):
            wb.export(selection, f"{place}/out/{format}", format, storage_options=storage_options)
    assert content(remote) == local_content(tmp_path)
    saved = wb.load(f"{url}/out/dataset", storage_options=options)
    same_rows(saved, wb.load(tmp_path / "out/dataset"))


def test_the_command_line_reads_and_writes_urls(remote, tmp_path, capsys):
    url, options = remote
    put(remote, {"rows.jsonl": LINES[0]})
    (tmp_path / "rows.jsonl").write_bytes(LINES[0])
    (tmp_path / "recipe.yaml").write_text("strategy: ifd-top\nby: ifd\nkeep_rows: 2\n")
    more = ["--storage-options", json.dumps(options)] if options else []
    for place, extra in ((url, more), (str(tmp_path), [])):
        rows = ["--data", f"{place}/rows.jsonl", "--recipe", str(tmp_path / "recipe.yaml")]
        cli.main(["select", *rows, "--output", f"{place}/kept.jsonl", *extra])
        cli.main(["export", f"{place}/kept.jsonl", f"{place}/out", *extra])
    written, expected = content(remote), local_content(tmp_path)
    assert written["kept.jsonl"] == expected["kept.jsonl"]
    assert written["out/data.jsonl"] == expected["out/data.jsonl"]
    assert f"{url}/kept.jsonl: 2 of 4 rows kept" in capsys.readouterr().out


def test_nothing_is_left_of_a_write_that_fails_and_nothing_is_overwritten(remote):
    path = as_path(f"{remote[0]}/out", remote[1])
    with pytest.raises(ZeroDivisionError), new_folder(path) as folder:
        (folder / "half").write_text(str(1 / 0))
    with pytest.raises(ZeroDivisionError), new_content(path / "file.txt") as file:
        file.write_text(str(1 / 0))
    assert content(remote) == {}
    with new_folder(path) as folder:
        (folder / "whole").write_text("whole")
    with pytest.raises(UserError, match=r"/out' is not empty; nothing is overwritten"), new_folder(path):
        pass
    assert content(remote) == {"out/whole": b"whole"}


def test_what_is_not_there_is_named(remote):
    url, options = remote
    put(remote, {"rows.jsonl": LINES[0]})
    with pytest.raises(MissingFileError, match=r"/row.jsonl does not exist; did you mean .*/rows.jsonl\?"):
        wb.load(f"{url}/row.jsonl", storage_options=options)
    with pytest.raises(MissingFileError, match=r"/\*.csv matches no file"):
        wb.load(f"{url}/*.csv", storage_options=options)


def test_a_missing_bucket_is_named_before_any_work(s3_server, capsys):
    with pytest.raises(MissingFileError, match=r"^s3://none/rows.jsonl does not exist"):
        wb.load("s3://none/rows.jsonl", storage_options=options_of(s3_server))
    options = ["--storage-options", json.dumps(options_of(s3_server))]
    with pytest.raises(SystemExit):
        cli.main(["score", "--output", "s3://none/scores.parquet", *options])
    assert capsys.readouterr().err == (
        "workbench: --output s3://none/scores.parquet: there is no s3://none; create it first.\n"
    )


def test_missing_credentials_and_a_refused_listing_are_one_sentence(s3_server, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = {"client_kwargs": {"endpoint_url": s3_server}}
    with pytest.raises(
        UserError, match=r"^s3://rows/a.jsonl cannot be reached \(.*redentials.*\); check the"
    ):
        wb.load("s3://rows/a.jsonl", storage_options=options)
    with pytest.raises(UserError, match=r"^s3://rows/\*.jsonl cannot be reached \(.*\); check the address"):
        wb.load("s3://rows/*.jsonl", storage_options=options)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (
            "nowhere://rows.jsonl",
            None,
            r"^nowhere://rows.jsonl cannot be reached \(ValueError: Protocol not known",
        ),
        ("memory://rows.jsonl", "key", r"storage_options='key' must be a dict"),
        ("rows.jsonl", {"key": "a"}, r"storage_options= are for a URL, e.g. .*; 'rows.jsonl' is none"),
    ],
)
def test_bad_urls_and_options_are_named(source, options, message):
    with pytest.raises(UserError, match=message):
        wb.load(source, storage_options=options)


def test_a_file_url_is_a_local_path(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(LINES[0])
    assert as_path((tmp_path / "rows.jsonl").as_uri()) == tmp_path / "rows.jsonl"
    assert len(wb.load((tmp_path / "rows.jsonl").as_uri())) == 4


def test_an_unreachable_server_is_one_sentence():
    options = options_of("http://127.0.0.1:9") | {"config_kwargs": {"retries": {"max_attempts": 0}}}
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    with pytest.raises(UserError, match=r"^s3://rows/a.jsonl cannot be reached \("):
        wb.load("s3://rows/a.jsonl", storage_options=options)
