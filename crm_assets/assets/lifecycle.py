"""The lifecycle of customers: the rules of a month, the stage of each day, and the moves between stages.

Belongs here: its three assets. Not here: what a stage is (`mining/lifecycle.py`).
"""

from datetime import date, timedelta
from functools import reduce

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.models import CUSTOMER_DAYS_BEFORE
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.lifecycle import LIFECYCLE, LIFECYCLE_TRANSITIONS, STAGES, UNKNOWN
from crm_assets.lake.models import StoredModel
from crm_assets.mining.lifecycle import LifecycleRules, fit_lifecycle_rules, known_spans, transitions
from crm_assets.mining.lifecycle import lifecycle as find_stages
from crm_assets.mining.persons import Persons
from crm_assets.partitions import UP_TO_THE_DAY, days, month_of, months


@dg.asset(
    key=["models", "lifecycle_rules"],
    ins={"customer_days": CUSTOMER_DAYS_BEFORE, "identity_members": MEMBERS},
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
    io_manager_key="model_io_manager",
)
def lifecycle_rules(
    context: dg.AssetExecutionContext, customer_days: ir.Table, identity_members: ir.Table
) -> dict[str, StoredModel]:
    """After how many days without an order a customer is at risk or has lapsed, from the gaps before the month."""
    models, persons = {}, Persons.of(identity_members)
    for month in run_days(context):
        last = month - timedelta(days=1)
        fitted = fit_lifecycle_rules(persons.rows(_ordered(customer_days), last), last)
        document = fitted.rules.to_document() if fitted.rules else None
        models[month.isoformat()] = StoredModel(document, {"trained_for": month.isoformat(), **fitted.card})
    return models


@dg.asset(
    key=["marts", LIFECYCLE.name],
    ins={
        "customer_days": dg.AssetIn(["profile", "customer_days"], partition_mapping=UP_TO_THE_DAY),
        "customers": dg.AssetIn(["clean", "customers"]),
        "campaign_contacts": dg.AssetIn(["clean", "campaign_contacts"], partition_mapping=UP_TO_THE_DAY),
        "identity_members": MEMBERS,
        "models": dg.AssetIn(["models", "lifecycle_rules"]),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=LIFECYCLE.description,
)
def lifecycle(
    context: dg.AssetExecutionContext,
    customer_days: ir.Table,
    customers: ir.Table,
    campaign_contacts: ir.Table,
    identity_members: ir.Table,
    models: dict[str, StoredModel],
) -> ir.Table:
    """The lifecycle stage of each known customer, as of a day and the day before."""
    persons, orders = Persons.of(identity_members), _ordered(customer_days)
    known = known_spans(customers, campaign_contacts, customer_days)
    parts = []
    for month, wanted in _by_month(run_days(context)).items():
        stored = models.get(month.isoformat(), StoredModel(None, {"needs": f"needs rules for {month:%Y-%m}"}))
        if stored.document is None:
            context.log.warning("lifecycle of %s to %s: %s", wanted[0], wanted[-1], stored.card.get("needs"))
            continue
        rules = LifecycleRules.from_document(stored.document)
        for group in persons.groups(wanted):
            of_persons = persons.rows(orders, group[0]), persons.rows(known, group[0])
            parts.append(find_stages(*of_persons, group, rules))
        context.add_output_metadata({"rules": dg.MetadataValue.json(rules.in_words())})
    return reduce(lambda left, right: left.union(right), parts) if parts else ibis.memtable([], schema=LIFECYCLE.schema)


@dg.asset(
    key=["quality", LIFECYCLE_TRANSITIONS.name],
    ins={"lifecycle": dg.AssetIn(["marts", LIFECYCLE.name])},
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=LIFECYCLE_TRANSITIONS.description,
)
def lifecycle_transitions(context: dg.AssetExecutionContext, lifecycle: ir.Table) -> ir.Table:
    """How many customers went from which stage to which on a day."""
    from crm_assets.assets.flow_plot import flows

    moved = transitions(lifecycle).to_pandas()
    if not moved.empty:
        newest = moved[moved["as_of"] == moved["as_of"].max()]
        matrix = newest.pivot_table("customers", "previous_stage", "stage", "sum", fill_value=0)
        named = newest.rename(columns={"previous_stage": "previous", "stage": "next"})
        context.add_output_metadata(
            {
                "transition matrix": dg.MetadataValue.md(matrix.to_markdown()),
                "flows": dg.MetadataValue.md(flows(named, [UNKNOWN, *STAGES])),
            }
        )
    return ibis.memtable(moved, schema=LIFECYCLE_TRANSITIONS.schema)


def _ordered(customer_days: ir.Table) -> ir.Table:
    """What rules and stages read; without the sums that nobody adds up here."""
    return customer_days.select("day", "customer_id", "orders")


def _by_month(wanted: list[date]) -> dict[date, list[date]]:
    """Days by the month whose rules hold for them."""
    months_days: dict[date, list[date]] = {}
    for day in wanted:
        months_days.setdefault(month_of(day), []).append(day)
    return months_days


lifecycle_assets = [lifecycle_rules, lifecycle, lifecycle_transitions]
