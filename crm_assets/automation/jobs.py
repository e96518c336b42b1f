"""Jobs: which assets run together.

Belongs here: asset selections. Not here: when they run (`schedules.py`, `sensors.py`).
"""

from typing import Any

import dagster as dg
from dagster import AssetSelection

from crm_assets.contracts.canonical import CANONICAL

MAKES_INGESTED = {"crm/ingest": "true"}
MAKES_CLEAN = {"crm/clean": "true"}
MAKES_MODELS = {"crm/train": "true"}
MAKES_SCORES = {"crm/score": "true"}
"""Run tags of the groups of assets a job makes, by which the run queue of a team's instance limits them."""

INGEST = AssetSelection.groups("raw", "validated") | AssetSelection.assets(
    ["quality", "landed_files"],
    ["quality", "delivered_files"],
    ["quality", "delivered_days"],
    *[["quality", f"quarantine_{table}"] for table in CANONICAL],
)
IDENTITY = AssetSelection.assets(["models", "identity_model"], ["quality", "identity"])
CLEAN = AssetSelection.groups("clean", "profile") | IDENTITY
TRAIN = (AssetSelection.groups("models") - IDENTITY) | AssetSelection.assets(
    ["features", "training_features"],
    ["quality", "leaderboard_churn"],
    ["quality", "leaderboard_customer_value"],
    ["quality", "leaderboard_subscription_churn"],
    ["quality", "leaderboard_purchases"],
    ["quality", "segment_stability"],
    ["quality", "segment_migration"],
    ["quality", "leaderboard_recommendations"],
    ["quality", "leaderboard_forecast"],
    ["quality", "leaderboard_response"],
)
SCORE = AssetSelection.groups("marts") | AssetSelection.assets(
    ["features", "customer_features"],
    ["quality", "churn_performance"],
    ["quality", "lifecycle_transitions"],
    ["quality", "drift"],
)

ingest = dg.define_asset_job(
    "ingest", INGEST, tags=MAKES_INGESTED, description="Deliveries to validated rows and quarantine."
)
clean = dg.define_asset_job(
    "clean", CLEAN, tags=MAKES_CLEAN, description="Clean tables and profiles of the days a delivery touched."
)
train = dg.define_asset_job(
    "train", TRAIN, tags=MAKES_MODELS, description="Models of a month, trained on days before it."
)
score = dg.define_asset_job("score", SCORE, tags=MAKES_SCORES, description="Features and marts as of a day.")
refresh = dg.define_asset_job(
    "refresh",
    CLEAN | SCORE,
    tags=MAKES_CLEAN | MAKES_SCORES,
    description="Everything of a day: clean tables to marts.",
)


def all_jobs() -> list[Any]:
    """Every job."""
    return [ingest, clean, train, score, refresh]
