"""Detect the programming language of each row, because a selection can lose one without losing a cluster."""

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
    """Return the programming language of each row in lower case, str [n]; "unnamed" if there is no evidence.

    A column `language`, `lang` or `programming_language` decides if there is one. Otherwise the language is
    the tag of the first code fence in the response, or else the first language named in the instruction. Not
    covered: the code itself is not analysed.
    """
    for name in _COLUMNS:
        if name in ds.column_names:
            return np.array([_normalized(value) for value in ds[name][:]], str)
    if not {"instruction", "response"} <= set(ds.column_names):
        return np.full(len(ds), "unnamed")
    return np.array(
        [_detected(i, r) for i, r in zip(ds["instruction"][:], ds["response"][:], strict=True)], str
    )


def _normalized(name) -> str:
    name = str(name or "unnamed").strip().lower()
    return _SAME.get(name, name)


def _detected(instruction: str | None, response: str | None) -> str:
    match = _FENCE.search(response or "") or _NAMED.search(instruction or "")
    return _normalized(match and match.group(1))
