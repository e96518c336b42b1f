"""Profiles: who each customer is now, and what each did on each day.

Belongs here: the tables features are built on. Not here: features themselves (`features.py`).
"""

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.policies import SINGLE_RUN
from crm_assets.contracts.canonical import CUSTOMERS
from crm_assets.contracts.features import CUSTOMER_DAYS
from crm_assets.lake.functions import local_time
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.customer_days import customer_days as sum_customer_days
from crm_assets.partitions import days
from crm_assets.settings import Settings


@dg.asset(key=["profile", "customers_current"], ins={"customers": dg.AssetIn(["clean", "customers"])})
def customers_current(customers: ir.Table) -> ir.Table:
    """Each customer's current values."""
    return valid_on(customers, None).select(*CUSTOMERS.by_name)


@dg.asset(
    key=["profile", "customer_days"],
    ins={"transactions": dg.AssetIn(["clean", "transactions"])},
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=CUSTOMER_DAYS.description,
)
def customer_days(transactions: ir.Table, settings: dg.ResourceParam[Settings]) -> ir.Table:
    """What each customer did on each day; keeps the daily refresh small."""
    return sum_customer_days(transactions.mutate(ordered_at=local_time(transactions.ordered_at, settings.timezone)))


profile_assets = [customers_current, customer_days]
