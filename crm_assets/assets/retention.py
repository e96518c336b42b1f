"""Keeping customers: whom to contact as of a day, and what that brought.

Belongs here: its two assets. Not here: how a queue is made (`mining/retention.py`) or measured
(`mining/retention_outcomes.py`).
"""

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.models import TRAINED_CHURN, terms_of_days
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.churn import CHURN_SCORES
from crm_assets.contracts.retention import RETENTION_OUTCOMES, RETENTION_QUEUE
from crm_assets.contracts.value import CUSTOMER_VALUE
from crm_assets.mining.persons import Persons
from crm_assets.partitions import days
from crm_assets.settings import Settings


@dg.asset(
    key=["marts", RETENTION_QUEUE.name],
    ins={
        "scores": dg.AssetIn(["marts", CHURN_SCORES.name]),
        "values": dg.AssetIn(["marts", CUSTOMER_VALUE.name]),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=RETENTION_QUEUE.description,
)
def retention_queue(
    context: dg.AssetExecutionContext,
    scores: ir.Table,
    values: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """Whom to contact so that they stay, the most value at risk first."""
    from crm_assets.mining.retention import RetentionPolicy
    from crm_assets.mining.retention import retention_queue as queue_customers

    policy = RetentionPolicy(
        capacity=settings.retention_capacity,
        contact_cost=settings.retention_contact_cost,
        save_rate=settings.retention_save_rate,
        margin=settings.retention_margin,
        holdout_share=settings.retention_holdout_share,
        seed=settings.seed,
    )
    context.log.info(
        "retention queue of %s: a contact pays above %.2f at risk", run_days(context)[-1], policy.least_value_at_risk
    )
    return queue_customers(scores, values, policy)


@dg.asset(
    key=["marts", RETENTION_OUTCOMES.name],
    ins={
        "queue": dg.AssetIn(["marts", RETENTION_QUEUE.name]),
        "customer_days": dg.AssetIn(["profile", "customer_days"]),
        "identity_members": MEMBERS,
    },
    deps=[TRAINED_CHURN],
    description=RETENTION_OUTCOMES.description,
)
def retention_outcomes(
    context: dg.AssetExecutionContext,
    queue: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """What the queue of each past day brought, whose horizon has passed."""
    from crm_assets.mining.retention_outcomes import queue_outcomes
    from crm_assets.mining.retention_outcomes import retention_outcomes as measure_effect

    newest = customer_days.day.max().to_pyarrow().as_py()
    if newest is None:
        return ibis.memtable([], schema=RETENTION_OUTCOMES.schema)
    persons = Persons.of(identity_members)
    terms = terms_of_days(queue, customer_days, persons, settings)
    horizons = {day: of_day.horizon_days for day, of_day in terms.items()}
    outcomes = queue_outcomes(queue, customer_days, newest, horizons, persons)
    if outcomes.empty:
        context.log.info("retention outcomes: needs a queue whose horizon has ended")
    return ibis.memtable(measure_effect(outcomes), schema=RETENTION_OUTCOMES.schema)


retention_assets = [retention_queue, retention_outcomes]
