"""Every partitions definition and partition mapping.

Belongs here: how assets are cut into partitions. Not here: how partitions lie on disk (`lake/`).

The daily and monthly definitions here only say the kind; `windows` gives those of a workspace, whose first and last
day come from its settings, and `definitions.build_defs` puts them in place.
"""

import warnings
from datetime import date, timedelta

import dagster as dg

from crm_assets.settings import Settings

# Dagster announces every use of what it calls beta, once an asset; the versions are pinned.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

DELIVERIES = "deliveries"
"""Name by which the instance keeps the keys of the deliveries."""

deliveries = dg.DynamicPartitionsDefinition(name=DELIVERIES)
"""One partition per delivery, `<source>--<YYYY-MM-DD>`; added when an export is found."""

days = dg.DailyPartitionsDefinition(start_date="2000-01-01")
"""One partition per day: event days of clean tables, as_of days of features and marts."""

months = dg.MonthlyPartitionsDefinition(start_date="2000-01-01")
"""One partition per month: a model trained for month M knows only days before M."""

PARTITION = "dagster/partition"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
"""Run tags by which Dagster selects one partition or a range of them."""

EVERY_DELIVERY = dg.AllPartitionMapping()
"""A clean day is made from every delivery that holds rows of it."""

UP_TO_THE_DAY = dg.TimeWindowPartitionMapping(start_offset=-36_500, allow_nonexistent_upstream_partitions=True)
"""The state at the end of a day is made from all days up to and including it."""

_MONTHS = -360
"""Thirty years. Dagster counts them one by one each time a step asks for its inputs, so a century would cost seconds."""

BEFORE_THE_MONTH = dg.TimeWindowPartitionMapping(
    start_offset=_MONTHS, end_offset=-1, allow_nonexistent_upstream_partitions=True
)
"""What is made for a month is made from days before it."""

UP_TO_THE_MONTH = dg.TimeWindowPartitionMapping(start_offset=_MONTHS, allow_nonexistent_upstream_partitions=True)
"""A model for a month learns from everything kept for it and for earlier months."""


def range_tags(first: str | date, last: str | date) -> dict[str, str]:
    """Run tags that select a range of partitions."""
    return {RANGE_START: str(first), RANGE_END: str(last)}


def windows(settings: Settings) -> dict[dg.PartitionsDefinition, dg.PartitionsDefinition]:
    """The workspace's own definitions, by the ones they replace.

    Before anything has been ingested the first day is not known, and there is no daily partition yet.
    """
    first = settings.start_date or date.today()
    last = settings.end_date
    day_after = last + timedelta(days=1) if last else None
    month_after = (last.replace(day=1) + timedelta(days=32)).replace(day=1) if last else None
    return {
        days: dg.DailyPartitionsDefinition(
            start_date=first.isoformat(),
            end_date=day_after.isoformat() if day_after else None,
            timezone=settings.timezone,
        ),
        months: dg.MonthlyPartitionsDefinition(
            start_date=first.replace(day=1).isoformat(),
            end_date=month_after.isoformat() if month_after else None,
            end_offset=0 if last else 1,
            timezone=settings.timezone,
        ),
    }


def month_of(day: date) -> date:
    """The month whose model scores `day`: trained before the day, on months before its own."""
    return day.replace(day=1)


def last_day(settings: Settings) -> date | None:
    """The newest day that has a partition: the workspace's last, or yesterday; None before the first ingestion."""
    key = windows(settings)[days].get_last_partition_key() if settings.start_date else None
    return date.fromisoformat(key) if key else None
