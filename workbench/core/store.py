"""Content-addressed cache of results on disk.

The cache is one SQLite file in `cache_dir()`. Each key is a hash of everything the value depends on (weights,
text, settings), never a name alone, so a changed model or row never reads a stale value.

SQLite's rollback journal makes each `put` atomic, between processes and if a process is killed. The
write-ahead log is not used because it does not work on network file systems, which clusters use.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import platformdirs

_LOOKUP_SIZE = 500  # keys per statement; old builds of SQLite allow 999 variables


def cache_dir() -> Path:
    """Return `$WORKBENCH_CACHE`, or else the platform's user cache folder; it is created if needed."""
    root = os.environ.get("WORKBENCH_CACHE") or platformdirs.user_cache_dir("workbench", appauthor=False)
    path = Path(root).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts) -> str:
    """Return a 128-bit hash, as hex, of `parts`: bytes, or values that JSON can encode.

    The order of the keys of a dict does not matter. The order of the parts and their boundaries do.
    """
    blake = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        blake.update(len(encoded).to_bytes(8, "little"))
        blake.update(encoded)
    return blake.hexdigest()


class KeyValueStore(Protocol):
    """What the stages need of a store: any class with these two methods can take the place of `Store`."""

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the stored values of `keys`; keys that are not stored are left out."""

    def put(self, values: Mapping[str, bytes]) -> None:
        """Write all `values`, replace older ones, and return when they cannot be lost any more."""


class Store:
    """Key-value store of bytes for one `kind` of result, in `cache_dir()/results.sqlite` or at `path`.

    The `KeyValueStore` of one machine, in SQLite.

    >>> store = Store("squares"); store.put({"3": b"9"}); store.get(["3", "absent"])
    {'3': b'9'}
    """

    def __init__(self, kind: str, path: Path | None = None):
        self.kind = kind
        self.path = path or cache_dir() / "results.sqlite"
        with closing(self._connect()) as db, db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS results"
                " (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)  # seconds to wait for the lock

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the stored values of `keys`; keys that are not stored are left out."""
        keys, values = list(dict.fromkeys(keys)), {}
        with closing(self._connect()) as db:
            for start in range(0, len(keys), _LOOKUP_SIZE):
                chunk = keys[start : start + _LOOKUP_SIZE]
                placeholders = ",".join("?" * len(chunk))
                query = f"SELECT key, value FROM results WHERE kind = ? AND key IN ({placeholders})"
                values.update(db.execute(query, [self.kind, *chunk]))
        return values

    def put(self, values: Mapping[str, bytes]) -> None:
        """Write all `values` in one transaction, replace older ones, and return when they are on disk."""
        with closing(self._connect()) as db, db:
            db.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?)",
                [(self.kind, key, value) for key, value in values.items()],
            )
