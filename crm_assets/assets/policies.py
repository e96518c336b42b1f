"""What all assets share: keys, backfills and how an asset learns its day.

Belongs here: small helpers of asset modules. Not here: owners, groups and freshness, which `definitions.py` applies once.
"""

from datetime import date

import dagster as dg

from crm_assets.contracts.model import Table

SINGLE_RUN = dg.BackfillPolicy.single_run()
"""A range of partitions is one run and one query, not one run a day."""


def asset_key(layer: str, table: Table) -> list[str]:
    """The asset key of a table: its layer and its name."""
    return [layer, table.name]


def run_days(context: dg.AssetExecutionContext) -> list[date]:
    """The days of the run's partitions, in order: one, or all of a range."""
    return sorted(map(date.fromisoformat, context.partition_keys))
