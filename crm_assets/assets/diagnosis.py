"""Why revenue moved and what campaigns brought, as of the newest day with a sale.

Belongs here: assets that explain. Not here: how effects are computed (`mining/revenue_changes.py`,
`mining/campaign_effects.py`), what happened (`behaviour.py`).
"""

from collections.abc import Iterator

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.behaviour import CUSTOMER_DAYS, nothing, span_of
from crm_assets.assets.persons import MEMBERS
from crm_assets.contracts.diagnosis import BEHAVIOUR_CAMPAIGN_EFFECTS, BEHAVIOUR_REVENUE_CHANGES
from crm_assets.lake.layout import Lake
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.persons import Persons
from crm_assets.mining.revenue_changes import customer_effects, price_volume_mix
from crm_assets.settings import Settings


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


diagnosis_assets = [behaviour_revenue_changes, behaviour_campaign_effects]
