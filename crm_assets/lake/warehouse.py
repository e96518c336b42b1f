"""The published warehouse: one DuckDB file with a view per table, one schema per layer.

Belongs here: what people open for ad-hoc SQL. Not here: how assets read the lake (`layout.py`).

The file is rebuilt beside the old one and swapped in, so an open reader keeps the old file and never blocks a run. The
views look at the lake's folders, so new partitions show without publishing again.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from crm_assets.contracts.layers import DELIVERY
from crm_assets.contracts.model import Table
from crm_assets.contracts.registry import RAW_LAYER, quarantine_tables
from crm_assets.lake.engine import quote_name, quote_text, sql_type
from crm_assets.lake.layout import PART, Lake


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
                if contract in quarantine_tables():
                    connection.execute(_quarantine_view(connection))

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
        if not self.path.exists():
            return False
        with duckdb.connect(str(self.path), read_only=True) as connection:
            query = "SELECT 1 FROM duckdb_views() WHERE schema_name = ? AND view_name = ?"
            return connection.execute(query, [layer, table]).fetchone() is not None

    def _view(self, layer: str, contract: Table) -> str:
        columns = ", ".join(map(quote_name, _public_order(contract)))
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
    def _next_version(self) -> Iterator[duckdb.DuckDBPyConnection]:
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


def _public_order(contract: Table) -> list[str]:
    """Columns as people meet them: what the table says first, where it came from last."""
    return [*contract.by_name]


def _quarantine_view(connection: duckdb.DuckDBPyConnection) -> str:
    rows = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE schema_name = 'quality' AND view_name LIKE 'quarantine\\_%' ESCAPE '\\'"
    ).fetchall()
    selects = " UNION ALL ".join(
        "SELECT _export_date AS export_date, table_name, reasons, raw_row, _source AS source, _file AS file, "
        f"_line AS line FROM quality.{quote_name(name)}"
        for (name,) in sorted(rows)
    )
    return f"CREATE OR REPLACE VIEW quality.quarantine AS {selects}"
