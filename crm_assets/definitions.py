"""The code location: everything assembled for one workspace.

Belongs here: putting assets, checks, jobs, schedules, sensors and resources together, and the policies all of them
share. Not here: any decision or computation.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from crm_assets.assets import (
    behaviour,
    clean,
    clusters,
    diagnosis,
    drift,
    features,
    forecast,
    identity,
    ingest,
    lifecycle,
    marts,
    models,
    offers,
    profile,
    propensity,
    purchases,
    quality,
    recommendations,
    response,
    retention,
    segment_marts,
    segments,
    subscriptions,
    touched,
    value,
)
from crm_assets.automation.history import HISTORY
from crm_assets.automation.jobs import all_jobs
from crm_assets.automation.schedules import all_schedules
from crm_assets.automation.sensors import all_sensors
from crm_assets.checks import all_checks
from crm_assets.contracts.registry import lake_tables
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.engine import Engine
from crm_assets.lake.io_manager import LakeIOManager, table_schema
from crm_assets.lake.layout import STAGING, Lake
from crm_assets.lake.models import JsonModelIOManager, ModelIOManager
from crm_assets.lake.spark_engine import SparkEngine
from crm_assets.lake.warehouse import Warehouse
from crm_assets.partitions import windows
from crm_assets.settings import Settings, load_settings

OWNER = "team:crm"
LOCAL_LAYERS = ("raw", "validated")
"""Made by DuckDB in the driver, whatever the engine, since mappings are in its dialect."""

MARTS_ARE_FRESH_BY = dg.FreshnessPolicy.cron(deadline_cron="0 8 * * *", lower_bound_delta=timedelta(hours=8))
"""The daily refresh runs at 05:00; by 08:00 it has been missed."""


def build_defs(settings: Settings | None = None, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Definitions for one workspace; the app, the command line and the tests all use this.

    Args:
        settings: The workspace; by default the one at `$CRM_HOME` or `./data`.
        resource_overrides: Resources to use instead of the built-in ones, by name.
    """
    settings = settings or load_settings()
    return dg.Definitions(
        assets=[_with_policies(asset, settings) for asset in all_assets()],
        asset_checks=all_checks(),
        jobs=all_jobs(),
        schedules=all_schedules(settings),
        sensors=all_sensors(),
        resources={**resources(settings), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


def all_assets() -> list[dg.AssetsDefinition]:
    """Every asset, in the order data flows."""
    return [
        ingest.landed_files,
        ingest.delivered_files,
        *ingest.raw_assets,
        *ingest.validated_assets,
        touched.delivered_days,
        *clean.clean_assets,
        *profile.profile_assets,
        *identity.identity_assets,
        *features.feature_assets,
        *models.model_assets,
        *clusters.cluster_assets,
        *segments.segment_model_assets,
        *marts.mart_assets,
        *lifecycle.lifecycle_assets,
        *value.value_assets,
        *retention.retention_assets,
        *subscriptions.subscription_assets,
        *purchases.purchase_assets,
        *behaviour.behaviour_assets,
        *diagnosis.diagnosis_assets,
        *segment_marts.segment_mart_assets,
        *recommendations.recommendation_assets,
        *forecast.forecast_assets,
        *response.response_assets,
        *propensity.propensity_assets,
        *offers.offer_assets,
        *quality.quality_assets,
        *drift.drift_assets,
    ]


def resources(settings: Settings) -> dict[str, Any]:
    """The resources of a workspace."""
    lake = lake_of(settings)
    return {
        "settings": settings,
        "lake": lake,
        "io_manager": LakeIOManager(lake, warehouse_of(settings)),
        "model_io_manager": ModelIOManager(settings.models),
        "json_model_io_manager": JsonModelIOManager(settings.models),
        "warehouse": DuckDBResource(
            database=str(settings.warehouse),
            connection_config={"access_mode": "READ_ONLY", "memory_limit": settings.memory_limit},
        ),
    }


def lake_of(settings: Settings) -> Lake:
    """The lake of a workspace with its engine."""
    return Lake(settings.lake, engine_of(settings))


def engine_of(settings: Settings) -> Engine:
    """The engine of a workspace; nothing is started before it is asked for rows."""
    duckdb = DuckDBEngine(settings.memory_limit, settings.threads, str(settings.spill))
    if settings.engine == "duckdb":
        return duckdb
    conf = tuple(sorted(settings.spark_conf.items()))
    return SparkEngine(settings.spark_remote, conf, settings.lake / STAGING, duckdb)


def warehouse_of(settings: Settings) -> Warehouse:
    """The published warehouse of a workspace."""
    return Warehouse(settings.warehouse, lake_of(settings))


def _freshness(key: dg.AssetKey, settings: Settings) -> dg.FreshnessPolicy:
    """By when a mart has been missed."""
    days = settings.history_refresh_days
    if key in HISTORY and days > 1:
        return dg.FreshnessPolicy.time_window(fail_window=timedelta(days=days, hours=3))
    return MARTS_ARE_FRESH_BY


def _with_policies(asset: dg.AssetsDefinition, settings: Settings) -> dg.AssetsDefinition:
    own_windows = windows(settings)

    def with_policies(spec: dg.AssetSpec) -> dg.AssetSpec:
        layer, name = spec.key.path
        contract = lake_tables().get((layer, name))
        engine = "duckdb" if layer in LOCAL_LAYERS else settings.engine
        kinds = {"skops", "python"} if layer == "models" and contract is None else {engine, "parquet"}
        if spec.key == identity.MODEL:
            kinds = {"json", "python"}
        return spec.replace_attributes(
            group_name=layer,
            owners=[OWNER],
            kinds=kinds,
            partitions_def=own_windows.get(spec.partitions_def, spec.partitions_def) if spec.partitions_def else None,
            freshness_policy=_freshness(spec.key, settings) if layer == "marts" else None,
        ).merge_attributes(metadata={"dagster/column_schema": table_schema(contract)} if contract else {})

    return asset.map_asset_specs(with_policies)
