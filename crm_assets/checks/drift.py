"""Checks of what sources deliver: columns that come and go, and keys that two sources share.

Belongs here: a delivery beside the one before it, its mapping and other sources. Not here: the rows themselves
(`conservation.py`, `quarantine.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
import ibis

from crm_assets.checks.rows import chosen, is_empty, newest_key, run_keys
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERY, ERROR, FILE, FILE_SHA256, LANDED_FILES, LINE, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.contracts.registry import RAW_LAYER
from crm_assets.lake.io_manager import raw_contract, read_partitions
from crm_assets.lake.layout import Lake
from crm_assets.settings import Settings
from crm_assets.sources.deliveries import Delivery
from crm_assets.sources.expressions import absent_columns
from crm_assets.sources.mapping import Source, TableMapping, matches, nearest, read_sources

SHOWN = 20
"""Most differences or keys that a check lists."""

OWN = {FILE.name, FILE_SHA256.name, LINE.name, ERROR.name, *DELIVERY}

DRIFT = [
    dg.AssetCheckSpec(
        "schema_drift",
        asset=dg.AssetKey([RAW_LAYER, table]),
        description="A delivery has the columns of the one before it, and those that its mapping needs.",
    )
    for table in CANONICAL
]
SHARED = [
    dg.AssetCheckSpec(
        "shared_keys",
        asset=dg.AssetKey(["validated", table]),
        description="No two sources deliver the same key, unless an id_prefix tells them apart.",
    )
    for table in CANONICAL
]


@dataclass
class Drift:
    """How the deliveries of a run differ from what was expected; an error is a mapped column that is gone."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


@dg.multi_asset_check(specs=DRIFT, can_subset=True)
def schema_drift(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """Whether columns are gone, new or of another type; read off the files' footers."""
    sources = read_sources(settings.sources)
    keys = run_keys(context, LANDED_FILES)
    keys = newest_key(lake, "quality", LANDED_FILES) if keys is None else keys
    files: dict[str, list[str]] = {}
    if not is_empty(lake, "quality", LANDED_FILES, keys):
        for row in read_partitions(lake, "quality", LANDED_FILES, keys).to_pyarrow().to_pylist():
            files.setdefault(Delivery(row[DELIVERY[0]], row[DELIVERY[1]]).key, []).append(row["file"])
    for spec in chosen(context, DRIFT):
        table = spec.asset_key.path[-1]
        drift = Drift()
        written = lake.partitions(RAW_LAYER, raw_contract(table))
        for delivery in map(Delivery.of_key, keys):
            if delivery.source in sources:
                _compare(drift, lake, table, delivery, written, files.get(delivery.key, []), sources[delivery.source])
        found = [*drift.errors, *drift.warnings]
        yield dg.AssetCheckResult(
            passed=not found,
            asset_key=spec.asset_key,
            check_name=spec.name,
            severity=dg.AssetCheckSeverity.ERROR if drift.errors else dg.AssetCheckSeverity.WARN,
            description="; ".join(found[:SHOWN]) or None,
            metadata={
                "differences": dg.MetadataValue.json(found[:SHOWN]),
                "mapped columns that are absent": dg.MetadataValue.json(drift.unused[:SHOWN]),
            },
        )


@dg.multi_asset_check(specs=SHARED, can_subset=True)
def shared_keys(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """Whether the same key came from two sources, and so was taken to be the same thing."""
    for spec in chosen(context, SHARED):
        table = CANONICAL[spec.asset_key.path[-1]]
        sources = {source for source, _ in lake.partitions("validated", layers.validated(table))}
        shared = _shared(lake, table) if len(sources) > 1 else {}
        listed = [f"{' and '.join(pair)} share {count} keys" for pair, count in shared.items()]
        text = (
            f"{'; '.join(listed[:SHOWN])}: each is taken to be one thing, as its newest export says; where they are "
            "not, give the mapping of one source an id_prefix"
        )
        yield dg.AssetCheckResult(
            passed=not shared,
            asset_key=spec.asset_key,
            check_name=spec.name,
            severity=dg.AssetCheckSeverity.WARN,
            description=text if shared else None,
            metadata={"shared keys": sum(shared.values())},
        )


def _compare(
    drift: Drift,
    lake: Lake,
    table: str,
    delivery: Delivery,
    written: Sequence[tuple[str, ...]],
    files: Sequence[str],
    source: Source,
) -> None:
    now = _columns(lake, table, (delivery.source, delivery.export_date.isoformat()))
    parts = source.tables.get(table, ())
    if not now or not parts:
        return
    before, since = _columns_before(lake, table, delivery, written)
    named = ", ".join(name for name in files if any(matches(part.files, name) for part in parts))
    place = f"{delivery.key} ({named})" if named else delivery.key
    used = _used(parts, [*now, *before])
    for name, kind in before.items():
        hint = nearest(name, [column for column in now if column not in before])
        if name not in now:
            (drift.errors if name in used else drift.warnings).append(f"{place}: {name!r} of {since} is gone{hint}")
        elif now[name] != kind:
            drift.warnings.append(f"{place}: {name!r} is {now[name]}, in {since} it was {kind}")
    if before:
        drift.warnings += [f"{place}: {name!r} is new since {since}" for name in now if name not in before]
    for column, names in _absent(parts, now, CANONICAL[table], files):
        said = f"{place}: {column} reads {' or '.join(map(repr, names))}, which is absent{nearest(names[0], now)}"
        is_needed = CANONICAL[table].by_name[column].required or not before
        # What an export of this source never had, and need not have, is no news.
        (drift.warnings if is_needed and not any(name in before for name in names) else drift.unused).append(said)


def _columns(lake: Lake, table: str, partition: tuple[str, ...]) -> dict[str, str]:
    """The files' own columns of a delivery and their types, by the footer of what the lake holds."""
    from pyarrow import parquet

    path = lake.file_of(RAW_LAYER, raw_contract(table), partition)
    if not path.exists():
        return {}
    return {field.name: str(field.type) for field in parquet.read_schema(path) if field.name not in OWN}


def _columns_before(
    lake: Lake, table: str, delivery: Delivery, written: Sequence[tuple[str, ...]]
) -> tuple[dict[str, str], str]:
    """Columns of the newest earlier delivery of the source that has this table, and its export date."""
    earlier = [day for source, day in written if source == delivery.source and day < delivery.export_date.isoformat()]
    for day in sorted(earlier, reverse=True):
        if found := _columns(lake, table, (delivery.source, day)):
            return found, day
    return {}, ""


def _used(parts: Sequence[TableMapping], names: Sequence[str]) -> set[str]:
    """Those of these columns that a mapping reads."""
    read = {name for part in parts for column in part.columns.values() for name in column.columns}
    for sql in _expressions(parts):
        unknown = {name.lower() for name in absent_columns(sql, [])}
        read |= {name for name in names if name.lower() in unknown}
    return read


def _expressions(parts: Sequence[TableMapping]) -> Iterator[str]:
    for part in parts:
        yield from (column.sql for column in part.columns.values() if column.sql)
        if part.where:
            yield part.where


def _absent(
    parts: Sequence[TableMapping], now: Mapping[str, str], table: Table, files: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Canonical columns and the headers of which the delivery has none; only of parts that read one of its files."""
    for part in parts:
        if not any(matches(part.files, name) for name in files):
            continue
        for name, column in part.columns.items():
            if column.column and not any(header in now for header in column.column):
                yield name, column.column


def _shared(lake: Lake, table: Table) -> dict[tuple[str, str], int]:
    """Keys that each pair of sources both delivered."""
    rows = lake.read("validated", layers.validated(table))
    keys = rows.select(*table.key, source=rows[SOURCE.name]).distinct()
    by_key = keys.group_by(*table.key).agg(sources=keys.source.collect(), number=keys.source.count())
    several = by_key.filter(by_key.number > 1).select("sources")
    pairs = several.mutate(sources=several.sources.sort()).group_by("sources").agg(rows=ibis._.count())
    counted: dict[tuple[str, str], int] = {}
    for row in pairs.order_by("sources").to_pyarrow().to_pylist():
        names = row["sources"]
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                counted[first, second] = counted.get((first, second), 0) + row["rows"]
    return counted


drift_checks = [schema_drift, shared_keys]
