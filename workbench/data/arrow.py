"""Columns -> Arrow, so that no odd cell is lost and none stops a load."""

import json

import datasets
import pyarrow as pa

_CHUNK = 10_000  # values that are held as Python objects before they go to Arrow
# What Arrow raises for cells of several types, for whole numbers beyond 64 bits and for lone surrogates.
_NO_ONE_TYPE = (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError)


class Column:
    """One column's cells, turned into Arrow chunk by chunk: Python objects take several times the room."""

    def __init__(self, name: str, n_missing: int = 0):
        self._name = name
        self._pending: list = [None] * n_missing
        self._chunks: list[pa.Array | pa.ChunkedArray | list] = []  # a list where no one type holds a chunk

    def append(self, cell: object) -> None:
        self._pending.append(cell)
        if len(self._pending) >= _CHUNK:
            self._flush()

    def finish(self) -> pa.Array | pa.ChunkedArray:
        """All cells under one type; JSON-encoded as text where no one type holds them all."""
        self._flush()
        kinds = {None if isinstance(chunk, list) else chunk.type for chunk in self._chunks}
        if len(kinds) == 1 and None not in kinds:
            return pa.chunked_array([part for chunk in self._chunks for part in _parts(chunk)])
        # Rare: chunk by chunk no two types may meet that the whole column has in common.
        cells = [
            cell
            for chunk in self._chunks
            for cell in (chunk if isinstance(chunk, list) else chunk.to_pylist())
        ]
        found = _array(self._name, cells)
        return _as_json(cells) if isinstance(found, list) else found

    def _flush(self) -> None:
        if self._pending:
            self._chunks.append(_array(self._name, self._pending))
            self._pending = []


def _parts(found: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return found.chunks if isinstance(found, pa.ChunkedArray) else [found]


def _array(name: str, cells: list) -> pa.Array | pa.ChunkedArray | list:
    """`cells` under one Arrow type, or `cells` themselves where there is none."""
    if name == "embedding" and (vectors := _vectors(cells)) is not None:
        return vectors
    try:
        found = pa.array(cells)
    except _NO_ONE_TYPE:
        return cells
    return found if is_storable(found.type) else cells


def is_storable(kind: pa.DataType) -> bool:
    """Whether `datasets` knows the type and Parquet can write it: not so an object without keys."""
    try:
        datasets.Features.from_arrow_schema(pa.schema({"column": kind}))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        return False
    return not _has_empty_struct(kind)


def storable(table: pa.Table) -> pa.Table:
    """`table` with the columns of types that `datasets` cannot hold JSON-encoded."""
    for i, field in enumerate(table.schema):
        if not is_storable(field.type):
            table = table.set_column(i, field.name, _as_json(table[i].to_pylist()))
    return table


def _vectors(values: list) -> pa.Array | None:
    """float32[d], which is what `embed` makes and JSON forgets; None where the cells are something else."""
    try:
        return pa.array(values, pa.list_(pa.float32(), len(values[0])))
    except _NO_ONE_TYPE:
        return None


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_struct(kind.field(i).type) for i in range(kind.num_fields))


def _as_json(values: list) -> pa.Array | pa.ChunkedArray:
    """Null stays null. ASCII, because an escape holds a lone surrogate and UTF-8 does not."""
    return pa.array(
        [None if value is None else json.dumps(value, default=str) for value in values], pa.string()
    )
