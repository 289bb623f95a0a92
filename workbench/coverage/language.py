"""The programming language of each row: a selection can lose one that no cluster shows."""

import re

import datasets
import numpy as np

_COLUMNS = ("language", "lang", "programming_language")
_FENCE = re.compile(r"```([A-Za-z][\w+#-]*)")
_NAMED = re.compile(
    r"(?<![\w.])(python|javascript|typescript|java|c\+\+|c#|golang|rust|ruby|php|swift|kotlin|scala|sql|html|css"
    r"|bash|shell|matlab|perl|haskell)(?![\w+#])",
    re.IGNORECASE,
)
_SAME = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript", "cpp": "c++"}
_SAME |= {
    "cs": "c#",
    "csharp": "c#",
    "go": "golang",
    "sh": "shell",
    "bash": "shell",
    "rs": "rust",
    "rb": "ruby",
}


def languages(ds: datasets.Dataset) -> np.ndarray:
    """[n] str: the language column where there is one, else what the texts say, else "unnamed".

    A text says it by the tag of its first code fence in the response, or by the first language named in the
    instruction. Code without either is not analysed.
    """
    for name in _COLUMNS:
        if name in ds.column_names:
            return np.array([_plain(value) for value in ds[name][:]], str)
    if not {"instruction", "response"} <= set(ds.column_names):
        return np.full(len(ds), "unnamed")
    return np.array([_of(i, r) for i, r in zip(ds["instruction"][:], ds["response"][:], strict=True)], str)


def _plain(name) -> str:
    name = str(name or "unnamed").strip().lower()
    return _SAME.get(name, name)


def _of(instruction: str | None, response: str | None) -> str:
    found = _FENCE.search(response or "") or _NAMED.search(instruction or "")
    return _plain(found and found.group(1))
