"""What runs queries: the few things the lake asks of an engine, whichever it is.

Belongs here: the interface. Not here: any statement of an engine (`duckdb_engine.py`, `spark_engine.py`), or where tables
lie (`layout.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.operations as ops
import ibis.expr.schema as sch
import ibis.expr.types as ir

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from ibis.backends.sql import SQLBackend

    from crm_assets.lake.duckdb_engine import DuckDBEngine

COMPRESSION, COMPRESSION_LEVEL = "zstd", 1
"""Level 3, the usual one, takes a sixth more of the time of a write and makes files 2% smaller."""

BATCH_ROWS = 25_000
"""Rows of a batch; a row of features takes about a kilobyte."""

NOTE = "crm_assets"
"""Key of the note in a file's metadata."""


class EngineError(RuntimeError):
    """The engine cannot be used as it is set; the message says what to do."""


class Engine(ABC):
    """Reads Parquet files as lazy tables, and writes lazy tables into Parquet files."""

    @property
    @abstractmethod
    def backend(self) -> "SQLBackend":
        """The process-wide Ibis connection: lazy inputs and outputs of an asset must share it."""

    @property
    @abstractmethod
    def local(self) -> "DuckDBEngine":
        """DuckDB in this process, whatever the engine: it reads exports and judges their rows."""

    @abstractmethod
    def scan(
        self,
        files: str | Sequence[str],
        partition_types: Mapping[str, str],
        columns: Sequence[str] | None = None,
        name: str = "scan",
    ) -> ir.Table:
        """A lazy table over Parquet files whose folders are named `column=value`.

        Args:
            files: A glob, or paths; at least one file must exist.
            partition_types: Ibis types of the columns in the folder names.
            columns: Columns to read, in order; default all.
            name: Prefix of the view's name in the engine, by which lineage knows the table.
        """

    @abstractmethod
    def held(self, table: ir.Table) -> AbstractContextManager[ir.Table]:
        """The rows of a lazy table, computed once and kept in the engine inside the `with` block."""

    @contextmanager
    def holding(self) -> Iterator[Callable[[ir.Table], ir.Table]]:
        """A function that holds tables as `held` does, all of them until the end of the `with` block."""
        with ExitStack() as kept:
            yield lambda table: kept.enter_context(self.held(table))

    @abstractmethod
    def scratch(self) -> "AbstractContextManager[DuckDBPyConnection]":
        """A connection to an empty DuckDB database in this process, for libraries that make tables of their own."""

    @abstractmethod
    def write_file(self, table: ir.Table, path: Path, order_by: Sequence[str], note: str | None = None) -> None:
        """Write a lazy table into one Parquet file, with a note in the file's metadata if there is one."""

    @abstractmethod
    def write_partitions(
        self, table: ir.Table, folder: Path, partition_by: Sequence[str], order_by: Sequence[str]
    ) -> None:
        """Write a lazy table into `folder`, a subfolder per value of `partition_by` with one or more files each."""

    @abstractmethod
    def _batches(self, table: ir.Table) -> "Iterator[pa.RecordBatch]":
        """The rows in their order, in batches of any size, without ever holding all of them."""

    def batches(self, table: ir.Table, rows: int = BATCH_ROWS) -> "Iterator[pa.Table]":
        """The rows of a lazy table in their order, `rows` at a time, without ever holding all of them.

        The engine may be asked for other things in between.
        """
        import pyarrow as pa

        some: list[pa.RecordBatch] = []
        count = 0
        for batch in self._batches(table):
            some.append(batch)
            count += len(batch)
            while count >= rows:
                together = pa.Table.from_batches(some)
                yield together.slice(0, rows)
                some = together.slice(rows).to_batches()
                count -= rows
        if count:
            yield pa.Table.from_batches(some)

    def empty(self, schema: sch.Schema) -> ir.Table:
        """A lazy table with no rows."""
        row = {name: ibis.null(dtype) for name, dtype in schema.items()}
        return ibis.memtable([{"_": 0}], schema={"_": "int64"}).select(**row).limit(0)

    def owner(self, table: ir.Table) -> "Engine":
        """Which engine computes a lazy table: the local one where its rows are in this process already."""
        named = table.op().find((ops.DatabaseTable, ops.SQLQueryResult))
        return self if any(node.source is self.backend for node in named) else self.local


def note_of(path: Path) -> str | None:
    """The note in a Parquet file's metadata; None where there is none."""
    from pyarrow import parquet

    found = (parquet.read_metadata(path).metadata or {}).get(NOTE.encode())
    return found.decode() if found is not None else None
