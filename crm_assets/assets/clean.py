"""Clean tables: events by day, dimensions as versions.

Belongs here: one asset per canonical table. Not here: rejecting rows (`ingest.py`).
"""

from datetime import datetime, time, timedelta

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.model import Shape, Table
from crm_assets.lake.functions import local_day
from crm_assets.lake.io_manager import ALL_PARTITIONS
from crm_assets.mining.cleaning import clean_dimension, clean_events
from crm_assets.partitions import EVERY_DELIVERY, days
from crm_assets.settings import Settings


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
    def clean(context: dg.AssetExecutionContext, validated: ir.Table, settings: dg.ResourceParam[Settings]) -> ir.Table:
        wanted = run_days(context)
        moment = validated[table.event_time]
        # A day more on both sides, whatever the time zone: the engine skips files and row groups by it.
        first = datetime.combine(wanted[0] - timedelta(days=1), time.min)
        last = datetime.combine(wanted[-1] + timedelta(days=2), time.min)
        nearby = validated.filter(moment >= first, moment < last)
        rows = nearby.mutate(day=local_day(nearby[table.event_time], settings.timezone))
        return clean_events(rows.filter(rows["day"].between(wanted[0], wanted[-1])), table)

    return clean


def clean_dimension_asset(table: Table) -> dg.AssetsDefinition:
    """Every version of each thing a dimension describes."""

    @dg.asset(
        key=["clean", table.name],
        ins={"validated": every_delivery(table)},
        description=table.description,
    )
    def clean(validated: ir.Table) -> ir.Table:
        return clean_dimension(validated, table)

    return clean


clean_assets = [
    clean_dimension_asset(table) if table.shape is Shape.DIMENSION else clean_event_asset(table)
    for table in CANONICAL.values()
]
