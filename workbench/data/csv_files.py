"""Read CSV and TSV files into rows."""

import csv
import sys
from collections.abc import Iterator

from ..core.errors import UserError
from .rows import Rejection, Row, excerpt
from .text import TextFile


def csv_rows(file: TextFile, delimiter: str = ",") -> Iterator[Row | Rejection]:
    """Yield one row per record, with the number of its first line; quoted fields may contain line ends."""
    # The default limit of 128 kB is less than a long response.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    # Strict: otherwise a stray quote would merge all lines up to the next quote.
    read: list[str] = []  # the lines of the current record
    records = csv.reader(_recorded(file.lines(), read), delimiter=delimiter, strict=True)
    header = _header(records, file)
    while True:
        line = records.line_num + 1
        read.clear()
        try:
            cells = next(records, None)
        except csv.Error as error:
            yield from _swallowed(read, line, file.label, str(error))
            continue
        if cells is None:
            return
        if bad := file.bad_bytes("".join(read), line):
            yield bad
        elif len(cells) > len(header):
            reason = f"the row has {len(cells)} cells, the header {len(header)}"
            yield Rejection(file.label, line, reason, excerpt(delimiter.join(cells)))
        elif cells:  # a blank line has no cells
            yield Row(line, dict(zip(header, cells, strict=False)))


def tsv_rows(file: TextFile) -> Iterator[Row | Rejection]:
    """`csv_rows` of a file whose cells are separated by tabs."""
    return csv_rows(file, delimiter="\t")


def _recorded(lines: Iterator[str], read: list[str]) -> Iterator[str]:
    """Yield `lines`, and append each to `read`."""
    for line in lines:
        read.append(line)
        yield line


def _swallowed(lines: list[str], first: int, label: str, error: str) -> Iterator[Rejection]:
    """Yield a rejection for each line of a record that is not valid CSV, e.g. of an unclosed quote."""
    for number, line in enumerate(lines, start=first):
        reason = f"not valid CSV: {error}" if number == first else f"part of the bad record at line {first}"
        if not line.isspace():
            yield Rejection(label, number, reason, excerpt(line))


def _header(records, file: TextFile) -> list[str]:
    label = file.label
    try:
        header = next(records, [])
    except csv.Error as error:
        raise UserError(f"{label}: the header line is not valid CSV: {error}; fix it.") from None
    if bad := file.bad_bytes("".join(header), 1):
        raise UserError(f"{label}, the header line: {bad.reason}.")
    if repeated := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{label} has two columns called {repeated[0]!r}; rename one.")
    return header
