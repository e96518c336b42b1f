"""Sensors: new exports are ingested, and what they touched is cleaned.

Belongs here: what runs when something happens. Not here: how deliveries are found (`landing.py`).
"""

import json
import time
from collections.abc import Mapping

import dagster as dg

from crm_assets.automation.jobs import clean, ingest
from crm_assets.automation.landing import Landed, day_ranges, landed_deliveries, touched_days
from crm_assets.lake.layout import Lake
from crm_assets.partitions import DELIVERIES, PARTITION, RANGE_END, RANGE_START, deliveries, range_tags
from crm_assets.settings import Settings, load_settings


@dg.sensor(job=ingest, minimum_interval_seconds=30)
def exports_landed(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.SensorResult:
    """Ingest each delivery that is new or has changed, once its files have stopped changing.

    A delivery is complete when its files are the same as at the last look and none changed within
    `export_settle_seconds`. What has been ingested is read from the lake, so a lost instance ingests nothing twice.
    """
    seen = json.loads(context.cursor or "{}")
    landed = landed_deliveries(settings, lake)
    waiting = [found for found in landed if not found.is_ingested]
    ready = [found for found in waiting if _has_settled(found, seen, settings.export_settle_seconds)]
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{found.delivery.key}:{found.fingerprint}", partition_key=found.delivery.key)
            for found in ready
        ],
        dynamic_partitions_requests=[deliveries.build_add_request([found.delivery.key for found in ready])]
        if ready
        else [],
        cursor=json.dumps({found.delivery.key: found.fingerprint for found in waiting}),
        skip_reason=None if ready else dg.SkipReason(_nothing_ready(waiting)),
    )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS, monitored_jobs=[ingest], request_job=clean, minimum_interval_seconds=30
)
def delivery_ingested(
    context: dg.RunStatusSensorContext, lake: dg.ResourceParam[Lake], settings: dg.ResourceParam[Settings]
) -> dg.SensorResult:
    """Clean exactly the days that an ingested delivery touched."""
    touched = touched_days(lake, _delivery_keys(context.dagster_run.tags, context.instance))
    days = {day for found in touched.values() for day in found}
    now = load_settings(settings.home)
    if now.start_date != settings.start_date:
        context.log.info(f"history now begins on {now.start_date}: reload the code location to see its partitions")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{context.dagster_run.run_id}:{first}", tags=range_tags(first, last))
            for first, last in day_ranges(days)
        ]
    )


def _delivery_keys(tags: Mapping[str, str], instance: dg.DagsterInstance) -> list[str]:
    """Partition keys of an ingestion, of one delivery or of a range of them."""
    if PARTITION in tags:
        return [tags[PARTITION]]
    order = list(instance.get_dynamic_partitions(DELIVERIES))
    if RANGE_START not in tags or tags[RANGE_START] not in order:
        return order
    return order[order.index(tags[RANGE_START]) : order.index(tags[RANGE_END]) + 1]


def _has_settled(found: Landed, seen: dict[str, str], settle_seconds: int) -> bool:
    unchanged = seen.get(found.delivery.key) == found.fingerprint
    return unchanged and time.time_ns() - found.newest_ns >= settle_seconds * 1_000_000_000


def _nothing_ready(waiting: list[Landed]) -> str:
    if not waiting:
        return "no new exports"
    return f"still changing: {', '.join(found.delivery.key for found in waiting)}"


def all_sensors() -> list[dg.SensorDefinition]:
    """Every sensor."""
    return [exports_landed, delivery_ingested]
