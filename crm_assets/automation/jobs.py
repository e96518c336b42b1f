"""Jobs: which assets run together.

Belongs here: asset selections. Not here: when they run (`schedules.py`, `sensors.py`).
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, Self

import dagster as dg
from dagster import AssetSelection
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

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
    ["quality", "leaderboard_propensity"],
)
SCORE = AssetSelection.groups("marts") | AssetSelection.assets(
    ["features", "customer_features"],
    ["quality", "leaderboard_up_sell"],
    ["quality", "churn_performance"],
    ["quality", "subscription_performance"],
    ["quality", "lifecycle_transitions"],
    ["quality", "drift"],
)

REFRESH = CLEAN | SCORE

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
    REFRESH,
    tags=MAKES_CLEAN | MAKES_SCORES,
    description="Everything of a day: clean tables to marts.",
)


def all_jobs() -> list[Any]:
    """Every job."""
    return [ingest, clean, train, score, refresh]


@dataclass(frozen=True)
class Parts:
    """What training and scoring make, in parts that can be made in two processes.

    Attributes:
        models_without_features: Models, and what is made beside them, of which nothing in `models` or `marts` is made.
        marts_without_features: What is made without features of customers.
        models: All other models.
        marts: What is made of features and models, and of nothing in `marts_without_features`.
        last_marts: What is made of those too.
        performance: What looks back on scores of earlier days, or across both.
    """

    models_without_features: frozenset[dg.AssetKey]
    marts_without_features: frozenset[dg.AssetKey]
    models: frozenset[dg.AssetKey]
    marts: frozenset[dg.AssetKey]
    last_marts: frozenset[dg.AssetKey]
    performance: frozenset[dg.AssetKey]

    def without(self, left: Collection[dg.AssetKey]) -> Self:
        """The same parts, but for some assets."""
        return type(self)(*(getattr(self, part.name) - set(left) for part in fields(self)))

    @classmethod
    def of(cls, graph: BaseAssetGraph[Any]) -> Self:
        """What can be made beside each other, by who needs whom."""
        performance = AssetSelection.assets(
            ["quality", "churn_performance"], ["quality", "subscription_performance"], ["quality", "drift"]
        )
        with_features = AssetSelection.groups("features").downstream()
        # Needs no features, but segments are described by it.
        lifecycle = AssetSelection.assets(["marts", "lifecycle"]).downstream()
        marts_without = SCORE - with_features - performance - lifecycle
        last_marts = (SCORE & marts_without.downstream()) - marts_without - performance
        marts = SCORE - marts_without - last_marts - performance
        models_without = TRAIN - with_features - (marts | (TRAIN & with_features)).upstream()
        parts = (models_without, marts_without, TRAIN - models_without, marts, last_marts, performance)
        return cls(*(frozenset(part.resolve(graph)) for part in parts))

    @classmethod
    def whole(cls, graph: BaseAssetGraph[Any]) -> Self:
        """All of it in one process, in as few runs as can be."""
        none: frozenset[dg.AssetKey] = frozenset()
        return cls(none, none, frozenset(TRAIN.resolve(graph)), frozenset(SCORE.resolve(graph)), none, none)
