"""Mark rows that are nearly the same as an earlier row.

Rows are processed in order, and each row is compared with the first row of every group so far. Every marked
row is therefore itself similar to the row it names; a chain of small changes does not form one group.

By text, MinHash LSH proposes candidates and the exact Jaccard similarity decides. So no marked row is wrong,
but some pairs are missed: about 1 in 100 at the threshold, none at 0.1 above it
(`tests/benchmarks/duplicates.py` prints the recall by similarity).
"""

import re
import zlib
from numbers import Real

import datasets
import numpy as np
import pandas as pd

from ..core import progress, tables
from ..core.errors import UserError, one_of, seed_of, shown

THRESHOLDS = {"text": 0.7, "embedding": 0.95}
_SHINGLE = 3  # tokens
_PERMUTATIONS = 128
_SLACK = 0.2  # LSH proposes candidates from this far below the threshold, so that 99 % at it are proposed
_BLOCK = 512  # rows compared with all earlier rows in one matrix product
_TOKEN = re.compile(r"\w+|[^\w\s]")


def mark_duplicates(
    ds: datasets.Dataset, by: str = "text", *, threshold: float | None = None, seed: int = 42
) -> datasets.Dataset:
    """Add the column `duplicate_of`: the id of the first row of the same group of near-duplicates.

    It is null in rows that have no earlier near-duplicate, i.e. in single rows and the first row of a group.
    No row is removed: `wb.drop_flagged` does that, and `wb.duplicate_groups` shows the groups.

    Parameters
    ----------
    by : "text" compares instruction and response by the Jaccard similarity |A & B| / |A | B| of their sets of
        3-token shingles, in lower case and regardless of whitespace. "embedding" compares the column
        `embedding`, i.e. the instruction alone, by cosine similarity; its time is quadratic in the rows.
    threshold : similarity from which on two rows are near-duplicates, above 0 and at most 1. Default: 0.7 by
        text, 0.95 by embedding.
    seed : seeds the MinHash permutations of `by="text"`.

    Raises UserError for an unknown `by`, a threshold out of range, or a missing column (`id`; `instruction`
    and `response`, or `embedding`). Rows without text are never marked by text. Not covered: paraphrases and
    renamed code, unless the embeddings are similar.
    """
    one_of("by", by, THRESHOLDS)
    seed = seed_of(seed)
    threshold = THRESHOLDS[by] if threshold is None else threshold
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 < threshold <= 1:
        raise UserError(f"threshold={shown(threshold)} must be above 0 and at most 1.")
    if by == "embedding":
        tables.require(ds, ["id"], "wb.load")
        group = _group_by_embedding(tables.vectors(ds), threshold)
    else:
        tables.require(ds, ["id", "instruction", "response"], "wb.load")
        texts = [
            f"{a or ''}\n{b or ''}" for a, b in zip(ds["instruction"][:], ds["response"][:], strict=True)
        ]
        group = _group_by_text(texts, threshold, seed)
    ids = ds["id"][:]
    column = [None if first < 0 else ids[first] for first in group]
    return tables.with_columns(ds, {"duplicate_of": column}, {"duplicate_of": tables.TEXT})


def duplicate_groups(ds: datasets.Dataset) -> pd.DataFrame:
    """Return all rows that belong to a group of near-duplicates, sorted by group.

    The DataFrame has the columns `group` (the id of the group's first row), `id`, `instruction` and
    `response`. Raises UserError without the column `duplicate_of` of `wb.mark_duplicates`.
    """
    tables.require(ds, ["duplicate_of"], "wb.mark_duplicates")
    table = ds.select_columns(["id", "instruction", "response", "duplicate_of"]).to_pandas()
    group = table.pop("duplicate_of")
    table.insert(0, "group", group.fillna(table["id"]))
    return table[table["group"].isin(group.dropna())].sort_values("group", kind="stable", ignore_index=True)


def shingles(text: str) -> np.ndarray:
    """Return the sorted, distinct hashes of all runs of 3 tokens, uint32 [s]. A shorter text is one run."""
    tokens = _TOKEN.findall(text.lower())
    runs = {" ".join(tokens[i : i + _SHINGLE]) for i in range(max(1, len(tokens) - _SHINGLE + 1))} - {""}
    return np.array(sorted({zlib.crc32(run.encode()) for run in runs}), np.uint32)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Jaccard similarity |A & B| / |A | B| of two sorted sets of hashes, neither empty."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _group_by_text(texts: list[str], threshold: float, seed: int) -> np.ndarray:
    """Return the position of the first text of each text's group, int64 [n]; -1 if it is the first itself."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=max(threshold - _SLACK, 0.05), num_perm=_PERMUTATIONS)
    blank = MinHash(num_perm=_PERMUTATIONS, seed=seed, hashfunc=int)
    group, first_rows = np.full(len(texts), -1), {}
    with progress.bar(len(texts), "duplicates") as bar:
        for row, text in enumerate(texts):
            bar.update()
            hashes = shingles(text)
            if not len(hashes):
                continue
            sketch = blank.copy()
            sketch.update_batch(hashes.tolist())
            candidates = sorted(index.query(sketch))
            similar = (other for other in candidates if jaccard(hashes, first_rows[other]) >= threshold)
            group[row] = next(similar, -1)
            if group[row] < 0:
                index.insert(row, sketch)
                first_rows[row] = hashes
    return group


def _group_by_embedding(vectors: np.ndarray, threshold: float) -> np.ndarray:
    """Like `_group_by_text`, for unit vectors float32 [n, d]."""
    group = np.full(len(vectors), -1)
    with progress.bar(len(vectors), "duplicates") as bar:
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            # float32 rounding can put the similarity of equal vectors slightly below 1.
            similar = block @ vectors[: start + len(block)].T >= threshold - 1e-6
            for at in range(len(block)):
                earlier = np.flatnonzero(similar[at, : start + at])
                first_rows = earlier[group[earlier] < 0]
                if len(first_rows):
                    group[start + at] = first_rows[0]
            bar.update(len(block))
    return group
