"""Files of tasks: gzipped, with a BOM, in another encoding, with an id twice."""

import gzip
import json
from pathlib import Path

import pytest

from workbench.core.errors import UserError
from workbench.evaluation.tasks import code_tasks

TASKS = [{"task_id": name, "prompt": "def f():\n", "test": f"assert f() == {name!r}"} for name in ("a", "b")]
TEXT = "".join(json.dumps(task) + "\n" for task in TASKS)


def written(folder: Path, content: bytes) -> str:
    path = folder / "tasks.jsonl"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "content", [TEXT.encode(), b"\xef\xbb\xbf" + TEXT.encode(), gzip.compress(TEXT.encode(), mtime=0)]
)
def test_the_same_tasks_in_another_wrapping(tmp_path, content):
    tasks = code_tasks(written(tmp_path, content))
    assert tasks.tests == {task["task_id"]: task["test"] for task in TASKS}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT + TEXT, r"line 3: task_id='a' stands on line 1 too; give each task an id of its own"),
        (TEXT.replace('"b"', '"\u00e9"').encode("latin-1"), r"line 2: a task is a JSON object"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "cannot be unpacked"),
    ],
)
def test_a_file_that_would_be_read_otherwise_than_meant_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        code_tasks(written(tmp_path, content if isinstance(content, bytes) else content.encode()))
