"""Why revenue moved and what campaigns brought, as of the newest day with a sale; what drives churn and spend, of a day.

Belongs here: assets that explain. Not here: how effects are computed (`mining/revenue_changes.py`,
`mining/campaign_effects.py`, `mining/drivers.py`), what happened (`behaviour.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.behaviour import CUSTOMER_DAYS, nothing, span_of
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.diagnosis import (
    BEHAVIOUR_CAMPAIGN_EFFECTS,
    BEHAVIOUR_DRIVERS,
    BEHAVIOUR_REVENUE_CHANGES,
    CHURN,
    SPEND,
)
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import as_floats, sample_customers
from crm_assets.partitions import days, month_of
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dg.asset(
    key=["marts", BEHAVIOUR_REVENUE_CHANGES.name],
    ins={
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "products": dg.AssetIn(["clean", "products"]),
        "customer_days": CUSTOMER_DAYS,
        "identity_members": MEMBERS,
    },
    description=BEHAVIOUR_REVENUE_CHANGES.description,
)
def behaviour_revenue_changes(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[ir.Table]]:
    """What moved revenue between each complete month and the one before, and that of the year before."""
    from crm_assets.mining.revenue_changes import customer_effects, price_volume_mix

    span = span_of(transactions)
    if span is None:
        yield nothing(context, BEHAVIOUR_REVENUE_CHANGES, "transactions")
        return
    days = Persons.of(identity_members).rows(customer_days.select("day", "customer_id", "orders", "amount"), span[1])
    of_customers = ibis.memtable(customer_effects(transactions, days, *span), schema=BEHAVIOUR_REVENUE_CHANGES.schema)
    with lake.engine.holding() as hold:
        of_products = price_volume_mix(transactions, products, *span, hold)
        yield dg.Output(of_products.union(of_customers), metadata={"as of": str(span[1])})


@dg.asset(
    key=["marts", BEHAVIOUR_CAMPAIGN_EFFECTS.name],
    ins={
        "customer_days": CUSTOMER_DAYS,
        "campaign_contacts": dg.AssetIn(["clean", "campaign_contacts"]),
        "campaigns": dg.AssetIn(["clean", "campaigns"]),
        "identity_members": MEMBERS,
    },
    description=BEHAVIOUR_CAMPAIGN_EFFECTS.description,
)
def behaviour_campaign_effects(
    context: dg.AssetExecutionContext,
    customer_days: ir.Table,
    campaign_contacts: ir.Table,
    campaigns: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """What each past campaign brought, whose window lies within the data."""
    from crm_assets.assets import behaviour_plots
    from crm_assets.mining.campaign_effects import campaign_customers, campaign_effects, measurable

    span, length = span_of(customer_days), settings.campaign_effect_days
    windows = measurable(campaign_contacts, *span, length) if span else []
    if span is None or not windows:
        needs = f"campaign contacts with {length} days of sales before and from the first one on"
        return nothing(context, BEHAVIOUR_CAMPAIGN_EFFECTS, needs).value
    persons = Persons.of(identity_members)
    customers = campaign_customers(
        persons.customer_days(customer_days, span[1]),
        persons.contacts(campaign_contacts, span[1]),
        windows,
        length,
        max(1_000, settings.training_rows // len(windows)),
        settings.seed,
    )
    known = valid_on(campaigns, span[1]).select("campaign_id", "kind").to_pyarrow().to_pylist()
    kinds = {row["campaign_id"]: row["kind"] for row in known}
    effects = campaign_effects(customers.to_pandas(), windows, kinds, length, settings.seed)
    drawn = behaviour_plots.campaign_effects(effects[effects["measure"] == "spend"])
    context.add_output_metadata({"as of": str(span[1]), "effects on spend": dg.MetadataValue.md(drawn)})
    return ibis.memtable(effects, schema=BEHAVIOUR_CAMPAIGN_EFFECTS.schema)


@dg.asset(
    key=["marts", BEHAVIOUR_DRIVERS.name],
    ins={
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "churn_models": dg.AssetIn(["models", "churn_model"]),
        "purchase_models": dg.AssetIn(["models", "purchase_model"]),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=BEHAVIOUR_DRIVERS.description,
)
def behaviour_drivers(
    context: dg.AssetExecutionContext,
    customer_features: ir.Table,
    churn_models: dict[str, StoredModel],
    purchase_models: dict[str, StoredModel],
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """What the models of a day make of each sign of customers."""
    import pandas as pd

    from crm_assets.assets import behaviour_plots

    found: list[pd.DataFrame] = []
    for as_of in run_days(context):
        of_day, month = customer_features.filter(customer_features.as_of == as_of), month_of(as_of).isoformat()
        for outcome, models, drivers in (
            (CHURN, churn_models, _churn_drivers),
            (SPEND, purchase_models, _spend_drivers),
        ):
            stored = models.get(month)
            if stored is None or stored.document is None:
                context.log.warning("drivers of %s as of %s: needs a model of %s", outcome, as_of, month[:7])
                continue
            rows = drivers(stored.document, of_day, as_of, settings)
            found.append(rows.assign(as_of=as_of, outcome=outcome)[list(BEHAVIOUR_DRIVERS.by_name)])
            if len(rows):
                drawn = behaviour_plots.driver_ranges(rows, f"How predicted {outcome} moves over each sign's range")
                context.add_output_metadata({f"drivers of {outcome}": dg.MetadataValue.md(drawn)})
    return ibis.memtable(pd.concat(found) if found else [], schema=BEHAVIOUR_DRIVERS.schema)


def _churn_drivers(document: Mapping[str, Any], of_day: ir.Table, as_of: date, settings: Settings) -> "pd.DataFrame":
    from crm_assets.mining.churn import ChurnModel
    from crm_assets.mining.drivers import churn_drivers

    model = ChurnModel.from_document(document)
    active = of_day.filter(of_day.recency_days < model.active_days)
    drivers = churn_drivers(model, _drawn(active, model.features, settings), settings.threads)
    return drivers.assign(model_id=model.model_id)


def _spend_drivers(document: Mapping[str, Any], of_day: ir.Table, as_of: date, settings: Settings) -> "pd.DataFrame":
    from crm_assets.mining.drivers import spend_drivers
    from crm_assets.mining.purchases import PURCHASE_FEATURES, PurchaseModel

    model = PurchaseModel.from_document(document)
    known = of_day.filter(of_day.recency_days.notnull())
    return spend_drivers(model, _drawn(known, PURCHASE_FEATURES, settings), as_of).assign(model_id=model.model_id)


def _drawn(rows: ir.Table, columns: Sequence[str], settings: Settings) -> "pd.DataFrame":
    from crm_assets.mining.drivers import MOST_CUSTOMERS

    drawn = sample_customers(rows, MOST_CUSTOMERS, settings.seed)
    return drawn.order_by("customer_id").select(**as_floats(drawn, columns)).to_pandas()


diagnosis_assets = [behaviour_revenue_changes, behaviour_campaign_effects, behaviour_drivers]
