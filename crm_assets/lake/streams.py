"""Rows that come from outside the lake, as lazy tables of the engine.

Belongs here: handing streams of Arrow batches and Parquet files to the engine. Not here: what files hold (`sources/`).
"""

import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir
from ibis.util import gen_name

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend

ROWS_A_GROUP = 122_880
BYTES_A_GROUP = 64 << 20

_FORGOTTEN: list[str] = []
"""Streams that nothing refers to any more."""

_STREAMS: "weakref.WeakValueDictionary[str, Stream]" = weakref.WeakValueDictionary()


class Stream:
    """Rows that are made anew, batch by batch, each time they are read.

    Args:
        schema: Their columns.
        batches: Makes them.
    """

    def __init__(self, schema: "pa.Schema", batches: Callable[[], "Iterator[pa.RecordBatch]"]) -> None:
        self._schema = schema
        self._batches = batches

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows, as Arrow's stream interface gives them."""
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def write(self, path: Path) -> None:
        """Write the rows into one Parquet file; Arrow takes a third of the engine's time, and as little memory."""
        from pyarrow import parquet

        numbers = [field.name for field in self._schema if str(field.type).startswith("int")]
        with parquet.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            use_dictionary=[field.name for field in self._schema if field.name not in numbers],
            column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
            store_schema=False,
        ) as writer:
            for group in self._groups():
                writer.write_table(group, row_group_size=len(group))

    def _groups(self) -> "Iterator[pa.Table]":
        """The rows in tables of about `ROWS_A_GROUP`, the next batch being made while the last is used."""
        import pyarrow as pa

        some: list[pa.RecordBatch] = []
        rows = size = 0
        batches = self._batches()
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = ahead.submit(next, batches, None)
                some.append(batch)
                rows, size = rows + len(batch), size + batch.nbytes
                if rows >= ROWS_A_GROUP or size >= BYTES_A_GROUP:
                    yield pa.Table.from_batches(some)
                    some, rows, size = [], 0, 0
        if some:
            yield pa.Table.from_batches(some)


def stream_table(backend: "Backend", stream: Stream) -> ir.Table:
    """A lazy table over a stream; its order is the stream's."""
    while _FORGOTTEN:
        backend.con.unregister(_FORGOTTEN.pop())
    name = gen_name("stream")
    _STREAMS[name] = stream
    backend.con.register(name, stream)
    table = backend.table(name)
    # A finalizer may run amid a query, which must not wait for itself.
    weakref.finalize(table.op(), _FORGOTTEN.append, name)
    return table


def stream_of(table: ir.Table) -> Stream | None:
    """The stream that a lazy table is, where nothing was done to it."""
    return _STREAMS.get(getattr(table.op(), "name", ""))


def parquet_table(backend: "Backend", path: Path, place: str) -> ir.Table:
    """A lazy table over one Parquet file, with the place of each row in it, from 0, as column `place`.

    Raises:
        duckdb.Error: It cannot be read to its end.
    """
    escaped = str(path).replace("'", "''")
    source = f"read_parquet('{escaped}', file_row_number = true, hive_partitioning = false)"
    # A damaged page shows only when it is read.
    backend.con.execute(f"SELECT count(COLUMNS(*)) FROM {source}").fetchall()
    return backend.sql(f'SELECT * RENAME (file_row_number AS "{place}") FROM {source}')


def spill_folder(backend: "Backend") -> Path:
    """Where the engine puts what does not fit in memory."""
    row = backend.con.execute("SELECT current_setting('temp_directory')").fetchone()
    return Path(str(row[0])) if row else Path()
