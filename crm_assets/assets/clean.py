"""Clean tables: events by day, dimensions as versions.

Belongs here: one asset per canonical table. Not here: rejecting rows (`ingest.py`).
"""

from collections.abc import Iterator

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.touched import full_exports
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.model import Shape, Table
from crm_assets.lake.functions import local_day
from crm_assets.lake.io_manager import ALL_PARTITIONS
from crm_assets.lake.layout import Lake
from crm_assets.mining.cleaning import clean_dimension, clean_events
from crm_assets.partitions import EVERY_DELIVERY, days
from crm_assets.settings import Settings
from crm_assets.sources.mapping import read_sources


def every_delivery(table: Table) -> dg.AssetIn:
    """The validated rows of all deliveries in the lake, also of those an instance made anew does not know."""
    return dg.AssetIn(["validated", table.name], partition_mapping=EVERY_DELIVERY, metadata={ALL_PARTITIONS: True})


def clean_event_asset(table: Table) -> dg.AssetsDefinition:
    """The clean rows of an event table, made anew for each day from every delivery that holds rows of it."""

    @dg.asset(
        key=["clean", table.name],
        ins={"validated": every_delivery(table)},
        partitions_def=days,
        backfill_policy=SINGLE_RUN,
        description=table.description,
    )
    def clean(
        context: dg.AssetExecutionContext,
        validated: ir.Table,
        settings: dg.ResourceParam[Settings],
        lake: dg.ResourceParam[Lake],
    ) -> Iterator[dg.Output[ir.Table]]:
        wanted = run_days(context)
        rows = validated.mutate(day=local_day(validated[table.event_time], settings.timezone))
        full = full_exports(lake, read_sources(settings.sources), table)
        with lake.engine.holding() as hold:
            yield dg.Output(clean_events(rows, table, wanted[0], wanted[-1], full, hold))

    return clean


def clean_dimension_asset(table: Table) -> dg.AssetsDefinition:
    """Every version of each thing a dimension describes."""

    @dg.asset(
        key=["clean", table.name],
        ins={"validated": every_delivery(table)},
        description=table.description,
    )
    def clean(validated: ir.Table, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]) -> ir.Table:
        return clean_dimension(validated, table, full_exports(lake, read_sources(settings.sources), table))

    return clean


clean_assets = [
    clean_dimension_asset(table) if table.shape is Shape.DIMENSION else clean_event_asset(table)
    for table in CANONICAL.values()
]
