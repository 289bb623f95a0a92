"""The README's Python runs as it stands: each block in turn, in one namespace, with the real model."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def python_blocks() -> list[tuple[int, str]]:
    """(line, code) of each block fenced as Python."""
    text = README.read_text("utf-8")
    return [
        (text.count("\n", 0, found.start(1)) + 1, found.group(1))
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.model
@pytest.mark.filterwarnings("ignore::workbench.data.RejectedRowsWarning")
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks()
    assert blocks, "the README shows no Python"
    names = {"__name__": "readme"}
    for line, code in blocks:
        # Padded, so that a traceback shows the line in the README.
        exec(compile("\n" * (line - 1) + code, str(README), "exec"), names)
