"""Files are written completely or not at all."""

import os
from pathlib import Path

import datasets
import pytest

from workbench.core import tables
from workbench.core.folders import new_content

DS = datasets.Dataset.from_dict({"instruction": ["Add."], "response": ["a + b"]})
WRITERS = {"rows.jsonl": tables.write_jsonl, "rows.parquet": tables.write_parquet}


def test_a_failure_leaves_the_old_content(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), new_content(path) as scratch:
        scratch.write_text("half of the new \ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_that_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / name
    WRITERS[name](DS, path)
    old = path.read_bytes()
    monkeypatch.setattr("json.dumps", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("pyarrow.parquet.write_table", lambda table, path: path.write_bytes(b"PAR1") / 0)
    with pytest.raises((ZeroDivisionError, TypeError)):
        WRITERS[name](DS, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_keeps_pointing_to_its_file(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with new_content(tmp_path / "link") as scratch:
        scratch.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced():
    tables.write_jsonl(DS, Path(os.devnull))
    assert not Path(os.devnull).is_file()
