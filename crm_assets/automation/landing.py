"""What has landed and not been ingested, and the days an ingested delivery touched.

Belongs here: comparing the exports folder with the lake. Not here: starting runs (`sensors.py`, `runs.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from pathlib import Path

from crm_assets.assets.identity import IDENTITY_ASSETS, persons_made_with
from crm_assets.contracts.canonical import CANONICAL, CUSTOMERS
from crm_assets.contracts.layers import DELIVERED_DAYS, DELIVERED_FILES, EXPORT_DATE, SOURCE
from crm_assets.contracts.model import Shape, Table
from crm_assets.contracts.registry import contract_of
from crm_assets.lake.io_manager import read_partitions
from crm_assets.lake.layout import Lake
from crm_assets.settings import Settings
from crm_assets.sources.deliveries import Delivery, ExportFile, find_deliveries, fingerprint, list_files, tables_of
from crm_assets.sources.mapping import mapping_sha256, read_sources

DIMENSIONS = [name for name, table in CANONICAL.items() if table.shape is Shape.DIMENSION]


@dataclass(frozen=True)
class Landed:
    """A delivery in the exports folder, or one that was there and whose mapping has changed since.

    Attributes:
        delivery: Which one.
        fingerprint: Of its files and of its source's mapping as they are now.
        newest_ns: When one of its files last changed, nanoseconds since 1970; 0 when they are gone.
        is_ingested: The lake holds exactly these files, read by this mapping.
    """

    delivery: Delivery
    fingerprint: str
    newest_ns: int
    is_ingested: bool


def landed_deliveries(settings: Settings, lake: Lake) -> list[Landed]:
    """Every delivery with files in the exports folder, and those whose files are gone, oldest export first.

    What was ingested of a delivery whose files are gone stays, and is read anew when its mapping changes.
    """
    sources = read_sources(settings.sources)
    ingested = _ingested(lake)
    found = []
    folders = set(find_deliveries(settings.exports, sources))
    for delivery in {*folders, *(known for known in ingested if known.source in sources)}:
        files = list_files(delivery.folder(settings.exports)) if delivery in folders else []
        now = _fingerprint(files or ingested.get(delivery, _NOTHING).files, mapping_sha256(sources[delivery.source]))
        if files or delivery in ingested:
            newest = max((file.modified_ns for file in files), default=0)
            before = ingested.get(delivery)
            is_ingested = before is not None and now == _fingerprint(before.files, before.mapping)
            found.append(Landed(delivery, now, newest, is_ingested))
    return sorted(found, key=lambda landed: (landed.delivery.export_date, landed.delivery.source))


@dataclass(frozen=True)
class _Ingested:
    """A delivery as it was ingested."""

    files: Sequence[ExportFile]
    mapping: str


_NOTHING = _Ingested((), "")


def _fingerprint(files: Sequence[ExportFile], mapping: str) -> str:
    return f"{fingerprint(files)}.{mapping[:8]}"


def _ingested(lake: Lake) -> dict[Delivery, _Ingested]:
    """The files of each delivery as they were ingested, by name, and the mapping they were read by."""
    files: dict[Delivery, list[ExportFile]] = {}
    mappings: dict[Delivery, str] = {}
    for row in lake.read("quality", DELIVERED_FILES).to_pyarrow().to_pylist():
        delivery = Delivery(row[SOURCE.name], row[EXPORT_DATE.name])
        files.setdefault(delivery, []).append(ExportFile(row["file"], row["bytes"], row["modified_ns"]))
        mappings[delivery] = row["mapping_sha256"]
    return {
        delivery: _Ingested(sorted(found, key=lambda file: file.name), mappings[delivery])
        for delivery, found in files.items()
    }


def touched_days(lake: Lake, keys: Sequence[str] | None = None) -> dict[str, list[date]]:
    """Event days by table that deliveries, given by their partition keys, touched; those of all when None."""
    rows = read_partitions(lake, "quality", DELIVERED_DAYS, keys).select("table_name", "day").distinct()
    found: dict[str, list[date]] = {}
    for row in rows.to_pyarrow().to_pylist():
        found.setdefault(row["table_name"], []).append(row["day"])
    return {table: sorted(days) for table, days in found.items()}


def stale_days(lake: Lake) -> dict[str, list[date]]:
    """Days, by event table, that some delivery touched after they were last cleaned, or that never were."""
    delivered = lake.written_ns("quality", DELIVERED_DAYS)
    rows = lake.read("quality", DELIVERED_DAYS).to_pyarrow().to_pylist()
    stale: dict[str, set[date]] = {}
    cleaned = {
        name: lake.written_ns("clean", contract_of("clean", name)) for name in {row["table_name"] for row in rows}
    }
    profiles = lake.written_ns("profile", contract_of("profile", "customer_days"))
    for row in rows:
        table, day = row["table_name"], row["day"]
        partition = (day.isoformat(),)
        touched = delivered[row[SOURCE.name], row[EXPORT_DATE.name].isoformat()]
        made = cleaned[table].get(partition, 0)
        if table == "transactions":
            made = min(made, profiles.get(partition, 0))
        if made < touched:
            stale.setdefault(table, set()).add(day)
    return {table: sorted(days) for table, days in stale.items()}


def stale_dimensions(settings: Settings, lake: Lake) -> list[list[str]]:
    """Keys of the assets made of dimensions alone that are older than what they are made of, or than what people decided."""
    stale = [name for name in DIMENSIONS if _is_stale_dimension(lake, name)]
    persons = [["profile", "customers_current"], *IDENTITY_ASSETS]
    # A run may have been killed between the customers and the persons.
    cleaned = lake.written_ns("clean", contract_of("clean", CUSTOMERS.name)).get((), -1)
    made = [lake.written_ns(*place).get((), -1) for place in _tables_of(persons)]
    if CUSTOMERS.name not in stale and min(made) >= cleaned:
        persons = IDENTITY_ASSETS if stale_identity(settings, lake) else []
    return [*(["clean", name] for name in stale), *persons]


def _tables_of(keys: Iterable[Sequence[str]]) -> list[tuple[str, Table]]:
    """Layer and contract of those of some assets that are tables of the lake."""
    return [(layer, contract_of(layer, name)) for layer, name in keys if layer != "models"]


def _is_stale_dimension(lake: Lake, name: str) -> bool:
    delivered = lake.written_ns("validated", contract_of("validated", name)).values()
    return max(delivered, default=0) > lake.written_ns("clean", contract_of("clean", name)).get((), -1)


def stale_identity(settings: Settings, lake: Lake) -> bool:
    """Whether people decided on pairs or labelled persons, or a setting changed, after persons were last found."""
    members = contract_of("profile", "identity_members")
    found = lake.written_ns("profile", members).get((), -1)
    if any(modified_ns(path) > found for path in (settings.identity_pairs, settings.identity_truth)):
        return True
    return found >= 0 and lake.note("profile", members) != persons_made_with(settings)


def modified_ns(path: Path) -> int:
    """When a file was last changed, nanoseconds since 1970; -1 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else -1


def rows_of_days(lake: Lake) -> dict[str, dict[date, int]]:
    """Validated rows by event table and day, of all deliveries."""
    rows = lake.read("quality", DELIVERED_DAYS)
    counted = rows.group_by("table_name", "day").aggregate(rows=rows["rows"].sum())
    found: dict[str, dict[date, int]] = {}
    for row in counted.to_pyarrow().to_pylist():
        found.setdefault(row["table_name"], {})[row["day"]] = row["rows"]
    return found


def tables_of_deliveries(settings: Settings, lake: Lake, keys: Sequence[str]) -> set[str]:
    """Canonical tables that deliveries, given by their partition keys, feed as they are now or fed when ingested."""
    sources = read_sources(settings.sources)
    known = read_partitions(lake, "quality", DELIVERED_FILES, keys).to_pyarrow().to_pylist()
    found = {table for row in known for table in row["tables"]}
    for delivery in map(Delivery.of_key, keys):
        folder, source = delivery.folder(settings.exports), sources[delivery.source]
        names = {file.name for file in list_files(folder)} or {
            row["file"] for row in known if (row[SOURCE.name], row[EXPORT_DATE.name]) == astuple(delivery)
        }
        found |= {table for name in names for table in tables_of(source, name, folder)}
    return found


def newest_ingestion_ns(lake: Lake) -> int:
    """When a delivery was last ingested, nanoseconds since 1970; 0 for never."""
    return max(lake.written_ns("quality", DELIVERED_DAYS).values(), default=0)


def day_ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """The fewest ranges of consecutive days that hold exactly these days."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if ranges and ranges[-1][1] + timedelta(days=1) == day:
            ranges[-1] = ranges[-1][0], day
        else:
            ranges.append((day, day))
    return ranges
