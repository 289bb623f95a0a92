"""Instructions -> unit vectors, in whose space clusters and coverage are measured.

The text is the instruction alone, as in arXiv 2504.12687, section 3: what is asked for, not how it is
answered.
"""

import datasets
import numpy as np

from ..core import progress, tables
from ..core.errors import UserError, positive
from ..core.store import Store, digest
from ..lm import models

_ROUND = 1024  # rows embedded and stored at once


def embed(
    ds: datasets.Dataset,
    model: str = "all-MiniLM-L6-v2",
    *,
    dtype: str = "float32",
    device: str = "auto",
    max_length: int | None = None,
    cache: bool = True,
) -> datasets.Dataset:
    """Add `embedding`: float32 of unit length, d as `model` has it (MiniLM 384; the paper's mpnet 768).

    `model` is a sentence-transformers name, folder or hub id; `max_length` (tokens) defaults to the model's
    own. The settings are noted: `tables.noted(ds, "embed")`.
    """
    tables.require(ds, ["instruction"], "wb.load")
    if not len(ds):
        raise UserError("the dataset has no rows to embed.")
    if max_length is not None:
        positive("max_length", max_length)
    settings = [models.fingerprint(model), models.dtype_name(dtype, device), max_length]
    store = Store("embedding") if cache else None
    texts = ds["instruction"][:]
    keys = [digest(settings, text) for text in texts]
    known = {key: np.frombuffer(data, np.float32) for key, data in (store.get(keys) if store else {}).items()}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    with progress.bar(len(texts), "embed") as bar:
        bar.update(len(texts) - len(missing))
        if missing:
            encoder = models.load_embedder(model, dtype, device)
            encoder.max_seq_length = max_length or encoder.max_seq_length
        todo = list(missing)
        for start in range(0, len(todo), _ROUND):
            some = todo[start : start + _ROUND]
            vectors = encoder.encode(
                [missing[key] for key in some], normalize_embeddings=True, show_progress_bar=False
            ).astype(np.float32)
            # Vectors normalised in bfloat16 are up to some thousandths off.
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            if store:
                store.put({key: vector.tobytes() for key, vector in zip(some, vectors, strict=True)})
            known.update(zip(some, vectors, strict=True))
            bar.update(len(some))
    matrix = np.stack([known[key] for key in keys])
    ds = tables.with_columns(ds, {"embedding": matrix}, {"embedding": tables.vector(matrix.shape[1])})
    return tables.note(ds, "embed", {"model": str(model), "dtype": settings[1], "max_length": max_length})
