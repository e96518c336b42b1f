"""Checks of deliveries: no row is lost, and what needs a person's eye is named.

Belongs here: checks over rows delivered, validated and rejected. Not here: what a valid row is (`contracts/`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.checks.rows import chosen, is_empty, run_keys
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERED_DAYS, DELIVERED_FILES, DELIVERY, FILE
from crm_assets.contracts.model import Shape, Table
from crm_assets.contracts.registry import lake_tables
from crm_assets.lake.io_manager import read_partitions, read_raw
from crm_assets.lake.layout import Lake
from crm_assets.sources.deliveries import Delivery

BY_FILE = (*DELIVERY, FILE.name)
SHOWN = 20
"""Most files, days or reasons that a check lists."""

CONSERVED = [
    dg.AssetCheckSpec(
        "conservation",
        asset=dg.AssetKey(["validated", table]),
        description="Rows delivered = rows validated + rows quarantined, in every file.",
        blocking=True,
    )
    for table in CANONICAL
]


@dg.multi_asset_check(specs=CONSERVED, can_subset=True)
def conservation(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """Whether each row delivered for a table was either validated or rejected."""
    for spec in chosen(context, CONSERVED):
        yield _conservation(lake, CANONICAL[spec.asset_key.path[-1]], run_keys(context, DELIVERED_DAYS))


def _conservation(lake: Lake, table: Table, keys: Sequence[str] | None) -> dg.AssetCheckResult:
    places = [(found.source, found.export_date.isoformat()) for found in map(Delivery.of_key, keys or [])]
    raw = read_raw(lake, table.name, None if keys is None else places)
    delivered = _rows_by_file(chain.from_iterable(raw.values()))
    validated = _rows_of(lake, "validated", layers.validated(table), keys)
    rejected = _rows_of(lake, "quality", layers.quarantine(table), keys)
    wrong = {
        place: f"{'/'.join(map(str, place))}: {delivered[place]} delivered, "
        f"{validated[place]} validated, {rejected[place]} quarantined"
        for place in sorted({*delivered, *validated, *rejected})
        if delivered[place] != validated[place] + rejected[place]
    }
    listed = list(wrong.values())[:SHOWN]
    return dg.AssetCheckResult(
        passed=not wrong,
        asset_key=dg.AssetKey(["validated", table.name]),
        check_name="conservation",
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(wrong)} files do not add up: {'; '.join(listed)}" if wrong else None,
        metadata={
            "delivered": delivered.total(),
            "validated": validated.total(),
            "quarantined": rejected.total(),
            "files that do not add up": dg.MetadataValue.json(listed),
        },
    )


@dg.asset_check(
    asset=dg.AssetKey(["quality", DELIVERED_DAYS.name]),
    description="No row came, or was taken away, so late that features and marts had already been made of its day.",
)
def late_rows(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Whether rows came or went after what they belong in was made."""
    rows = read_partitions(lake, "quality", DELIVERED_DAYS, run_keys(context, DELIVERED_DAYS))
    # Days that only lose rows, since a later export moved, corrected or deleted them, change as late as the export.
    found = rows.filter((rows.late_rows > 0) | (rows.rows == 0)).order_by("day", "table_name").to_pyarrow().to_pylist()
    written = lake.written_ns("quality", DELIVERED_DAYS)
    made = _snapshots(lake) if found else {}
    stale = {
        f"{table} {day}"
        for row in found
        for (table, day), made_ns in made.items()
        # Snapshots of the row's day and later days that were made before it came.
        if day >= row["day"].isoformat() and made_ns < written[row[DELIVERY[0]], row[DELIVERY[1]].isoformat()]
    }
    listed = [
        f"{row['table_name']} {row['day']}: "
        + (f"{row['late_rows']} of {row['rows']} rows" if row["rows"] else "rows taken away")
        for row in found
    ]
    text = f"late rows from {found[0]['day']} on: {'; '.join(listed[:SHOWN])}. " if found else ""
    if stale:
        text += f"Features and marts from {found[0]['day']} on are stale: make them again ({len(stale)} partitions)"
    elif found:
        text += "Nothing had been made of these days yet"
    return dg.AssetCheckResult(
        passed=not stale,
        severity=dg.AssetCheckSeverity.WARN,
        description=text or None,
        metadata={
            "late rows": sum(row["late_rows"] for row in found),
            "late days": dg.MetadataValue.json(listed[:SHOWN]),
            "stale": dg.MetadataValue.json(sorted(stale)[:SHOWN]),
        },
    )


@dg.asset_check(
    asset=dg.AssetKey(["quality", DELIVERED_FILES.name]), description="Every delivered file feeds some table."
)
def unmapped_files(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Whether a file was delivered that no mapping reads."""
    rows = read_partitions(lake, "quality", DELIVERED_FILES, run_keys(context, DELIVERED_FILES))
    unmapped = rows.filter(rows.tables.length() == 0).order_by(*DELIVERY, "file").to_pyarrow().to_pylist()
    names = [f"{row[DELIVERY[0]]}/{row[DELIVERY[1]]}/{row['file']}" for row in unmapped]
    text = f"{len(names)} files feed no table: {', '.join(names[:SHOWN])}; add them to the source's mapping"
    return dg.AssetCheckResult(
        passed=not names,
        severity=dg.AssetCheckSeverity.WARN,
        description=text if names else None,
        metadata={"files": len(names), "names": dg.MetadataValue.json(names[:SHOWN])},
    )


def _rows_of(lake: Lake, layer: str, contract: Table, keys: Sequence[str] | None) -> Counter[tuple[str, ...]]:
    return (
        Counter()
        if is_empty(lake, layer, contract, keys)
        else _rows_by_file([read_partitions(lake, layer, contract, keys)])
    )


def _rows_by_file(tables: Iterable[ir.Table]) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for table in tables:
        for row in table.group_by(*BY_FILE).agg(rows=ibis._.count()).to_pyarrow().to_pylist():
            counts[tuple(str(row[name]) for name in BY_FILE)] += row["rows"]
    return counts


def _snapshots(lake: Lake) -> dict[tuple[str, str], int]:
    """When each day of features and marts was made, nanoseconds since 1970, by table and day."""
    return {
        (f"{layer}.{name}", part[0]): made_ns
        for (layer, name), contract in lake_tables().items()
        if layer in ("features", "marts") and contract.shape is Shape.SNAPSHOT and len(contract.partition_by) == 1
        for part, made_ns in lake.written_ns(layer, contract).items()
    }


conservation_checks = [conservation, late_rows, unmapped_files]
