"""Clusters of customers: the model of a month, and how far its labels are those of the month before.

Belongs here: the monthly asset. Not here: fitting (`mining/clustering.py`), following clusters through the months
(`mining/cluster_history.py`), the cluster of each customer on a day (`marts.py`).
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.models import saying_who
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.contracts.segments import SEGMENT_MIGRATION, SEGMENT_STABILITY
from crm_assets.lake.models import StoredModel
from crm_assets.mining.samples import as_floats, sample_customers
from crm_assets.partitions import UP_TO_THE_MONTH, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from crm_assets.mining.cluster_history import MonthOfClusters

MOST_CUSTOMERS = 100_000
"""Most customers of a month that clusters are fitted to; so many place centers to a hundredth of a standard deviation."""


@dg.multi_asset(
    name="customer_clusters",
    ins={"training_features": dg.AssetIn(["features", TRAINING_FEATURES.name], partition_mapping=UP_TO_THE_MONTH)},
    outs={
        "model": dg.AssetOut(
            key=["models", "customer_clusters"],
            io_manager_key="model_io_manager",
            description="K-means clusters of the customers as of the day before the month, named by what sets them apart; "
            "the same customers keep the name of the month before.",
        ),
        "stability": dg.AssetOut(key=["quality", SEGMENT_STABILITY.name], description=SEGMENT_STABILITY.description),
        "migration": dg.AssetOut(key=["quality", SEGMENT_MIGRATION.name], description=SEGMENT_MIGRATION.description),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def customer_clusters(
    context: dg.AssetExecutionContext, training_features: ir.Table, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.Output[object]]:
    """The clusters of a month, which follow from those of all months before."""
    import pandas as pd

    from crm_assets.assets import plots
    from crm_assets.mining.cluster_history import follow_clusters

    wanted = run_days(context)
    customers = _customers_by_month(training_features, wanted[-1], settings)
    made = {found.month: found for found in follow_clusters(customers, settings.seed) if found.month in wanted}
    for month in sorted(set(wanted) - set(made)):
        context.log.warning("clusters for %s: %s", month, _needs(month))
    models = {month.isoformat(): _stored(month, made.get(month)) for month in wanted}
    models = saying_who(models, training_features, settings)
    counts = next((found.model.counts for found in reversed(made.values()) if found.model), ())
    shown = plots.cluster_counts(pd.DataFrame(counts)) if counts else "*There were too few customers to divide.*"
    yield dg.Output(models, "model", metadata={"number of clusters": dg.MetadataValue.md(shown)})
    changes = {month: found.changes() for month, found in made.items()}
    for place, (name, table) in enumerate((("stability", SEGMENT_STABILITY), ("migration", SEGMENT_MIGRATION))):
        parts = [tables[place].assign(month=month) for month, tables in changes.items()]
        yield dg.Output(pd.concat(parts) if parts else pd.DataFrame(columns=[*table.by_name, "month"]), name)


def _customers_by_month(
    training_features: ir.Table, last: date, settings: Settings
) -> "Iterator[tuple[date, pd.DataFrame]]":
    """Who had ordered by the day before each month, up to `last`; fetched together where there are few."""
    from crm_assets.mining.clustering import FEATURE_COLUMNS

    most = min(MOST_CUSTOMERS, settings.training_rows)
    rows = training_features.filter(training_features.month <= last, training_features.orders_365d > 0)
    rows = rows.filter(rows.month.delta(rows.as_of, unit="day") == 1)
    rows = rows.select("month", "customer_id", **as_floats(rows, FEATURE_COLUMNS))
    counts = rows.group_by("month").agg(customers=ibis._.count()).order_by("month").to_pyarrow().to_pylist()
    together = (
        max((row["customers"] for row in counts), default=0) <= most
        and sum(row["customers"] for row in counts) <= settings.training_rows
    )

    if together:
        frames = dict(iter(rows.order_by("month", "customer_id").to_pandas().groupby("month")))
        yield from (
            (row["month"], frame.drop(columns="month")) for row, frame in zip(counts, frames.values(), strict=True)
        )
        return
    for row in counts:
        month = sample_customers(rows.filter(rows.month == row["month"]), most, settings.seed)
        yield row["month"], month.drop("month").order_by("customer_id").to_pandas()


def _stored(month: date, found: "MonthOfClusters | None") -> StoredModel:
    if found is None or found.model is None:
        return StoredModel(None, {"model": "customer_clusters", "needs": _needs(month)})
    return StoredModel(found.model.to_dict(), {"trained_for": month.isoformat(), **found.model.card()})


def _needs(month: date) -> str:
    return f"needs customers who ordered before {month}: 0 rows"


cluster_assets = [customer_clusters]
