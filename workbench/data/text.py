"""Read text files line by line: compressed or not, in any encoding."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from ..core.errors import UserError
from ..core.storage import RemotePath
from .rows import Rejection, excerpt

UTF_8 = "utf-8"
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # how `TextFile.lines` writes a byte that is not UTF-8 (PEP 383)


# Suffix -> function that decompresses an open file of it.
COMPRESSIONS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": lambda file: io.BufferedReader(pa.input_stream(file, compression="zstd")),
}


@contextmanager
def open_bytes(path: Path | RemotePath) -> Iterator[BinaryIO]:
    """Open a file, decompressed by its suffix, for reading bytes."""
    with path.open("rb") as file:
        decompress = COMPRESSIONS.get(path.suffix.lower(), nullcontext)
        with decompress(file) as content:
            yield content


def check_encoding(encoding: str) -> str:
    """Return Python's name of `encoding`. Raises UserError if it is not a text encoding."""
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, TypeError, ValueError):
        raise UserError(
            f"encoding={encoding!r} is no text encoding; give e.g. 'utf-8', 'latin-1' or 'utf-16'."
        ) from None


@dataclass(frozen=True)
class TextFile:
    """A text file, its name in messages, and its encoding."""

    path: Path | RemotePath
    label: str
    encoding: str = UTF_8

    def lines(self) -> Iterator[str]:
        """Yield the lines with their ends. Only a line feed ends a line, as JSON Lines specifies.

        In a UTF-8 file, a byte that is not UTF-8 costs its row only, see `bad_bytes`. Raises UserError if the
        file cannot be read or decompressed, or is not in another encoding that was named.
        """
        # "utf-8-sig" leaves out a byte order mark.
        codec, on_error = ("utf-8-sig", "surrogateescape") if self.is_utf_8 else (self.encoding, "strict")
        try:
            with (
                open_bytes(self.path) as file,
                io.TextIOWrapper(file, codec, on_error, newline="\n") as text,
            ):
                yield from text
        except UnicodeError as error:
            raise UserError(
                f"{self.label} is not {self.encoding}: {error}; give its encoding= or save it as UTF-8."
            ) from None
        except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            raise UserError(f"{self.label} cannot be read: {error}; download or write it again.") from None

    @property
    def is_utf_8(self) -> bool:
        return self.encoding == UTF_8

    def bad_bytes(self, text: str, number: int) -> Rejection | None:
        """Return the rejection of the row `text` from line `number` if it has bytes that are not UTF-8."""
        bad = _BAD_BYTE.search(text) if self.is_utf_8 and not text.isascii() else None
        if bad is None:
            return None
        reason = (
            f"byte 0x{ord(bad.group()) - 0xDC00:02x} (at character {bad.start() + 1} of the row) is not "
            f"UTF-8; give the file's encoding=, or save it as UTF-8"
        )
        return Rejection(self.label, number, reason, excerpt(text))
