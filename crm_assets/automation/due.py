"""What is due: which assets of which partitions are to be made, in as few runs as pay.

Belongs here: assets and days of the runs of `ingest` and `clean`. Not here: comparing the exports with the lake
(`landing.py`), starting runs (`sensors.py`, `runs.py`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from crm_assets.assets.identity import persons_made_with
from crm_assets.assets.ingest import ingesting_assets
from crm_assets.automation.landing import (
    day_ranges,
    modified_ns,
    newest_ingestion_ns,
    rows_of_days,
    stale_days,
    stale_dimensions,
    tables_of_deliveries,
)
from crm_assets.contracts.registry import contract_of
from crm_assets.lake.layout import Lake
from crm_assets.partitions import last_day
from crm_assets.settings import Settings

JOINED_ROWS = 50_000
"""Rows that are cleaned again without need where that saves a run: they take as long."""

JOINED_DAYS = 100
"""Partitions that are written again without need where that saves a run."""

NEAR = 4
"""Runs before, in the order of their first days, that a span may be joined with."""

Span = tuple[date, date]
RowsOfDays = Mapping[str, Mapping[date, int]]


@dataclass(frozen=True)
class Work:
    """What one run makes.

    Attributes:
        assets: Which assets.
        days: First and last day; None for assets without partitions.
    """

    assets: tuple[dg.AssetKey, ...]
    days: Span | None


def due_ingestion(settings: Settings, lake: Lake, keys: Sequence[str]) -> list[dg.AssetKey]:
    """The assets that ingest some deliveries: those of the tables that these feed, or fed before."""
    return ingesting_assets(tables_of_deliveries(settings, lake, keys))


def due_cleaning(settings: Settings, lake: Lake) -> list[Work]:
    """The runs that make the clean tables and profiles of what deliveries touched since they were last made.

    Days that have not ended wait. Days between are made again where that costs less than one more run.
    """
    first, last = settings.start_date, last_day(settings)
    spans: dict[Span, set[str]] = {}
    for table, days in stale_days(lake).items():
        for span in day_ranges(day for day in days if first and last and first <= day <= last):
            spans.setdefault(span, set()).add(table)
    due = joined(spans, rows_of_days(lake)) if spans else []
    work = [Work(tuple(_assets_of(tables)), span) for span, tables in due]
    whole = tuple(map(dg.AssetKey, stale_dimensions(settings, lake)))
    if not whole:
        return work
    # Assets without partitions go with the first range.
    return [Work((*whole, *work[0].assets), work[0].days), *work[1:]] if work else [Work(whole, None)]


def _assets_of(tables: Iterable[str]) -> list[dg.AssetKey]:
    names = sorted(tables)
    profiles = [["profile", "customer_days"]] if "transactions" in names else []
    return [dg.AssetKey(key) for key in (*(["clean", name] for name in names), *profiles)]


def run_key(work: Work, settings: Settings, lake: Lake) -> str:
    """A key for the run of some work, which is new once there is something new to make it from or a part of it was made.

    A run that failed on its data is therefore not asked for again as it is, and one that was killed on its way is.
    """
    state: list[object] = [newest_ingestion_ns(lake), persons_made_with(settings)]
    state += [modified_ns(path) for path in (settings.identity_pairs, settings.identity_truth)]
    for layer, name in (key.path for key in work.assets if key.path[0] != "models"):
        made = lake.written_ns(layer, contract_of(layer, name))
        state.append(sorted((part, at) for part, at in made.items() if not part or _within(work.days, part[0])))
    name = ":".join(map(str, work.days or ["dimensions"]))
    return f"{name}:{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}"


def _within(span: Span | None, day: str) -> bool:
    return span is not None and str(span[0]) <= day <= str(span[1])


def joined(spans: Mapping[Span, set[str]], rows: RowsOfDays) -> list[tuple[Span, set[str]]]:
    """Spans of days with the tables to make, joined with the one before where a run costs more than what lies between.

    Args:
        spans: Tables by the days to make of them.
        rows: Rows of each table and day.
    """
    found: list[tuple[Span, set[str]]] = []
    for span, tables in sorted(spans.items()):
        for place in range(len(found) - 1, max(-1, len(found) - 1 - NEAR), -1):
            before, others = found[place]
            both, together = (before[0], max(before[1], span[1])), others | tables
            costs = (_cost(*work, rows) for work in ((both, together), (before, others), (span, tables)))
            more_rows, more_days = (now - then - also for now, then, also in zip(*costs, strict=True))
            if more_rows <= JOINED_ROWS and more_days <= JOINED_DAYS:
                found[place] = both, together
                break
        else:
            found.append((span, tables))
    return found


def _cost(span: Span, tables: Iterable[str], rows: RowsOfDays) -> tuple[int, int]:
    """Rows and partitions of some tables in a span of days."""
    names = list(tables)
    days = [span[0] + timedelta(days=number) for number in range((span[1] - span[0]).days + 1)]
    return sum(rows.get(name, {}).get(day, 0) for name in names for day in days), len(names) * len(days)
