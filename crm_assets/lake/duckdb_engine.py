"""DuckDB behind Ibis, one connection for the whole process.

Belongs here: DuckDB's own statements. Not here: where tables lie (`layout.py`) or what they hold.
"""

import functools
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
from ibis.util import gen_name

from crm_assets.lake.engine import BATCH_ROWS, COMPRESSION, COMPRESSION_LEVEL, NOTE, Engine
from crm_assets.lake.processes import folder_of_this_process

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from ibis.backends.duckdb import Backend


WRITTEN = {"compression": COMPRESSION, "compression_level": COMPRESSION_LEVEL}


@dataclass(frozen=True)
class DuckDBEngine(Engine):
    """DuckDB in this process.

    Attributes:
        memory_limit: Such as ``2GB``; what does not fit spills into `spill`.
        threads: Threads of one query.
        spill: Folder for what does not fit in memory, in a folder for each process.
    """

    memory_limit: str
    threads: int
    spill: str

    @property
    def backend(self) -> "Backend":
        """The process-wide Ibis connection."""
        return _connect(self)

    @property
    def local(self) -> "DuckDBEngine":
        """This engine."""
        return self

    def scan(
        self,
        files: str | Sequence[str],
        partition_types: Mapping[str, str],
        columns: Sequence[str] | None = None,
        name: str = "scan",
    ) -> ir.Table:
        """A lazy table over Parquet files whose folders are named `column=value`."""
        types = {column: sql_type(dtype) for column, dtype in partition_types.items()}
        hive = ", ".join(f"{quote_name(column)}: {dtype}" for column, dtype in types.items())
        options = f", hive_partitioning = true, hive_types = {{{hive}}}" if types else ", hive_partitioning = false"
        selected = ", ".join(map(quote_name, columns)) if columns else "*"
        view = f"{name}{uuid.uuid4().hex}"
        source = f"read_parquet({_text_list(files)}{options})"
        self.backend.con.execute(f"CREATE TEMP VIEW {quote_name(view)} AS SELECT {selected} FROM {source}")
        return self.backend.table(view)

    @contextmanager
    def held(self, table: ir.Table) -> Iterator[ir.Table]:
        """The rows of a lazy table, computed once and kept in the engine inside the `with` block."""
        name = gen_name("held")
        try:
            yield self.backend.create_table(name, table, temp=True)
        finally:
            self.backend.drop_table(name, force=True)

    @contextmanager
    def scratch(self) -> "Iterator[DuckDBPyConnection]":
        """A connection to an empty database in the same engine, for libraries that make tables of their own."""
        name, cursor = quote_name(gen_name("scratch")), self.backend.con.cursor()
        try:
            cursor.execute(f"ATTACH ':memory:' AS {name}")
            cursor.execute(f"USE {name}")
            yield cursor
        finally:
            cursor.execute("USE memory")
            cursor.execute(f"DETACH DATABASE IF EXISTS {name}")
            cursor.close()

    def write_file(self, table: ir.Table, path: Path, order_by: Sequence[str], note: str | None = None) -> None:
        """Write a lazy table into one Parquet file, with a note in the file's metadata if there is one."""
        more = {} if note is None else {"kv_metadata": _Verbatim(f"{{{quote_text(NOTE)}: {quote_text(note)}}}")}
        self.backend.to_parquet(table.order_by(*order_by) if order_by else table, path, **WRITTEN, **more)

    def write_partitions(
        self, table: ir.Table, folder: Path, partition_by: Sequence[str], order_by: Sequence[str]
    ) -> None:
        """Write a lazy table into `folder`, a subfolder per value of `partition_by` with one or more files each."""
        ordered = table.order_by(*partition_by, *order_by)
        by = partition_by[0] if len(partition_by) == 1 else tuple(partition_by)
        self.backend.to_parquet(ordered, folder, **WRITTEN, partition_by=by)

    def _batches(self, table: ir.Table) -> "Iterator[pa.RecordBatch]":
        from pyarrow import parquet

        # DuckDB's own stream of rows ends without an error at the next query of the connection.
        path = folder_of_this_process(Path(self.spill)) / f"batches-{uuid.uuid4().hex}.parquet"
        try:
            self.backend.to_parquet(table, path, compression="lz4_raw")
            with parquet.ParquetFile(path) as file:
                yield from file.iter_batches(BATCH_ROWS)
        finally:
            path.unlink(missing_ok=True)


class _Verbatim(str):
    """Text that stands as it is in a statement, which Ibis otherwise writes as a Python literal."""

    def __repr__(self) -> str:
        return str(self)


@functools.cache
def _connect(engine: DuckDBEngine) -> "Backend":
    import duckdb

    # The engine names its files alike in every process, so a folder that two share would mix them up.
    spill = tempfile.mkdtemp(dir=folder_of_this_process(Path(engine.spill)))
    connection = duckdb.connect(
        config={
            "memory_limit": engine.memory_limit,
            "threads": engine.threads,
            "temp_directory": spill,
            # Partitions are replaced under the same name, so cached file contents would go stale.
            "enable_external_file_cache": "false",
            # What is not in the lake or the exports is not fetched from anywhere.
            "autoinstall_known_extensions": "false",
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return ibis.duckdb.from_connection(connection)


def quote_name(identifier: str) -> str:
    """An identifier, quoted."""
    return '"' + identifier.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_type(dtype: str) -> str:
    """The engine's name of an Ibis type."""
    from ibis.backends.sql.datatypes import DuckDBType

    return DuckDBType.to_string(dt.dtype(dtype))


def _text_list(values: str | Sequence[str]) -> str:
    return f"[{', '.join(map(quote_text, [values] if isinstance(values, str) else values))}]"
