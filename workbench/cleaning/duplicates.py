"""Mark rows that are nearly the same as an earlier row.

Rows are processed in order, and each row is compared with the first row of every group so far. Every marked
row is therefore itself similar to the row it names; a chain of small changes does not form one group.

By text, MinHash LSH proposes candidates and the exact Jaccard similarity decides. So no marked row is wrong,
but some pairs are missed: about 1 in 100 at the threshold, none at 0.1 above it
(`tests/benchmarks/duplicates.py` prints the recall by similarity).
"""

import re
import zlib
from collections import defaultdict
from functools import lru_cache
from numbers import Real

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from ..core import progress, tables
from ..core.errors import UserError, one_of, seed_of, shown

THRESHOLDS = {"text": 0.7, "embedding": 0.95}
_SHINGLE = 3  # tokens
_PERMUTATIONS = 128
_SLACK = 0.2  # LSH proposes candidates from this far below the threshold, so that 99 % at it are proposed
_CACHED = 20_000  # rows whose shingles are kept, about 1 kB each
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
        group = _group_by_text(ds, threshold, seed)
    ids = ds.select_columns(["id"]).with_format("arrow")[:]["id"].cast(pa.string())
    column = ids.take(pa.array(group, mask=group < 0)).combine_chunks()
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


def _group_by_text(ds: datasets.Dataset, threshold: float, seed: int) -> np.ndarray:
    """Return the position of the first row of each row's group, int64 [n]; -1 if it is the first itself.

    Only the keys of the LSH bands are kept of every row, 4 bytes each. The shingles of the few rows that
    share a key with another one are computed again.
    """
    keys, has_text = _band_keys(ds, threshold, seed)
    texts = ds.select_columns(["instruction", "response"]).with_format("arrow")[:]

    @lru_cache(_CACHED)
    def hashes(row: int) -> np.ndarray:
        return shingles(_joined(texts["instruction"][row].as_py(), texts["response"][row].as_py()))

    group, first_rows = np.full(len(ds), -1), defaultdict(list)
    for row in np.flatnonzero(_shares_a_key(keys, has_text)).tolist():
        bands = list(enumerate(keys[row].tolist()))
        candidates = sorted({other for band in bands for other in first_rows.get(band, ())})
        similar = (other for other in candidates if jaccard(hashes(row), hashes(other)) >= threshold)
        group[row] = next(similar, -1)
        if group[row] < 0:
            for band in bands:
                first_rows[band].append(row)
    return group


def _band_keys(ds: datasets.Dataset, threshold: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of each row's LSH bands, uint32 [n, bands], and which rows have text, bool [n]."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=max(threshold - _SLACK, 0.05), num_perm=_PERMUTATIONS)
    blank = MinHash(num_perm=_PERMUTATIONS, seed=seed, hashfunc=int)
    weights = np.random.default_rng(seed).integers(2**64, size=(index.b, index.r), dtype=np.uint64)
    keys, has_text = np.zeros((len(ds), index.b), np.uint32), np.zeros(len(ds), bool)
    with progress.bar(len(ds), "duplicates") as bar:
        for row, pair in enumerate(tables.cells(ds, ["instruction", "response"])):
            bar.update()
            hashes = shingles(_joined(*pair))
            if not len(hashes):
                continue
            sketch = blank.copy()
            sketch.update_batch(hashes.tolist())
            bands = sketch.hashvalues[: index.b * index.r].astype(np.uint64).reshape(index.b, index.r)
            # Two bands with equal keys but other values are only compared in vain.
            keys[row], has_text[row] = (bands * weights).sum(axis=1) >> np.uint64(32), True
    return keys, has_text


def _shares_a_key(keys: np.ndarray, has_text: np.ndarray) -> np.ndarray:
    """Return which rows with text have a band key in common with another one, bool [n]."""
    shares = np.zeros(len(keys), bool)
    rows = np.flatnonzero(has_text)
    for band in range(keys.shape[1]):
        _, inverse, counts = np.unique(keys[rows, band], return_inverse=True, return_counts=True)
        shares[rows] |= counts[inverse] > 1
    return shares


def _joined(instruction: str | None, response: str | None) -> str:
    return f"{instruction or ''}\n{response or ''}"


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
