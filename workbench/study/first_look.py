"""The bundled dataset with stored scores, embeddings, clusters and map coordinates: no model is needed.

`first_look()` reads them; `make_first_look()` (`workbench first-look`) computes them again.
"""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq

from .. import complexity, data
from ..core import tables
from ..core.errors import UserError
from ..core.store import digest
from ..lm import models
from ..space.clustering import cluster
from ..space.embedding import embed
from ..space.projection import project
from .scorer_agreement import agreement

SCORER = "smollm2-135m-q4_1"  # unlike "smollm2-135m", has the same weights on every machine
EMBEDDER = "all-MiniLM-L6-v2"
K, SEED = 10, 42
_TABLE, _SETTINGS = "first_look.parquet", "first_look.json"
_COLUMNS = [*complexity.FEATURES, "n_tokens", "embedding", "cluster", "x", "y"]


def first_look() -> datasets.Dataset:
    """The bundled dataset, scored, embedded, clustered and projected; no model is loaded.

    Has the columns of `wb.load`, `wb.score`, `wb.embed` (float32 [n, 384]), `wb.cluster` (k = 10) and
    `wb.project`. The models and settings that they were computed with are in `data/first_look.json`.

    Raises UserError if the stored results do not belong to the bundled rows.
    """
    ds = data.load("bundled")
    results = datasets.Dataset(pq.read_table(data.bundled_dir() / _TABLE))
    origin = settings()
    if origin["rows_digest"] != _rows_digest(ds) or results["id"][:] != ds["id"][:]:
        raise UserError(
            f"{_TABLE} was computed from other rows than those of instructions.jsonl; run "
            f"`python -m workbench first-look` to compute it again."
        )
    ds = datasets.concatenate_datasets([ds, results.remove_columns("id")], axis=1)
    scorer = {"model": origin["scorer"]["name"], "dtype": origin["scorer"]["dtype"]}
    ds = tables.note(ds, "score", scorer | {"convention": origin["convention"], "prompt": "paper"})
    ds = tables.note(ds, "embed", {"model": origin["embedder"]["name"]})
    ds = tables.note(ds, "cluster", {"method": "KMeans", **origin["clusters"]})
    rows = {"columns": ds.column_names, "ids": tables.ids_digest(ds)}
    return tables.note(ds, "load", {"first_look": True} | rows)


def settings() -> dict:
    """How the stored results were computed: models and their fingerprints, settings and versions."""
    return json.loads((data.bundled_dir() / _SETTINGS).read_text())


def agreement_with(ds: datasets.Dataset, scorer: str, dtype: str) -> dict | None:
    """Agreement of the scores in `ds`, rows of the bundled dataset, with the stored ones.

    The fields of `Agreement`, `same_model` (whether `scorer` has the weights that made the stored scores) and
    the resolved `dtype`. None if fewer than two rows have a score.
    """
    bundled = first_look()
    stored = dict(zip(bundled["id"][:], tables.array(bundled, "ifd"), strict=True))
    measured = agreement(tables.array(ds, "ifd"), np.array([stored[row_id] for row_id in ds["id"][:]]))
    if measured is None:
        return None
    same_model = models.fingerprint(scorer) == settings()["scorer"]["fingerprint"]
    return asdict(measured) | {"same_model": same_model, "dtype": models.dtype_name(dtype)}


def make_first_look() -> Path:
    """Compute the results again and write them beside the dataset; returns the path of the table."""
    ds = data.load("bundled")
    scored = complexity.score(ds, SCORER, dtype="float32")
    projected = project(cluster(embed(scored, EMBEDDER), K, seed=SEED), seed=SEED)
    folder = data.bundled_dir()
    tables.write_parquet(projected.select_columns(["id", *_COLUMNS]), folder / _TABLE)
    origin = {
        "rows_digest": _rows_digest(ds),
        "scorer": {"name": SCORER, "fingerprint": models.fingerprint(SCORER), "dtype": "float32"},
        "convention": "paper",
        "embedder": {"name": EMBEDDER, "fingerprint": models.fingerprint(EMBEDDER)},
        "clusters": {"k": K, "seed": SEED},
        "map": {"seed": SEED},
        "versions": {name: version(name) for name in ("torch", "transformers", "scikit-learn", "umap-learn")},
    }
    (folder / _SETTINGS).write_text(json.dumps(origin, indent=2) + "\n")
    return folder / _TABLE


def _rows_digest(ds: datasets.Dataset) -> str:
    tables.require(ds, ["id", "instruction", "response"], "wb.load")
    return digest(ds["id"][:], ds["instruction"][:], ds["response"][:])
