"""Every table of the lake with the layer it lives in.

Belongs here: which contract stands for which asset. Not here: any column (`canonical.py`, `layers.py`, `features.py`,
`segments.py`, `segmentation.py`, `churn.py`, `subscriptions.py`, `drift.py`, `lifecycle.py`, `value.py`, `retention.py`,
`basket.py`, `offers.py`, `behaviour.py`, `diagnosis.py`, `purchases.py`, `propensity.py`, `recommendations.py`,
`response.py`, `forecast.py`, `identity.py`).
"""

from functools import cache

from crm_assets.contracts import layers
from crm_assets.contracts.basket import CROSS_SELL_RULES, SEQUENTIAL_RULES
from crm_assets.contracts.behaviour import BEHAVIOUR_COHORTS, BEHAVIOUR_GAPS, BEHAVIOUR_REPEATS, BEHAVIOUR_SALES
from crm_assets.contracts.canonical import CANONICAL, CUSTOMERS
from crm_assets.contracts.churn import CHURN_PERFORMANCE, CHURN_SCORES, MODEL_LEADERBOARD
from crm_assets.contracts.diagnosis import BEHAVIOUR_CAMPAIGN_EFFECTS, BEHAVIOUR_DRIVERS, BEHAVIOUR_REVENUE_CHANGES
from crm_assets.contracts.drift import DRIFT
from crm_assets.contracts.features import CUSTOMER_DAYS, CUSTOMER_FEATURES
from crm_assets.contracts.forecast import SALES_FORECAST
from crm_assets.contracts.identity import (
    IDENTITY_LEDGER,
    IDENTITY_LINKS,
    IDENTITY_MEMBERS,
    IDENTITY_QUALITY,
    PERSONS,
)
from crm_assets.contracts.lifecycle import LIFECYCLE, LIFECYCLE_TRANSITIONS
from crm_assets.contracts.model import Table
from crm_assets.contracts.offers import CROSS_SELL_OFFERS, NEXT_BEST_ACTION, UP_SELL_LEADERBOARD, UP_SELL_OFFERS
from crm_assets.contracts.propensity import PROPENSITY_SCORES
from crm_assets.contracts.purchases import BEHAVIOUR_PREDICTIONS
from crm_assets.contracts.recommendations import RECOMMENDATIONS
from crm_assets.contracts.response import CAMPAIGN_RESPONSES, CONTACT_PREFERENCES, RESPONSE_SCORES
from crm_assets.contracts.retention import RETENTION_OUTCOMES, RETENTION_QUEUE
from crm_assets.contracts.segmentation import SEGMENTATION_TABLES
from crm_assets.contracts.segments import CUSTOMER_SEGMENTS, RFM_CUTS, SEGMENT_MIGRATION, SEGMENT_STABILITY
from crm_assets.contracts.subscriptions import SUBSCRIPTION_CHURN_SCORES, SUBSCRIPTION_PERFORMANCE
from crm_assets.contracts.value import CUSTOMER_VALUE

RAW_LAYER = "raw"
"""Raw tables have the columns of the files, so they have no contract."""

LAYERS = ("raw", "validated", "clean", "profile", "features", "models", "marts", "quality")
"""In the order data flows; also the schemas of the warehouse."""

TRAINING_FEATURES = layers.monthly(
    CUSTOMER_FEATURES,
    "training_features",
    "Customer features on the training days of the month before, for the models of the month.",
)

_TABLES: tuple[tuple[str, Table], ...] = (
    *(("validated", layers.validated(table)) for table in CANONICAL.values()),
    *(("quality", layers.quarantine(table)) for table in CANONICAL.values()),
    ("quality", layers.LANDED_FILES),
    ("quality", layers.DELIVERED_FILES),
    ("quality", layers.DELIVERED_DAYS),
    *(("clean", layers.clean(table)) for table in CANONICAL.values()),
    ("profile", layers.current(CUSTOMERS)),
    ("profile", IDENTITY_LINKS),
    ("profile", IDENTITY_MEMBERS),
    ("profile", IDENTITY_LEDGER),
    ("profile", PERSONS),
    ("quality", IDENTITY_QUALITY),
    ("profile", layers.by_partition(CUSTOMER_DAYS)),
    ("features", layers.by_partition(CUSTOMER_FEATURES)),
    ("features", TRAINING_FEATURES),
    ("models", layers.monthly(RFM_CUTS, RFM_CUTS.name, RFM_CUTS.description)),
    ("marts", layers.by_partition(CUSTOMER_SEGMENTS)),
    *(("marts", layers.by_partition(table)) for table in SEGMENTATION_TABLES.values()),
    ("marts", layers.by_partition(CHURN_SCORES)),
    ("marts", layers.by_partition(SUBSCRIPTION_CHURN_SCORES)),
    ("marts", layers.by_partition(LIFECYCLE)),
    ("marts", layers.by_partition(CUSTOMER_VALUE)),
    ("marts", layers.by_partition(RETENTION_QUEUE)),
    ("marts", RETENTION_OUTCOMES),
    ("marts", CROSS_SELL_RULES),
    ("marts", SEQUENTIAL_RULES),
    ("marts", CROSS_SELL_OFFERS),
    ("marts", UP_SELL_OFFERS),
    ("marts", NEXT_BEST_ACTION),
    ("marts", layers.by_partition(BEHAVIOUR_PREDICTIONS)),
    ("marts", BEHAVIOUR_SALES),
    ("marts", BEHAVIOUR_COHORTS),
    ("marts", BEHAVIOUR_REPEATS),
    ("marts", BEHAVIOUR_GAPS),
    ("marts", BEHAVIOUR_REVENUE_CHANGES),
    ("marts", BEHAVIOUR_CAMPAIGN_EFFECTS),
    ("marts", layers.by_partition(BEHAVIOUR_DRIVERS)),
    ("marts", layers.by_partition(RECOMMENDATIONS)),
    ("marts", layers.by_partition(SALES_FORECAST)),
    ("marts", layers.by_partition(RESPONSE_SCORES)),
    ("marts", layers.by_partition(PROPENSITY_SCORES)),
    ("marts", CAMPAIGN_RESPONSES),
    ("marts", CONTACT_PREFERENCES),
    ("quality", layers.monthly(MODEL_LEADERBOARD, "leaderboard_churn", MODEL_LEADERBOARD.description)),
    ("quality", layers.monthly(MODEL_LEADERBOARD, "leaderboard_customer_value", MODEL_LEADERBOARD.description)),
    (
        "quality",
        layers.monthly(MODEL_LEADERBOARD, "leaderboard_subscription_churn", MODEL_LEADERBOARD.description),
    ),
    ("quality", layers.monthly(MODEL_LEADERBOARD, "leaderboard_purchases", MODEL_LEADERBOARD.description)),
    ("quality", layers.monthly(SEGMENT_STABILITY, SEGMENT_STABILITY.name, SEGMENT_STABILITY.description)),
    ("quality", layers.monthly(SEGMENT_MIGRATION, SEGMENT_MIGRATION.name, SEGMENT_MIGRATION.description)),
    ("quality", layers.monthly(MODEL_LEADERBOARD, "leaderboard_recommendations", MODEL_LEADERBOARD.description)),
    ("quality", layers.monthly(MODEL_LEADERBOARD, "leaderboard_forecast", MODEL_LEADERBOARD.description)),
    ("quality", layers.monthly(MODEL_LEADERBOARD, "leaderboard_response", MODEL_LEADERBOARD.description)),
    ("quality", layers.monthly(MODEL_LEADERBOARD, "leaderboard_propensity", MODEL_LEADERBOARD.description)),
    ("quality", UP_SELL_LEADERBOARD),
    ("quality", CHURN_PERFORMANCE),
    ("quality", SUBSCRIPTION_PERFORMANCE),
    ("quality", layers.by_partition(DRIFT)),
    ("quality", layers.by_partition(LIFECYCLE_TRANSITIONS)),
)


@cache
def lake_tables() -> dict[tuple[str, str], Table]:
    """Contracts by layer and table name."""
    return {(layer, table.name): table for layer, table in _TABLES}


def contract_of(layer: str, name: str) -> Table:
    """The contract of a table of the lake.

    Raises:
        KeyError: There is no such table; the message says where it would be declared.
    """
    try:
        return lake_tables()[layer, name]
    except KeyError:
        raise KeyError(f"{layer}.{name} has no contract; declare it in crm_assets/contracts/registry.py") from None


UNIONS: dict[str, tuple[str, dict[str, str]]] = {
    "quarantine": (
        "quarantine_",
        {
            "export_date": layers.EXPORT_DATE.name,
            "table_name": "table_name",
            "reasons": "reasons",
            "raw_row": "raw_row",
            "source": layers.SOURCE.name,
            "file": layers.FILE.name,
            "line": layers.LINE.name,
        },
    ),
    "model_leaderboard": ("leaderboard_", {column: column for column in MODEL_LEADERBOARD.by_name}),
}
"""Published tables of `quality` that join all tables of a prefix: their columns, by public name."""
