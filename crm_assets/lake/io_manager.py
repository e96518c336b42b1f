"""Dagster's way into the lake: assets get lazy tables and give tables back.

Belongs here: which partitions an asset reads and writes, and what the UI shows of them. Not here: files (`layout.py`).
"""

import time
from collections.abc import Mapping, Sequence, Sized
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import DELIVERY, EXPORT_DATE, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.contracts.registry import RAW_LAYER, contract_of
from crm_assets.lake.layout import PART, Lake, Partition, Written
from crm_assets.lake.lineage import column_lineage
from crm_assets.lake.warehouse import Warehouse

PREVIEW_ROWS = 5
PREVIEW_COLUMNS = 12
LINEAGE_PARTITIONS = 31
"""Dagster stores the metadata of a run once for each partition, so wide ranges go without lineage and preview."""

ALL_PARTITIONS = "all partitions in the lake"
"""Metadata of an input that is read whole, whatever partitions the instance knows."""

MADE_WITH = "made with"
"""Metadata of an output that is kept with its rows in the lake: settings that make it stale when they change."""

DELIVERY_SEPARATOR = "--"

DELIVERED_LAYERS = (RAW_LAYER, "validated", "quality")
"""Layers that say when something came; tables of the others say what they were made from, so they bear another time."""


class LakeIOManager(dg.IOManager):
    """Reads and writes assets whose key is `[layer, table]`.

    An input annotated `ir.Table` is lazy, `pd.DataFrame` and `pa.Table` are fetched. Outputs may be any of the three,
    and are cast to the table's contract. Raw tables have the columns of the files: an asset gives them as a dict by
    partition key, and gets them as a dict by source of tables with the same columns.
    """

    def __init__(self, lake: Lake, warehouse: Warehouse) -> None:
        self.lake = lake
        self.warehouse = warehouse
        self._began: tuple[object, int] | None = None

    def load_input(self, context: dg.InputContext) -> Any:
        """The rows of the upstream partitions that the run needs."""
        import pandas as pd
        import pyarrow as pa

        self._began_ns(context, context.step_context.run_id)
        layer, name = context.asset_key.path
        everything = not context.has_asset_partitions or ALL_PARTITIONS in (context.definition_metadata or {})
        keys = None if everything else context.asset_partition_keys
        wanted = context.dagster_type.typing_type
        if layer == RAW_LAYER:
            return read_raw(self.lake, name, None if keys is None else list(map(split_delivery, keys)))
        table = read_partitions(self.lake, layer, contract_of(layer, name), keys)
        if wanted is pd.DataFrame:
            return table.to_pandas()
        if wanted is pa.Table:
            return table.to_pyarrow()
        return table

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replace the run's partitions by the rows the asset gave."""
        layer, name = context.asset_key.path
        keys = context.asset_partition_keys if context.has_asset_partitions else None
        if layer == RAW_LAYER:
            written = self._write_raw(name, obj, keys or [])
        else:
            contract = contract_of(layer, name)
            table = obj if isinstance(obj, ir.Table) else ibis.memtable(obj, schema=_given_schema(obj, contract))
            note = context.output_metadata.get(MADE_WITH)
            text = str(note.value) if note else None
            # What is delivered while an asset is made must find it older, whether it was read or not.
            made_ns = None if layer in DELIVERED_LAYERS else self._began_ns(context, context.run_id)
            written = self.lake.write(layer, contract, table, _partitions(contract, keys), text, made_ns)
            if written.created or not self.warehouse.is_current():
                self.warehouse.publish([(layer, contract)])
        metadata: dict[str, Any] = {
            "dagster/row_count": written.rows,
            "bytes": written.bytes,
            "partitions written": len(written.files),
        }
        if keys is None or len(keys) <= LINEAGE_PARTITIONS:
            if isinstance(obj, ir.Table):
                metadata |= _lineage(obj)
            metadata |= _preview(written)
        context.add_output_metadata(metadata)

    def _began_ns(self, context: dg.InputContext | dg.OutputContext, run_id: str) -> int:
        """When the step began to read what it needs, nanoseconds since 1970."""
        step = run_id, context.op_def.name
        if self._began is None or self._began[0] != step:
            self._began = step, time.time_ns()
        return self._began[1]

    def _write_raw(self, name: str, tables: Mapping[str, ir.Table], keys: Sequence[str]) -> Written:
        parts = []
        for key in keys:
            source, day = split_delivery(key)
            given = tables.get(key)
            if given is None and (before := delivered_rows(self.lake, name, key)) is not None:
                # The delivery's file was taken away: its columns stay, its rows do not.
                given = before.limit(0)
            if given is None:
                parts.append(self.lake.write(RAW_LAYER, raw_contract(name), None, [(source, day)]))
            else:
                parts.append(self.lake.write_as_is(RAW_LAYER, raw_contract(name), given, (source, day)))
        if any(part.files for part in parts):
            # Columns may have come or gone.
            self.warehouse.publish(raw_tables=[name])
        return Written(
            sum(part.rows for part in parts),
            sum(part.bytes for part in parts),
            tuple(path for part in parts for path in part.files),
            any(part.created for part in parts),
        )


def read_partitions(lake: Lake, layer: str, contract: Table, keys: Sequence[str] | None) -> ir.Table:
    """The rows of some partitions of a table, given by their keys; all of them when `keys` is None."""
    table = lake.read(layer, contract)
    if keys is None or not contract.partition_by:
        return table
    if not keys:
        return table.limit(0)
    if contract.partition_by == DELIVERY:
        return _of_deliveries(table, list(map(split_delivery, keys)))
    day = table[contract.partition_by[0]]
    # Partitions of time always come as one range.
    return table.filter(day.between(date.fromisoformat(min(keys)), date.fromisoformat(max(keys))))


def read_raw(lake: Lake, name: str, deliveries: Sequence[Partition] | None) -> dict[str, list[ir.Table]]:
    """The raw rows of some deliveries by source, in tables of those with the same columns; all of them when None.

    They are read in this process. Deliveries with other columns or types stay apart, so that what a row says does not depend on which it is read with.
    """
    from pyarrow import parquet

    found = {}
    types = {SOURCE.name: SOURCE.dtype, EXPORT_DATE.name: EXPORT_DATE.dtype}
    for folder in sorted((lake.folder(RAW_LAYER, name)).glob(f"{SOURCE.name}=*")):
        source = folder.name.split("=", 1)[1]
        days = [day for name, day in deliveries if name == source] if deliveries is not None else ["*"]
        alike: dict[str, list[str]] = {}
        for path in sorted(path for day in days for path in folder.glob(f"{EXPORT_DATE.name}={day}/{PART}")):
            alike.setdefault(str(parquet.read_schema(path).remove_metadata()), []).append(str(path))
        if alike:
            scan = partial(lake.engine.local.scan, partition_types=types, name=f"{RAW_LAYER}__{name}__")
            found[source] = list(map(scan, alike.values()))
    return found


def delivered_rows(lake: Lake, name: str, key: str) -> ir.Table | None:
    """The raw rows of one delivery that the lake holds, without the columns of the folder names; None for none."""
    file = lake.file_of(RAW_LAYER, raw_contract(name), split_delivery(key))
    return lake.engine.local.scan(str(file), {}) if file.exists() else None


def split_delivery(key: str) -> Partition:
    """Source and export date of a delivery's partition key."""
    source, _, day = key.rpartition(DELIVERY_SEPARATOR)
    return source, day


def _partitions(contract: Table, keys: Sequence[str] | None) -> list[Partition]:
    if keys is None:
        return [()]
    return [split_delivery(key) if contract.partition_by == DELIVERY else (key,) for key in keys]


def _of_deliveries(table: ir.Table, deliveries: Sequence[Partition]) -> ir.Table:
    conditions = [
        (table[SOURCE.name] == source)
        & table[EXPORT_DATE.name].isin([date.fromisoformat(day) for name, day in deliveries if name == source])
        for source in sorted({source for source, _ in deliveries})
    ]
    return table.filter(ibis.or_(*conditions))


def raw_contract(name: str) -> Table:
    """Of a raw table only the name and the partition columns are known; the others are the files'."""
    return Table(name, "Rows as delivered.", (SOURCE, EXPORT_DATE), key=(), partition_by=DELIVERY)


def _given_schema(rows: Sized, contract: Table) -> Any:
    """The contract's types for columns that say nothing of their own, such as those of an empty frame."""
    return contract.schema if len(rows) == 0 else None


def _lineage(table: ir.Table) -> dict[str, Any]:
    deps = {
        column: [
            dg.TableColumnDep(asset_key=dg.AssetKey(name.split("__")[:2]), column_name=origin)
            for name, origin in origins
            if name.count("__") >= 2
        ]
        for column, origins in column_lineage(table).items()
    }
    known = {column: found for column, found in deps.items() if found}
    return {"dagster/column_lineage": dg.TableColumnLineage(known)} if known else {}


def _preview(written: Written) -> dict[str, Any]:
    from pyarrow import parquet

    path = next(iter(reversed(written.files)), None)
    if path is None:
        return {}
    batches = parquet.ParquetFile(path).iter_batches(PREVIEW_ROWS)
    rows = next(batches, None)
    if rows is None:
        return {}
    frame = rows.to_pandas().iloc[:, :PREVIEW_COLUMNS]
    return {"preview": dg.MetadataValue.md(frame.to_markdown(index=False))}


def table_schema(contract: Table) -> dg.TableSchema:
    """The contract as Dagster shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.dtype,
                column.description,
                dg.TableColumnConstraints(nullable=not column.required, unique=contract.key == (column.name,)),
                tags={"personal": ""} if column.personal else {},
            )
            for column in contract.columns
        ]
    )
