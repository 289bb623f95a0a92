"""Paths on any storage: local ones, and URLs of the filesystems that fsspec knows, e.g. s3:// and hf://.

`as_path` turns what a user gives into a `Path` or, for a URL, a `RemotePath`, which has the methods of `Path`
that this package uses. Its filesystem is fsspec's; nothing here depends on the protocol.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .errors import MissingFileError, UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(path: object) -> bool:
    """Return whether `path` is text like "s3://bucket/rows.jsonl"."""
    return isinstance(path, str) and _URL.match(path) is not None


def as_path(path: "str | Path | RemotePath", storage_options: dict | None = None) -> "Path | RemotePath":
    """Return `path` as a `Path`, or as a `RemotePath` if it is a URL of a filesystem that is not local.

    `storage_options` are the arguments of fsspec's filesystem, e.g. `{"key": ..., "secret": ...}` for s3://.
    Without them it finds credentials as its own library does, e.g. in environment variables.

    Raises UserError if no filesystem is known for the URL, its library is not installed, or `storage_options`
    are no dict or come without a URL.
    """
    if storage_options is not None and not isinstance(storage_options, dict):
        raise UserError(
            f"storage_options={storage_options!r} must be a dict of arguments of fsspec's filesystem."
        )
    if not is_url(path):
        if storage_options:
            raise UserError(
                f"storage_options= are for a URL, e.g. 's3://bucket/rows.jsonl'; {str(path)!r} is none."
            )
        return Path(path) if isinstance(path, str) else path
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    with _reaching(path):
        filesystem, stripped = url_to_fs(path, **(storage_options or {}))
        filesystem.invalidate_cache()  # a listing of an hour ago may lack new files
    if isinstance(filesystem, LocalFileSystem):
        return Path(stripped)
    return RemotePath(filesystem, path, storage_options)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Context that turns the error of a filesystem, each of which has its own, into one sentence."""
    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise MissingFileError(f"{url} does not exist; check the address, its bucket included.") from None
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or "no reason given"
        raise UserError(
            f"{url} cannot be reached ({type(error).__name__}: {reason}); check the address, the network and "
            "the credentials, which can be given as storage_options=."
        ) from None


class RemotePath:
    """A file or folder of a filesystem of fsspec, with the methods of `pathlib.Path` that are needed here.

    The methods raise UserError if the storage cannot be reached, e.g. without credentials, and
    MissingFileError if the file or its bucket does not exist.
    """

    def __init__(self, filesystem, url: str, storage_options: dict | None = None):
        scheme, _, path = url.partition("://")
        self._filesystem, self._scheme, self._path = filesystem, scheme, PurePosixPath(path.strip("/"))
        self.storage_options = storage_options

    def __str__(self) -> str:
        return f"{self._scheme}://{self._path}"

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: "RemotePath") -> bool:
        return self._path < other._path

    def __truediv__(self, name: str) -> "RemotePath":
        return self._at(f"{self}/{name}")

    def _at(self, url: str) -> "RemotePath":
        return RemotePath(self._filesystem, url, self.storage_options)

    name = property(lambda self: self._path.name)
    stem = property(lambda self: self._path.stem)
    suffix = property(lambda self: self._path.suffix)

    @property
    def parent(self) -> "RemotePath":
        return self._at(f"{self._scheme}://{self._path.parent}")

    @property
    def parents(self) -> list["RemotePath"]:
        """The folders that contain this path, the bucket last."""
        return [self._at(f"{self._scheme}://{parent}") for parent in self._path.parents if parent.name]

    def expanduser(self) -> "RemotePath":
        return self

    def resolve(self) -> "RemotePath":
        return self

    def as_posix(self) -> str:
        return str(self)

    def relative_to(self, other: "RemotePath") -> PurePosixPath:
        return self._path.relative_to(other._path)

    def exists(self) -> bool:
        with _reaching(str(self)):
            return self._filesystem.exists(str(self))

    def is_file(self) -> bool:
        with _reaching(str(self)):
            return self._filesystem.isfile(str(self))

    def is_dir(self) -> bool:
        with _reaching(str(self)):
            return self._filesystem.isdir(str(self))

    def iterdir(self) -> Iterator["RemotePath"]:
        with _reaching(str(self)):
            names = self._filesystem.ls(str(self), detail=False)
        return map(self._named, names)

    def glob(self, pattern: str) -> list["RemotePath"]:
        with _reaching(f"{self}/{pattern}"):
            return list(map(self._named, self._filesystem.glob(f"{self}/{pattern}")))

    def rglob(self, pattern: str) -> list["RemotePath"]:
        """The files below this folder whose names match `pattern`."""
        with _reaching(str(self)):
            paths = list(map(self._named, self._filesystem.find(str(self))))
        return [path for path in paths if path._path.match(pattern)]

    def _named(self, name: str) -> "RemotePath":
        """The path that the filesystem calls `name`."""
        return self._at(self._filesystem.unstrip_protocol(name))

    def open(self, mode: str = "rb") -> BinaryIO:
        with _reaching(str(self)):
            return self._filesystem.open(str(self), mode)

    def upload(self, local: Path) -> None:
        """Write the content of the local file or folder here; a file appears complete or not at all."""
        if local.is_dir():
            for file in sorted(path for path in local.rglob("*") if path.is_file()):
                (self / file.relative_to(local).as_posix()).upload(file)
            return
        with _reaching(str(self)):
            self._filesystem.put_file(str(local), str(self))

    def remove(self) -> None:
        """Delete this file, or this folder with all its files."""
        with _reaching(str(self)):
            self._filesystem.rm(str(self), recursive=True)


def matching(pattern: "Path | RemotePath") -> "list[Path | RemotePath]":
    """Return the files of a pattern, e.g. "data/**/*.parquet" or "s3://bucket/*.jsonl", sorted by name.

    Raises MissingFileError if there is none.
    """
    if isinstance(pattern, RemotePath):
        top = pattern.parents[-1]
        paths = top.glob(pattern.relative_to(top).as_posix())
    else:
        root = Path(pattern.anchor)
        paths = root.glob(str(pattern.relative_to(root)))
    if files := sorted(path for path in paths if path.is_file()):
        return files
    raise MissingFileError(f"{pattern} matches no file; check the pattern.")


def check_folder(parameter: str, path: "Path | RemotePath") -> None:
    """Raise UserError if `path` cannot be written because its folder does not exist.

    On remote storage, where folders need not exist, it is the bucket that has to.
    """
    if isinstance(path, RemotePath):
        if not any(parent.exists() for parent in path.parents):
            top = path.parents[-1] if path.parents else path
            raise UserError(f"{parameter} {path}: there is no {top}; create it first.")
    elif not path.resolve().parent.is_dir():
        raise UserError(f"{parameter} {path}: its folder does not exist; create it first.")
