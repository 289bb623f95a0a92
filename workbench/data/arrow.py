"""Convert columns of Python objects to Arrow without losing cells of mixed or unsupported types."""

import json

import datasets
import pyarrow as pa

_CHUNK = 10_000  # cells per conversion
# Raised by Arrow for cells of several types, integers beyond 64 bits, and lone surrogates.
_NO_ONE_TYPE = (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError)


class Column:
    """The cells of one column, converted to Arrow chunk by chunk because Python objects take more memory.

    The column starts with `n_missing` nulls.
    """

    def __init__(self, name: str, n_missing: int = 0):
        self._name = name
        self._pending: list = [None] * n_missing
        # A chunk stays a list if no single type holds all its cells.
        self._chunks: list[pa.Array | pa.ChunkedArray | list] = []

    def append(self, cell: object) -> None:
        """Add a cell."""
        self._pending.append(cell)
        if len(self._pending) >= _CHUNK:
            self._flush()

    def finish(self) -> pa.Array | pa.ChunkedArray:
        """Return all cells as one type, or JSON-encoded as strings if no single type holds them all."""
        self._flush()
        kinds = {None if isinstance(chunk, list) else chunk.type for chunk in self._chunks}
        if len(kinds) == 1 and None not in kinds:
            return pa.chunked_array([part for chunk in self._chunks for part in _parts(chunk)])
        # Rare: the chunks have different types, but the whole column may have a common one.
        cells = [
            cell
            for chunk in self._chunks
            for cell in (chunk if isinstance(chunk, list) else chunk.to_pylist())
        ]
        column = _array(self._name, cells)
        return _as_json(cells) if isinstance(column, list) else column

    def _flush(self) -> None:
        if self._pending:
            self._chunks.append(_array(self._name, self._pending))
            self._pending = []


def _parts(chunk: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return chunk.chunks if isinstance(chunk, pa.ChunkedArray) else [chunk]


def _array(name: str, cells: list) -> pa.Array | pa.ChunkedArray | list:
    """Return `cells` as an Arrow array, or unchanged if no single type holds them."""
    if name == "embedding" and (vectors := _vectors(cells)) is not None:
        return vectors
    try:
        column = pa.array(cells)
    except _NO_ONE_TYPE:
        return cells
    return column if is_storable(column.type) else cells


def is_storable(kind: pa.DataType) -> bool:
    """Return whether `datasets` supports the type and Parquet can store it; not so an empty struct."""
    try:
        datasets.Features.from_arrow_schema(pa.schema({"column": kind}))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        return False
    return not _has_empty_struct(kind)


def storable(table: pa.Table) -> pa.Table:
    """Return `table` with all columns that are not `is_storable` JSON-encoded."""
    for i, field in enumerate(table.schema):
        if not is_storable(field.type):
            table = table.set_column(i, field.name, _as_json(table[i].to_pylist()))
    return table


def _vectors(values: list) -> pa.Array | None:
    """Return the cells as fixed-size lists of float32, a type that JSON files lose; None for other cells."""
    try:
        return pa.array(values, pa.list_(pa.float32(), len(values[0])))
    except _NO_ONE_TYPE:
        return None


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_struct(kind.field(i).type) for i in range(kind.num_fields))


def _as_json(values: list) -> pa.Array | pa.ChunkedArray:
    """Encode each cell as JSON; null stays null. In ASCII, because UTF-8 has no lone surrogates."""
    return pa.array(
        [None if value is None else json.dumps(value, default=str) for value in values], pa.string()
    )
