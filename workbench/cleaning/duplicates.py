"""Near-duplicates: a row that says nearly what an earlier row says.

Rows are walked in order, and each is compared with the first rows of the groups so far. So every marked row
is itself similar to the row it names; a chain of small changes never makes one group. By text, MinHash LSH
finds candidates and their exact Jaccard similarity decides. It overlooks some 1 in 100 pairs right at the
threshold and none a tenth above it (`tests/benchmarks/duplicates.py` prints the recall by similarity).
"""

import re
import zlib

import datasets
import numpy as np
import pandas as pd

from ..core import progress, tables
from ..core.errors import UserError, one_of

THRESHOLDS = {"text": 0.7, "embedding": 0.95}
_SHINGLE = 3  # tokens
_PERMUTATIONS = 128
_SLACK = 0.2  # candidates are sought this far below the threshold: of pairs right at it 99 % are found
_BLOCK = 512  # rows compared at once with all earlier ones
_TOKEN = re.compile(r"\w+|[^\w\s]")


def mark_duplicates(
    ds: datasets.Dataset, by: str = "text", *, threshold: float | None = None, seed: int = 42
) -> datasets.Dataset:
    """Add `duplicate_of`: the id of the first row of its group, null for first and for single rows.

    `by="text"`: Jaccard similarity of the 3-token shingles of instruction + response (0.7 by default).
    `by="embedding"`: cosine similarity (0.95); of the instruction alone, and quadratic in the rows.
    """
    one_of("by", by, THRESHOLDS)
    threshold = THRESHOLDS[by] if threshold is None else threshold
    if not 0 < threshold <= 1:
        raise UserError(f"threshold={threshold!r} must be above 0 and at most 1.")
    if by == "embedding":
        tables.require(ds, ["id"], "wb.load")
        first = _by_embedding(tables.vectors(ds), threshold)
    else:
        tables.require(ds, ["id", "instruction", "response"], "wb.load")
        texts = [
            f"{a or ''}\n{b or ''}" for a, b in zip(ds["instruction"][:], ds["response"][:], strict=True)
        ]
        first = _by_text(texts, threshold, seed)
    ids = ds["id"][:]
    column = [None if row < 0 else ids[row] for row in first]
    return tables.with_columns(ds, {"duplicate_of": column}, {"duplicate_of": tables.TEXT})


def duplicate_groups(ds: datasets.Dataset) -> pd.DataFrame:
    """The rows of each group, first ones too: `group` (the first row's id), id, instruction, response."""
    tables.require(ds, ["duplicate_of"], "wb.mark_duplicates")
    table = ds.select_columns(["id", "instruction", "response", "duplicate_of"]).to_pandas()
    group = table.pop("duplicate_of")
    table.insert(0, "group", group.fillna(table["id"]))
    return table[table["group"].isin(group.dropna())].sort_values("group", kind="stable", ignore_index=True)


def shingles(text: str) -> np.ndarray:
    """Sorted distinct hashes (uint32) of each run of three tokens; of all tokens where there are fewer."""
    tokens = _TOKEN.findall(text.lower())
    runs = {" ".join(tokens[i : i + _SHINGLE]) for i in range(max(1, len(tokens) - _SHINGLE + 1))} - {""}
    return np.array(sorted({zlib.crc32(run.encode()) for run in runs}), np.uint32)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Shared share of two sorted sets of hashes, neither empty."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _by_text(texts: list[str], threshold: float, seed: int) -> np.ndarray:
    """For each text the position of the first of its group, -1 where it opens one."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=max(threshold - _SLACK, 0.05), num_perm=_PERMUTATIONS)
    blank = MinHash(num_perm=_PERMUTATIONS, seed=seed, hashfunc=int)
    first, kept = np.full(len(texts), -1), {}
    with progress.bar(len(texts), "duplicates") as bar:
        for row, text in enumerate(texts):
            bar.update()
            found = shingles(text)
            if not len(found):
                continue
            sketch = blank.copy()
            sketch.update_batch(found.tolist())
            alike = (
                other for other in sorted(index.query(sketch)) if jaccard(found, kept[other]) >= threshold
            )
            first[row] = next(alike, -1)
            if first[row] < 0:
                index.insert(row, sketch)
                kept[row] = found
    return first


def _by_embedding(vectors: np.ndarray, threshold: float) -> np.ndarray:
    """As `_by_text`, for unit vectors [n, d]."""
    first = np.full(len(vectors), -1)
    with progress.bar(len(vectors), "duplicates") as bar:
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            alike = block @ vectors[: start + len(block)].T >= threshold - 1e-6  # float32 rounds 1.0 down
            for at in range(len(block)):
                earlier = np.flatnonzero(alike[at, : start + at])
                earlier = earlier[first[earlier] < 0]
                if len(earlier):
                    first[start + at] = earlier[0]
            bar.update(len(block))
    return first
