"""The published warehouse: one DuckDB file with a view per table, one schema per layer.

Belongs here: what people open for ad-hoc SQL. Not here: how assets read the lake (`layout.py`).

The file is rebuilt beside the old one and swapped in, so an open reader keeps the old file and never blocks a run. The
views look at the lake's folders, so new partitions show without publishing again.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERY
from crm_assets.contracts.model import Table
from crm_assets.contracts.registry import LAYERS, RAW_LAYER, UNIONS, lake_tables
from crm_assets.lake.duckdb_engine import quote_name, quote_text, sql_type
from crm_assets.lake.layout import PART, Lake

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Warehouse:
    """The DuckDB file people open.

    Attributes:
        path: The file.
        lake: The lake its views read.
    """

    path: Path
    lake: Lake

    def publish(self, tables: Iterable[tuple[str, Table]] = (), raw_tables: Iterable[str] = ()) -> None:
        """Make or renew the views of these tables; those of all tables when the file is new or the workspace moved.

        A process that was killed after it wrote a table for the first time left a view without rows, so tables whose rows
        no view reads are shown as well.

        Args:
            tables: Tables with a contract, each with its layer.
            raw_tables: Names of raw tables.
        """
        with self._next_version() as connection:
            is_complete = self._shows_this_lake(connection)
            for layer in LAYERS:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {layer}")
            asked = {(layer, contract.name): contract for layer, contract in tables}
            raw = {(RAW_LAYER, table) for table in raw_tables}
            shown = asked.keys() | raw | self._unread(connection) if is_complete else _places()
            for (layer, name), contract in {**lake_tables(), **asked}.items():
                if (layer, name) in shown:
                    self._show(connection, layer, contract)
            for table in CANONICAL:
                if (RAW_LAYER, table) in shown and self.lake.has_rows(RAW_LAYER, table):
                    connection.execute(self._raw_view(table))
            if not is_complete:
                for union, (prefix, columns) in UNIONS.items():
                    connection.execute(_union_view(connection, union, prefix, columns))

    def is_current(self) -> bool:
        """Whether the file exists and shows this lake, all of it, rather than the place it had before it was moved."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return False
        # A new version is another file, so the answer for one is asked for once.
        return _is_current(self, stat.st_ino, stat.st_mtime_ns)

    def _shows_this_lake(self, connection: "duckdb.DuckDBPyConnection") -> bool:
        query = "SELECT 1 FROM duckdb_views() WHERE contains(sql, ?) LIMIT 1"
        return connection.execute(query, [quote_text(f"{self.lake.root}/")[1:-1]]).fetchone() is not None

    def _unread(self, connection: "duckdb.DuckDBPyConnection") -> set[tuple[str, str]]:
        """Layers and names of tables that have rows, which no view reads."""
        query = "SELECT schema_name, view_name FROM duckdb_views() WHERE contains(sql, 'read_parquet(')"
        read = set(connection.execute(query).fetchall())
        return {place for place in _places() - read if self.lake.has_rows(*place)}

    def _raw_view(self, table: str) -> str:
        files = quote_text(str(self.lake.folder(RAW_LAYER, table) / "*" / "*" / PART))
        types = ", ".join(f"{name}: {dtype}" for name, dtype in zip(DELIVERY, ("VARCHAR", "DATE"), strict=True))
        return (
            f"CREATE OR REPLACE VIEW {RAW_LAYER}.{quote_name(table)} AS SELECT * FROM read_parquet("
            f"{files}, hive_partitioning = true, hive_types = {{{types}}}, union_by_name = true)"
        )

    def _show(self, connection: "duckdb.DuckDBPyConnection", layer: str, contract: Table) -> None:
        import duckdb

        names = ", ".join(map(quote_name, contract.by_name))
        view = f"CREATE OR REPLACE VIEW {layer}.{quote_name(contract.name)} AS SELECT {names} FROM"
        nothing = ", ".join(
            f"CAST(NULL AS {sql_type(column.dtype)}) AS {quote_name(column.name)}" for column in contract.columns
        )
        if not self.lake.has_rows(layer, contract.name):
            connection.execute(f"{view} (SELECT {nothing} WHERE false)")
            return
        try:
            connection.execute(f"{view} {self._files(layer, contract)}")
        except duckdb.BinderException:
            # Files of an earlier version lack columns that there are since.
            files = self._files(layer, contract, "union_by_name = true")
            connection.execute(f"{view} (FROM {files} UNION ALL BY NAME SELECT {nothing} WHERE false)")

    def _files(self, layer: str, contract: Table, *options: str) -> str:
        depth = len(contract.partition_by)
        files = quote_text(str(self.lake.folder(layer, contract.name).joinpath(*["*"] * depth, PART)))
        types = ", ".join(f"{name}: {sql_type(contract.by_name[name].dtype)}" for name in contract.partition_by)
        hive = [f"hive_types = {{{types}}}"] if depth else []
        return f"read_parquet({', '.join([files, f'hive_partitioning = {str(bool(depth)).lower()}', *hive, *options])})"

    @contextmanager
    def _next_version(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        import duckdb

        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                if self.path.exists():
                    shutil.copyfile(self.path, new)
                with duckdb.connect(str(new)) as connection:
                    yield connection
                os.replace(new, self.path)
            finally:
                for leftover in self.path.parent.glob(f"{new.name}*"):
                    leftover.unlink()


@lru_cache(maxsize=64)
def _is_current(warehouse: Warehouse, inode: int, modified_ns: int) -> bool:
    import duckdb

    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        return warehouse._shows_this_lake(connection) and not warehouse._unread(connection)


def _places() -> set[tuple[str, str]]:
    """Layer and name of every table that has a view of its own."""
    return {*lake_tables(), *((RAW_LAYER, table) for table in CANONICAL)}


def _union_view(connection: "duckdb.DuckDBPyConnection", name: str, prefix: str, columns: Mapping[str, str]) -> str:
    query = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'quality' AND starts_with(view_name, ?)"
    parts = sorted(view for (view,) in connection.execute(query, [prefix]).fetchall())
    selected = ", ".join(f"{quote_name(column)} AS {quote_name(public)}" for public, column in columns.items())
    selects = " UNION ALL ".join(f"SELECT {selected} FROM quality.{quote_name(part)}" for part in parts)
    return f"CREATE OR REPLACE VIEW quality.{quote_name(name)} AS {selects}"
