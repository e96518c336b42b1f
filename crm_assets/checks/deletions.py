"""Checks of full exports: none deletes suspiciously much, and one that deletes nothing is named.

Belongs here: what a person should know of deletions by absence. Not here: what counts as deleted (`mining/truth.py`).
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from crm_assets.assets.touched import full_exports
from crm_assets.checks.conservation import SHOWN
from crm_assets.checks.rows import run_keys
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERED_FILES, EXPORT_DATE, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.lake.layout import Lake
from crm_assets.mining.deliveries import deletions as count_deletions
from crm_assets.settings import Settings
from crm_assets.sources.deliveries import Delivery
from crm_assets.sources.mapping import Source, read_sources

LARGEST_SHARE = 0.5
"""A full export that deletes a larger share of the keys is more likely cut off than right."""


@dg.asset_check(
    asset=dg.AssetKey(["quality", DELIVERED_FILES.name]),
    description="No full export deletes more than half of what its source held, or counts as none.",
)
def deletions(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.AssetCheckResult:
    """Whether deletions by absence look as they should."""
    sources = read_sources(settings.sources)
    keys = run_keys(context, DELIVERED_FILES)
    came = None if keys is None else [Delivery.of_key(key) for key in keys]
    found = [problem for table in CANONICAL.values() for problem in _problems(lake, sources, table, came)]
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(found[:SHOWN]) or None,
        metadata={"exports": len(found), "named": dg.MetadataValue.json(found[:SHOWN])},
    )


def _problems(lake: Lake, sources: dict[str, Source], table: Table, came: list[Delivery] | None) -> Iterator[str]:
    full = full_exports(lake, sources, table)
    if not full:
        return
    for delivery in came or ():
        if delivery.source in full and delivery.export_date not in full[delivery.source]:
            yield (
                f"{delivery.key}: {table.name} gave no valid row, or a file of it cannot be read, so nothing was "
                "deleted; deliver the export again if it should hold everything"
            )
    if not any(full.values()):
        return
    rows = lake.read("validated", layers.validated(table))
    if came:
        # What the full exports before these held is all that they can delete.
        first = min(delivery.export_date for delivery in came)
        before = [max((day for day in days if day < first), default=date.min) for days in full.values()]
        rows = rows.filter(rows[EXPORT_DATE.name] >= min(before))
    counted = count_deletions(rows, table, full).to_pyarrow().to_pylist()
    for row in sorted(counted, key=lambda row: (row[EXPORT_DATE.name], row[SOURCE.name])):
        delivery = Delivery(row[SOURCE.name], row[EXPORT_DATE.name])
        if row["deleted"] > LARGEST_SHARE * row["keys"] and (came is None or delivery in came):
            yield (
                f"{delivery.key}: {table.name} lacks {row['deleted']} of the {row['keys']} keys held before, which are "
                "deleted; if the export was cut off, deliver it again"
            )
