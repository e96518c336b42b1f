"""Quality: how what was published turned out.

Belongs here: assets that measure other assets over time. Not here: checks of a single table (`checks/`).
"""

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.models import TRAINED_CHURN, terms_of_days
from crm_assets.assets.persons import MEMBERS
from crm_assets.contracts.churn import CHURN_PERFORMANCE
from crm_assets.mining.persons import Persons
from crm_assets.settings import Settings


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
    """How the published churn scores of each past day turned out, beside the recency rule."""
    from crm_assets.assets import plots
    from crm_assets.mining.churn_performance import churn_performance as measure_performance
    from crm_assets.mining.churn_performance import curves, realised_outcomes

    newest = customer_days.day.max().to_pyarrow().as_py()
    if newest is None:
        return ibis.memtable([], schema=CHURN_PERFORMANCE.schema)
    persons = Persons.of(identity_members)
    outcomes = realised_outcomes(
        scores, customer_days, newest, terms_of_days(scores, customer_days, persons, settings), persons
    )
    figures = measure_performance(outcomes, settings.seed)
    if not figures.empty:
        drawn = curves(outcomes)
        context.add_output_metadata(
            {
                "figures": dg.MetadataValue.md(figures.to_markdown(index=False, floatfmt=".3f")),
                "calibration": dg.MetadataValue.md(plots.calibration_curve(drawn.calibration)),
                "roc": dg.MetadataValue.md(plots.roc_curve(drawn.roc)),
                "gain": dg.MetadataValue.md(plots.gain_curve(drawn.gain)),
            }
        )
    return ibis.memtable(figures, schema=CHURN_PERFORMANCE.schema)


quality_assets = [churn_performance]
