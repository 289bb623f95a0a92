"""The bundled dataset with scores, embeddings, clusters and coordinates: a first look without any model.

`first_look()` reads them; `make_first_look()` (`python -m workbench first-look`) computes them again.
"""

import json
from importlib.metadata import version
from pathlib import Path

import datasets
import pyarrow.parquet as pq

from .. import complexity, data
from ..core import tables
from ..core.errors import UserError
from ..core.store import digest
from ..lm import models
from ..space.clustering import cluster
from ..space.embedding import embed
from ..space.projection import project

SCORER = "smollm2-135m-q4_1"  # of all names the one that gives every machine the same weights
EMBEDDER = "all-MiniLM-L6-v2"
K, SEED = 10, 42
_TABLE, _SETTINGS = "first_look.parquet", "first_look.json"
_COLUMNS = [*complexity.FEATURES, "n_tokens", "embedding", "cluster", "x", "y"]


def first_look() -> datasets.Dataset:
    """The bundled rows with all columns of the stages up to `project`, as `settings()` made them."""
    ds = data.load("bundled")
    results = datasets.Dataset(pq.read_table(data.bundled_dir() / _TABLE))
    made = settings()
    if made["rows_digest"] != _rows_digest(ds) or results["id"][:] != ds["id"][:]:
        raise UserError(
            f"{_TABLE} was made from other rows than those of instructions.jsonl; make it again with "
            f"python -m workbench first-look."
        )
    ds = datasets.concatenate_datasets([ds, results.remove_columns("id")], axis=1)
    scored = {"model": made["scorer"]["name"], "dtype": made["scorer"]["dtype"]}
    ds = tables.note(ds, "score", scored | {"convention": made["convention"], "prompt": "paper"})
    ds = tables.note(ds, "embed", {"model": made["embedder"]["name"]})
    ds = tables.note(ds, "cluster", {"method": "KMeans", **made["clusters"]})
    found = {"columns": ds.column_names, "ids": tables.ids_digest(ds)}
    return tables.note(ds, "load", {"first_look": True} | found)


def settings() -> dict:
    """What the stored results were made with: models and their fingerprints, settings, versions."""
    return json.loads((data.bundled_dir() / _SETTINGS).read_text())


def make_first_look() -> Path:
    """Compute the results anew and write them beside the dataset."""
    ds = data.load("bundled")
    done = complexity.score(ds, SCORER, dtype="float32")
    done = project(cluster(embed(done, EMBEDDER), K, seed=SEED), seed=SEED)
    folder = data.bundled_dir()
    tables.write_parquet(done.select_columns(["id", *_COLUMNS]), folder / _TABLE)
    made_with = {
        "rows_digest": _rows_digest(ds),
        "scorer": {"name": SCORER, "fingerprint": models.fingerprint(SCORER), "dtype": "float32"},
        "convention": "paper",
        "embedder": {"name": EMBEDDER, "fingerprint": models.fingerprint(EMBEDDER)},
        "clusters": {"k": K, "seed": SEED},
        "map": {"seed": SEED},
        "versions": {name: version(name) for name in ("torch", "transformers", "scikit-learn", "umap-learn")},
    }
    (folder / _SETTINGS).write_text(json.dumps(made_with, indent=2) + "\n")
    return folder / _TABLE


def _rows_digest(ds: datasets.Dataset) -> str:
    tables.require(ds, ["id", "instruction", "response"], "wb.load")
    return digest(ds["id"][:], ds["instruction"][:], ds["response"][:])
