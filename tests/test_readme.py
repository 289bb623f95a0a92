"""The README's Python blocks run: one after the other, in one namespace, with the real model."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def python_blocks() -> list[tuple[int, str]]:
    """Returns (line number, code) of each fenced Python block."""
    text = README.read_text("utf-8")
    return [
        (text.count("\n", 0, block.start(1)) + 1, block.group(1))
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::workbench.data.RejectedRowsWarning")
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks()
    assert blocks, "the README has no Python block"
    names = {"__name__": "readme"}
    for line, code in blocks:
        # Leading blank lines make a traceback show the line number in the README.
        exec(compile("\n" * (line - 1) + code, str(README), "exec"), names)
