"""The days that deliveries touch, and the full exports that tell what was deleted.

Belongs here: `quality/delivered_days`, and which exports are full. Not here: which rows are true (`mining/truth.py`), the
clean tables (`clean.py`).
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.policies import SINGLE_RUN, asset_key
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERED_DAYS, DELIVERY, EXPORT_DATE, FILE, LINE, SOURCE
from crm_assets.contracts.model import Shape, Table
from crm_assets.contracts.registry import contract_of
from crm_assets.lake.functions import local_day
from crm_assets.lake.io_manager import read_partitions
from crm_assets.lake.layout import Lake
from crm_assets.mining import deliveries as touching
from crm_assets.mining.truth import FullExports
from crm_assets.partitions import deliveries
from crm_assets.settings import Settings, extend_history
from crm_assets.sources.deliveries import Delivery
from crm_assets.sources.mapping import Source, part_of, read_sources

EVENT_TABLES = [table for table in CANONICAL.values() if table.shape is Shape.EVENT]

WHOLE_FILE = 0
"""Line of a row that stands for a file which could not be read."""


@dg.asset(
    key=asset_key("quality", DELIVERED_DAYS),
    ins={table.name: dg.AssetIn(["validated", table.name]) for table in EVENT_TABLES},
    partitions_def=deliveries,
    backfill_policy=SINGLE_RUN,
    description=DELIVERED_DAYS.description,
)
def delivered_days(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
    **validated: ir.Table,
) -> ir.Table:
    """Event days each delivery touched; the earliest becomes the workspace's first day."""
    came = list(map(Delivery.of_key, context.partition_keys))
    before = read_partitions(lake, "quality", DELIVERED_DAYS, context.partition_keys).to_pyarrow().to_pylist()
    sources = read_sources(settings.sources)
    found: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    deleted: list[dict[str, Any]] = []
    held = {row["table_name"] for row in before}
    for table in EVENT_TABLES:
        if table.name not in held and not lake.has_rows("validated", table.name):
            continue
        rows, everything = (
            given.mutate(day=local_day(given[table.event_time], settings.timezone))
            for given in (validated[table.name], lake.read("validated", layers.validated(table)))
        )
        counted = touching.delivered_days(rows, table, settings.late_window_days)
        found += (now := _listed(counted, table))
        with lake.engine.holding() as hold:
            pairs += _listed(touching.shared_days(rows, everything, table, hold) if now else None, table)
        full = full_exports(lake, sources, table)
        held_by = {Delivery(row[SOURCE.name], row[EXPORT_DATE.name]) for row in before if _held(row, table)}
        changed = {
            source: {
                here.export_date
                for here in came
                if here.source == source and (here.export_date in days or here in held_by)
            }
            for source, days in full.items()
        }
        deleted += _listed(touching.deleted_days(everything, table, full, changed), table)
    if found:
        extend_history(settings.home, min(row["day"] for row in found))
    shared = _sharing(lake) if before or deleted else []
    touched = list(touching.touched_days(found, pairs, deleted, before, shared))
    return ibis.memtable(touched, schema=DELIVERED_DAYS.schema)


def full_exports(lake: Lake, sources: Mapping[str, Source], table: Table) -> FullExports:
    """By source that says `deleted: by_absence` for a table, the exports from which a missing key counts as deleted.

    Such an export gave at least one valid row out of the files that are said to hold everything, and none of its files
    was unreadable; an empty or broken one deletes nothing.
    """
    complete = {
        name: source.tables[table.name]
        for name, source in sources.items()
        if table.name in source.tables and any(part.deleted for part in source.tables[table.name])
    }
    if not complete:
        return {}
    validated = lake.read("validated", layers.validated(table))
    files = validated.filter(validated[SOURCE.name].isin(list(complete))).select(*DELIVERY, FILE.name).distinct()
    rejected = lake.read("quality", contract_of("quality", layers.quarantine(table).name))
    broken = rejected.filter(rejected[LINE.name] == WHOLE_FILE).select(*DELIVERY).distinct()
    unreadable = {tuple(row.values()) for row in broken.to_pyarrow().to_pylist()}
    found: dict[str, set[date]] = {name: set() for name in complete}
    for source, export_date, file in (row.values() for row in files.to_pyarrow().to_pylist()):
        part = part_of(complete[source], file)
        if part and part.deleted and (source, export_date) not in unreadable:
            found[source].add(export_date)
    return {source: sorted(days) for source, days in found.items()}


def _listed(rows: ir.Table | None, table: Table) -> list[dict[str, Any]]:
    found = rows.to_pyarrow().to_pylist() if rows is not None else []
    return [row | {"table_name": table.name} for row in found]


def _held(row: Mapping[str, Any], table: Table) -> bool:
    return row["table_name"] == table.name and row["rows"] > 0


def _sharing(lake: Lake) -> list[dict[str, Any]]:
    recorded = lake.read("quality", DELIVERED_DAYS)
    found: list[dict[str, Any]] = recorded.filter(recorded["shared_days"].length() > 0).to_pyarrow().to_pylist()
    return found
