"""Results on disk, keyed by content: what was computed once is never computed again.

One SQLite file under `cache_dir()`. A key is a hash of everything that the value depends on (weights, text,
settings), never a name alone, so a changed model or row misses the cache instead of reading a stale value.
SQLite's rollback journal makes each `put` atomic, also under kill -9 and between processes; its write-ahead
log is not used, because it does not work on the network file systems that clusters have.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import platformdirs

_LOOKUP_SIZE = 500  # below SQLite's limit on variables in one statement, also in old builds


def cache_dir() -> Path:
    """`$WORKBENCH_CACHE`, or the platform's cache folder of this user; created when missing."""
    root = os.environ.get("WORKBENCH_CACHE") or platformdirs.user_cache_dir("workbench", appauthor=False)
    path = Path(root).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts) -> str:
    """128-bit hash of JSON-like `parts` (bytes are taken as they are)."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        h.update(len(data).to_bytes(8, "little"))  # no two lists of parts run together to the same bytes
        h.update(data)
    return h.hexdigest()


class Store:
    """A table of `kind`, key -> bytes in `results.sqlite`.

    >>> store = Store("ifd"); store.put({"k": b"value"}); store.get(["k", "absent"])
    {'k': b'value'}
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
        return sqlite3.connect(self.path, timeout=60)  # seconds to wait for another process's write

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The stored values among `keys`; absent keys are left out."""
        keys, found = list(dict.fromkeys(keys)), {}
        with closing(self._connect()) as db:
            for at in range(0, len(keys), _LOOKUP_SIZE):
                some = keys[at : at + _LOOKUP_SIZE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM results WHERE kind = ? AND key IN ({marks})"
                found.update(db.execute(query, [self.kind, *some]))
        return found

    def put(self, values: Mapping[str, bytes]) -> None:
        """Write all of `values`, or none of them, and return when they are on disk."""
        with closing(self._connect()) as db, db:
            db.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?)",
                [(self.kind, key, value) for key, value in values.items()],
            )
