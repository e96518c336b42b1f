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
from pathlib import Path
from typing import TYPE_CHECKING

from crm_assets.contracts.layers import DELIVERY
from crm_assets.contracts.model import Table
from crm_assets.contracts.registry import RAW_LAYER, UNIONS
from crm_assets.lake.engine import quote_name, quote_text, sql_type
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

    def publish(self, tables: Iterable[tuple[str, Table]]) -> None:
        """Make or renew the views of these tables, each given with its layer."""
        with self._next_version() as connection:
            for layer, contract in tables:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {layer}")
                connection.execute(self._view(layer, contract))
                for union, (prefix, columns) in UNIONS.items():
                    if layer == "quality" and contract.name.startswith(prefix):
                        connection.execute(_union_view(connection, union, prefix, columns))

    def publish_raw(self, table: str) -> None:
        """Make or renew the view of a raw table: the columns of all sources' files, absent ones null."""
        if not self.lake.has_rows(RAW_LAYER, table):
            return
        files = quote_text(str(self.lake.folder(RAW_LAYER, table) / "*" / "*" / PART))
        types = ", ".join(f"{name}: {dtype}" for name, dtype in zip(DELIVERY, ("VARCHAR", "DATE"), strict=True))
        with self._next_version() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {RAW_LAYER}")
            connection.execute(
                f"CREATE OR REPLACE VIEW {RAW_LAYER}.{quote_name(table)} AS SELECT * FROM read_parquet("
                f"{files}, hive_partitioning = true, hive_types = {{{types}}}, union_by_name = true)"
            )

    def has_table(self, layer: str, table: str) -> bool:
        """Whether the published file shows a table."""
        import duckdb

        if not self.path.exists():
            return False
        with duckdb.connect(str(self.path), read_only=True) as connection:
            query = "SELECT 1 FROM duckdb_views() WHERE schema_name = ? AND view_name = ?"
            return connection.execute(query, [layer, table]).fetchone() is not None

    def _view(self, layer: str, contract: Table) -> str:
        columns = ", ".join(map(quote_name, contract.by_name))
        if self.lake.has_rows(layer, contract.name):
            depth = len(contract.partition_by)
            files = quote_text(str(self.lake.folder(layer, contract.name).joinpath(*["*"] * depth, PART)))
            types = ", ".join(f"{name}: {sql_type(contract.by_name[name].dtype)}" for name in contract.partition_by)
            hive = f", hive_types = {{{types}}}" if depth else ""
            source = f"read_parquet({files}, hive_partitioning = {str(bool(depth)).lower()}{hive})"
        else:
            nothing = ", ".join(
                f"CAST(NULL AS {sql_type(column.dtype)}) AS {quote_name(column.name)}" for column in contract.columns
            )
            source = f"(SELECT {nothing} WHERE false)"
        return f"CREATE OR REPLACE VIEW {layer}.{quote_name(contract.name)} AS SELECT {columns} FROM {source}"

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


def _union_view(connection: "duckdb.DuckDBPyConnection", name: str, prefix: str, columns: Mapping[str, str]) -> str:
    query = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'quality' AND starts_with(view_name, ?)"
    parts = sorted(view for (view,) in connection.execute(query, [prefix]).fetchall())
    selected = ", ".join(f"{quote_name(column)} AS {quote_name(public)}" for public, column in columns.items())
    selects = " UNION ALL ".join(f"SELECT {selected} FROM quality.{quote_name(part)}" for part in parts)
    return f"CREATE OR REPLACE VIEW quality.{quote_name(name)} AS {selects}"
