"""Sensors: new exports are ingested, and what they touched is cleaned.

Belongs here: what runs when something happens. Not here: how deliveries are found (`landing.py`), what a sensor
remembers of them (`requests.py`), telling people of failures (`alerts.py`).
"""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import date

import dagster as dg

from crm_assets.automation.alerts import run_failed
from crm_assets.automation.due import due_cleaning, due_ingestion, run_key
from crm_assets.automation.jobs import clean, ingest
from crm_assets.automation.landing import (
    landed_deliveries,
    newest_ingestion_ns,
    stale_days,
)
from crm_assets.automation.requests import (
    batches,
    deliveries_in_progress,
    neighbours,
    new_run_key,
    read_cursor,
    remember,
    unfinished_runs,
    write_cursor,
)
from crm_assets.lake.layout import Lake
from crm_assets.partitions import DELIVERIES, deliveries, range_tags
from crm_assets.settings import Settings, load_settings

SHOWN = 10
"""Most deliveries that a tick names."""


@dg.sensor(job=ingest, minimum_interval_seconds=30)
def exports_landed(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.SensorResult:
    """Ingest each delivery that is new or has changed, or whose mapping has, once its files have stopped changing.

    Neighbouring deliveries are one run. A delivery that a run is ingesting waits for its end. A run that failed is not
    asked for again until the delivery changes; one of several deliveries is asked for in halves, so that none holds up
    the others. What has been ingested is read from the lake, so a lost instance ingests nothing twice.
    """
    seen, now = read_cursor(context), time.time_ns()
    waiting = {found.delivery.key: found for found in landed_deliveries(settings, lake.local) if not found.is_ingested}
    memory = {key: remember(seen, found, now) for key, found in waiting.items()}
    busy = deliveries_in_progress(context.instance)
    settled = [
        found for key, found in waiting.items() if key not in busy and memory[key].has_settled(found, now, settings)
    ]
    chosen, failed = batches(context.instance, settled, memory)
    known = list(context.instance.get_dynamic_partitions(DELIVERIES))
    ready = {found.delivery.key for batch in chosen for found in batch}
    added = [key for key in waiting if key in ready and key not in known]
    requests = []
    for batch in chosen:
        for keys in neighbours([found.delivery.key for found in batch], [*known, *added]):
            asked = new_run_key(context.instance, [waiting[key] for key in keys])
            memory |= {key: memory[key].requested(asked) for key in keys}
            requests.append(_ingestion(asked, keys, due_ingestion(settings, lake.local, keys)))
    if failed:
        context.log.warning(_failed(failed))
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[deliveries.build_add_request(added)] if added else [],
        cursor=write_cursor(memory),
        skip_reason=None if requests else dg.SkipReason(_why_not_ingested(waiting, busy, failed)),
    )


@dg.sensor(job=clean, minimum_interval_seconds=30)
def delivery_ingested(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.SensorResult:
    """Clean the days that deliveries touched since they were last cleaned.

    What was ingested and what was cleaned are compared in the lake, so days whose run was missed, or that an instance
    knew which is lost, are found as well.
    """
    if unfinished_runs(context.instance, ingest.name, clean.name):
        return dg.SensorResult(skip_reason=dg.SkipReason("deliveries are being ingested or cleaned"))
    requests = [
        dg.RunRequest(
            run_key=run_key(work, settings, lake.local),
            tags=range_tags(*work.days) if work.days else {},
            asset_selection=list(work.assets),
        )
        for work in (due_cleaning(settings, lake.local) if newest_ingestion_ns(lake) else [])
    ]
    if requests:
        return dg.SensorResult(run_requests=requests)
    stale = sorted({day for days in stale_days(lake.local).values() for day in days})
    return dg.SensorResult(skip_reason=dg.SkipReason(_why_not_cleaned(stale, settings)))


def _ingestion(run_key: str, keys: Sequence[str], assets: Sequence[dg.AssetKey]) -> dg.RunRequest:
    chosen = list(assets)
    if len(keys) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=keys[0], asset_selection=chosen)
    return dg.RunRequest(run_key=run_key, tags=range_tags(keys[0], keys[-1]), asset_selection=chosen)


def _why_not_ingested(waiting: Collection[str], busy: Collection[str], failed: Mapping[str, str]) -> str:
    if not waiting:
        return "no new exports"
    going = [key for key in waiting if key in busy]
    changing = [key for key in waiting if key not in busy and key not in failed]
    said = [_named("still changing", changing), _named("being ingested", going), _failed(failed)]
    return "; ".join(filter(None, said))


def _failed(failed: Mapping[str, str]) -> str:
    if not failed:
        return ""
    named = _named("failed", [f"{key} (run {run_id})" for key, run_id in failed.items()])
    return (
        f"{named}: read the run's error and correct the files or the mapping, which starts it again by itself; "
        "to try again as it is, re-execute the run in the UI or `crm-assets run`"
    )


def _named(what: str, keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{what}: {', '.join(keys[:SHOWN])}{more}" if keys else ""


def _why_not_cleaned(stale: Sequence[date], settings: Settings) -> str:
    if not stale:
        return "every day is clean"
    start = load_settings(settings.home).start_date
    if start != settings.start_date:
        return f"history now begins on {start}: reload the code location to see its partitions"
    return f"{len(stale)} days wait until they have ended or lie outside the workspace's: {stale[0]} to {stale[-1]}"


def all_sensors() -> list[dg.SensorDefinition]:
    """Every sensor."""
    return [exports_landed, delivery_ingested, run_failed]
