"""Quality: how what was published turned out.

Belongs here: assets that measure other assets over time. Not here: checks of a single table (`checks/`).
"""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.clean import every_delivery
from crm_assets.assets.models import TRAINED_CHURN, cards_of_days, terms_of_days
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.subscriptions import MODEL
from crm_assets.contracts.canonical import SUBSCRIPTIONS
from crm_assets.contracts.churn import CHURN_PERFORMANCE
from crm_assets.contracts.layers import EXPORT_DATE
from crm_assets.contracts.model import Table
from crm_assets.contracts.subscriptions import SUBSCRIPTION_CHURN_SCORES, SUBSCRIPTION_PERFORMANCE
from crm_assets.lake.layout import Lake
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import sample_customers
from crm_assets.mining.subscriptions import contract_outcomes
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from crm_assets.mining.churn_performance import Judged


@dg.asset(
    key=["quality", CHURN_PERFORMANCE.name],
    ins={
        "scores": dg.AssetIn(["marts", "churn_scores"]),
        "customer_days": dg.AssetIn(["profile", "customer_days"]),
        "identity_members": MEMBERS,
    },
    deps=[TRAINED_CHURN],
    description=CHURN_PERFORMANCE.description,
)
def churn_performance(
    context: dg.AssetExecutionContext,
    scores: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """How published churn scores of past days turned out, beside the recency rule."""
    from crm_assets.mining.churn_performance import CUSTOMERS, judged_days, realised_outcomes

    newest = customer_days.day.max().to_pyarrow().as_py()
    if newest is None:
        return ibis.memtable([], schema=CHURN_PERFORMANCE.schema)
    persons = Persons.of(identity_members)
    terms = terms_of_days(scores, customer_days, persons, settings)
    days = judged_days({day: of_day.horizon_days for day, of_day in terms.items()}, newest)
    drawn = _drawn(scores, days, settings)
    outcomes = realised_outcomes(drawn, customer_days, newest, {day: terms[day] for day in days}, persons)
    return _judged(context, outcomes, CUSTOMERS, CHURN_PERFORMANCE, settings)


@dg.asset(
    key=["quality", SUBSCRIPTION_PERFORMANCE.name],
    ins={
        "scores": dg.AssetIn(["marts", SUBSCRIPTION_CHURN_SCORES.name]),
        "subscriptions": dg.AssetIn(["clean", SUBSCRIPTIONS.name]),
        "delivered": every_delivery(SUBSCRIPTIONS),
    },
    deps=[dg.AssetDep(["models", MODEL])],
    description=SUBSCRIPTION_PERFORMANCE.description,
)
def subscription_performance(
    context: dg.AssetExecutionContext,
    scores: ir.Table,
    subscriptions: ir.Table,
    delivered: ir.Table,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> ir.Table:
    """How published scores of contracts of past days turned out, beside the rule that young ones end."""
    from crm_assets.mining.churn_performance import CONTRACTS, judged_days

    if not lake.has_rows("marts", SUBSCRIPTION_CHURN_SCORES.name):
        context.log.info("performance of subscription_churn_scores: needs scores of contracts: 0 rows")
        return ibis.memtable([], schema=SUBSCRIPTION_PERFORMANCE.schema)
    cards = cards_of_days(scores, MODEL, settings)
    horizons = {day: card.get("horizon_days", settings.subscription_horizon_days) for day, card in cards.items()}
    newest = delivered[EXPORT_DATE.name].max().to_pyarrow().as_py()
    days = judged_days(horizons, newest) if newest else []
    if not days:
        return ibis.memtable([], schema=SUBSCRIPTION_PERFORMANCE.schema)
    drawn = _drawn(scores, days, settings)
    outcomes = contract_outcomes(drawn, subscriptions, delivered, {day: horizons[day] for day in days})
    return _judged(context, outcomes.to_pandas(), CONTRACTS, SUBSCRIPTION_PERFORMANCE, settings)


def _drawn(scores: ir.Table, days: list[date], settings: Settings) -> ir.Table:
    """The scores of some days, of no more customers than models learn from."""
    return sample_customers(scores.filter(scores.as_of.isin(days)), settings.training_customers, settings.seed)


def _judged(
    context: dg.AssetExecutionContext, outcomes: "pd.DataFrame", judged: "Judged", contract: Table, settings: Settings
) -> ir.Table:
    """The figures of outcomes, and their pictures."""
    from crm_assets.assets import plots
    from crm_assets.mining.churn_performance import churn_performance as measure_performance
    from crm_assets.mining.churn_performance import curves

    figures = measure_performance(outcomes, settings.seed, judged)
    if not figures.empty:
        drawn = curves(outcomes, judged)
        context.add_output_metadata(
            {
                "figures": dg.MetadataValue.md(figures.to_markdown(index=False, floatfmt=".3f")),
                "calibration": dg.MetadataValue.md(plots.calibration_curve(drawn.calibration)),
                "roc": dg.MetadataValue.md(plots.roc_curve(drawn.roc)),
                "gain": dg.MetadataValue.md(plots.gain_curve(drawn.gain)),
            }
        )
    return ibis.memtable(figures, schema=contract.schema)


quality_assets = [churn_performance, subscription_performance]
