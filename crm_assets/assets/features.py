"""Features: what is known of each customer at the end of a day.

Belongs here: feature tables. Not here: how a feature is computed (`mining/features.py`).
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.persons import DELIVERED_CUSTOMERS, MEMBERS, FeatureInputs, features_of_persons
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.features import CUSTOMER_FEATURES
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.lake.layout import Lake
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, days, months
from crm_assets.settings import Settings


def _inputs(mapping: dg.PartitionMapping) -> dict[str, dg.AssetIn]:
    return {
        "customer_days": dg.AssetIn(["profile", "customer_days"], partition_mapping=mapping),
        "transactions": dg.AssetIn(["clean", "transactions"], partition_mapping=mapping),
        "products": dg.AssetIn(["clean", "products"]),
        "customers": dg.AssetIn(["clean", "customers"]),
        "campaign_contacts": dg.AssetIn(["clean", "campaign_contacts"], partition_mapping=mapping),
        "identity_members": MEMBERS,
        "delivered_customers": DELIVERED_CUSTOMERS,
    }


@dg.asset(
    key=["features", CUSTOMER_FEATURES.name],
    ins=_inputs(UP_TO_THE_DAY),
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=CUSTOMER_FEATURES.description,
)
def customer_features(
    context: dg.AssetExecutionContext,
    customer_days: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    campaign_contacts: ir.Table,
    identity_members: ir.Table,
    delivered_customers: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """What is known of each person at the end of a day."""
    tables = FeatureInputs(
        customer_days, transactions, products, customers, campaign_contacts, identity_members, delivered_customers
    )
    with features_of_persons(lake, tables, run_days(context), settings) as rows:
        yield dg.Output(rows)


@dg.asset(
    key=["features", TRAINING_FEATURES.name],
    ins=_inputs(BEFORE_THE_MONTH),
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
    description=TRAINING_FEATURES.description,
)
def training_features(
    context: dg.AssetExecutionContext,
    customer_days: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    campaign_contacts: ir.Table,
    identity_members: ir.Table,
    delivered_customers: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """The same of some persons on the training days of the month before, which every later model learns from."""
    tables = FeatureInputs(
        customer_days, transactions, products, customers, campaign_contacts, identity_members, delivered_customers
    )
    wanted = [day for month in run_days(context) for day in training_days_before(month)]
    with features_of_persons(lake, tables, wanted, settings, settings.training_customers) as rows:
        # Training days of one month are kept for the next; the engine has moments where Ibis has days.
        yield dg.Output(
            rows.mutate(month=(rows["as_of"] + ibis.interval(months=1)).cast("timestamp").truncate("M").cast("date"))
        )


def training_days_before(month: date) -> list[date]:
    """Training days of the month before `month`, its last day included."""
    from crm_assets.mining.churn import TRAINING_DAYS_OF_MONTH

    last = month - timedelta(days=1)
    length = monthrange(last.year, last.month)[1]
    return [last.replace(day=min(day, length)) for day in TRAINING_DAYS_OF_MONTH]


feature_assets = [customer_features, training_features]
