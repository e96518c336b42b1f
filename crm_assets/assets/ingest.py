"""Deliveries on their way in: what landed, the rows as delivered, and each row judged.

Belongs here: assets partitioned by delivery. Not here: the days they touch
(`touched.py`), anything by event day (`clean.py`).
"""

from collections.abc import Collection, Iterator

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.policies import SINGLE_RUN, asset_key
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERED_DAYS, DELIVERED_FILES, EXPORT_DATE, LANDED_FILES, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.lake.io_manager import delivered_rows, read_partitions
from crm_assets.lake.layout import Lake
from crm_assets.partitions import deliveries
from crm_assets.settings import Settings
from crm_assets.sources.deliveries import Delivery, list_files, sha256, tables_of
from crm_assets.sources.mapping import MappingError, mapping_sha256, read_sources
from crm_assets.sources.readers import read_files, union_by_name
from crm_assets.sources.rows import judge, rejected_rows, valid_rows


@dg.asset(
    key=asset_key("quality", LANDED_FILES),
    partitions_def=deliveries,
    backfill_policy=SINGLE_RUN,
    description=LANDED_FILES.description,
)
def landed_files(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> ir.Table:
    """The files that are there before any is read.

    Of a delivery whose folder is gone, the files that were ingested stand; only its mapping is looked at anew. A file of
    tables that the run does not make, such as one that came after the run was asked for, waits for the next run.
    """
    sources = read_sources(settings.sources)
    ingested = read_partitions(lake, "quality", DELIVERED_FILES, context.partition_keys).to_pyarrow().to_pylist()
    rows = []
    for delivery in map(Delivery.of_key, context.partition_keys):
        source, folder = sources[delivery.source], delivery.folder(settings.exports)
        place = {SOURCE.name: delivery.source, EXPORT_DATE.name: delivery.export_date}
        files = [
            {
                "file": file.name,
                "bytes": file.bytes,
                "modified_ns": file.modified_ns,
                "sha256": sha256(folder / file.name),
                **place,
            }
            for file in list_files(folder)
        ] or [row for row in ingested if row.items() >= place.items()]
        mapped = mapping_sha256(source)
        for row in files:
            tables = tables_of(source, str(row["file"]), folder)
            if unmade := [table for table in tables if not _is_made(context, table)]:
                context.log.warning("%s of %s waits: the run does not make %s", row["file"], delivery.key, unmade)
                continue
            rows.append(row | {"tables": tables, "mapping_sha256": mapped})
    return ibis.memtable(rows, schema=LANDED_FILES.schema)


def _is_made(context: dg.AssetExecutionContext, table: str) -> bool:
    chosen = context.run.asset_selection
    return chosen is None or set(_assets_of_table(table)) <= chosen


def _assets_of_table(table: str) -> list[dg.AssetKey]:
    return [dg.AssetKey(key) for key in (["raw", table], ["validated", table], ["quality", f"quarantine_{table}"])]


def ingesting_assets(tables: Collection[str]) -> list[dg.AssetKey]:
    """The assets that ingest deliveries of some canonical tables."""
    recorded = [dg.AssetKey(asset_key("quality", table)) for table in (LANDED_FILES, DELIVERED_DAYS, DELIVERED_FILES)]
    return recorded + [key for table in CANONICAL if table in tables for key in _assets_of_table(table)]


def raw_asset(table: Table) -> dg.AssetsDefinition:
    """The rows delivered for a canonical table, as they are."""

    @dg.asset(
        key=["raw", table.name],
        deps=[asset_key("quality", LANDED_FILES)],
        partitions_def=deliveries,
        backfill_policy=SINGLE_RUN,
        description=f"Rows delivered for {table.name}, with the columns of the files.",
    )
    def raw(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
    ) -> dict[str, ir.Table]:
        sources = read_sources(settings.sources)
        found = {}
        for delivery in map(Delivery.of_key, context.partition_keys):
            folder = delivery.folder(settings.exports)
            names = [file.name for file in list_files(folder)]
            if not names:
                # Its files are gone: what was ingested stays, to be read by the mapping as it is now.
                rows = delivered_rows(lake, table.name, delivery.key)
            elif parts := sources[delivery.source].tables.get(table.name):
                rows = read_files(lake.engine.local.backend, folder, parts, names)
            else:
                continue
            if rows is not None:
                found[delivery.key] = rows
        return found

    return raw


def validated_asset(table: Table) -> dg.AssetsDefinition:
    """The rows of a canonical table that meet its contract, and those that do not."""

    @dg.multi_asset(
        name=f"validate_{table.name}",
        ins={"raw": dg.AssetIn(["raw", table.name])},
        outs={
            "validated": dg.AssetOut(key=["validated", table.name], description=table.description),
            "quarantine": dg.AssetOut(
                key=["quality", f"quarantine_{table.name}"],
                description=f"Rows delivered for {table.name} that were rejected, with every reason.",
            ),
        },
        partitions_def=deliveries,
        backfill_policy=SINGLE_RUN,
    )
    def validate(
        context: dg.AssetExecutionContext,
        raw: dict[str, list[ir.Table]],
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
    ) -> Iterator[dg.Output[ir.Table]]:
        sources = read_sources(settings.sources)
        for name in raw:
            if name not in sources or table.name not in sources[name].tables:
                raise MappingError(f"raw.{table.name} holds rows of {name!r}, but no mapping {name}.yaml maps them")
        if not raw:
            yield dg.Output(lake.engine.empty(layers.validated(table).schema), "validated")
            yield dg.Output(lake.engine.empty(layers.quarantine(table).schema), "quarantine")
            return
        rows = union_by_name([judge(rows, sources[name], table) for name, alike in raw.items() for rows in alike])
        yield dg.Output(valid_rows(rows), "validated")
        # Judging rows again takes less than keeping all of them, and often there is none to look for.
        written = read_partitions(lake, "validated", layers.validated(table), context.partition_keys)
        delivered = sum(rows.count().to_pyarrow().as_py() for alike in raw.values() for rows in alike)
        is_whole = written.count().to_pyarrow().as_py() == delivered
        none = lake.engine.empty(layers.quarantine(table).schema)
        yield dg.Output(none if is_whole else rejected_rows(rows, table), "quarantine")

    return validate


@dg.asset(
    key=asset_key("quality", DELIVERED_FILES),
    ins={"landed": dg.AssetIn(asset_key("quality", LANDED_FILES))},
    deps=[["quality", DELIVERED_DAYS.name], *(["validated", table.name] for table in CANONICAL.values())],
    partitions_def=deliveries,
    backfill_policy=SINGLE_RUN,
    description=DELIVERED_FILES.description,
)
def delivered_files(landed: ir.Table) -> ir.Table:
    """Every file of every delivery, with its digest and the tables it feeds, as it was before it was read.

    Written last: a delivery counts as ingested once its files stand here, so a killed run is done again, and so is one
    whose files changed while they were read.
    """
    return landed


raw_assets = [raw_asset(table) for table in CANONICAL.values()]
validated_assets = [validated_asset(table) for table in CANONICAL.values()]
