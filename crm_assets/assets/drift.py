"""Drift: how far the customers of a day are from those their model was trained on.

Belongs here: reading, calling, returning. Not here: the index (`mining/drift.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.churn import CHURN_SCORES
from crm_assets.contracts.drift import DRIFT
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.samples import as_floats
from crm_assets.partitions import days, month_of

if TYPE_CHECKING:
    import pandas as pd

    from crm_assets.mining.churn import ChurnModel

SHOWN = 15


@dg.asset(
    key=["quality", DRIFT.name],
    ins={
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "scores": dg.AssetIn(["marts", CHURN_SCORES.name]),
        "models": dg.AssetIn(["models", "churn_model"]),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=DRIFT.description,
)
def drift(
    context: dg.AssetExecutionContext,
    customer_features: ir.Table,
    scores: ir.Table,
    models: dict[str, StoredModel],
    lake: dg.ResourceParam[Lake],
) -> ir.Table:
    """Population stability of what the churn model read and said, and how many customers it scored, on each day."""
    import pandas as pd

    parts = list(_by_day(context, lake, customer_features, scores, models))
    if not parts:
        return ibis.memtable([], schema=DRIFT.schema)
    worst = parts[-1].nlargest(SHOWN, "psi")[["kind", "name", "psi", "verdict"]]
    shown = dg.MetadataValue.md(worst.to_markdown(index=False, floatfmt=".3f"))
    context.add_output_metadata({f"most drift on {parts[-1]['as_of'].iloc[0]}": shown})
    return ibis.memtable(pd.concat(parts), schema=DRIFT.schema)


def _by_day(
    context: dg.AssetExecutionContext,
    lake: Lake,
    features: ir.Table,
    scores: ir.Table,
    models: Mapping[str, StoredModel],
) -> "Iterator[pd.DataFrame]":
    from crm_assets.mining.churn import ChurnModel

    for as_of in run_days(context):
        stored = models.get(month_of(as_of).isoformat())
        if stored is None or stored.document is None:
            context.log.info("drift of %s: needs a churn model for %s", as_of, f"{as_of:%Y-%m}")
            continue
        model = ChurnModel.from_document(stored.document)
        if not model.reference:
            context.log.info("drift of %s: %s was trained before drift was measured", as_of, model.model_id)
            continue
        yield _of_day(lake, features, scores, model, as_of)


def _of_day(lake: Lake, features: ir.Table, scores: ir.Table, model: "ChurnModel", as_of: date) -> "pd.DataFrame":
    from crm_assets.mining.churn import feature_matrix
    from crm_assets.mining.drift import added, count_rows
    from crm_assets.mining.drift import drift as measure_drift

    scored = scores.filter(scores.as_of == as_of).select("customer_id", "churn_probability")
    rows = features.filter(features.as_of == as_of).inner_join(scored, "customer_id")
    read = rows.select("churn_probability", **as_floats(rows, model.features))
    counts = added(
        count_rows(model.reference, feature_matrix(frame, model.features), frame["churn_probability"].to_numpy())
        for frame in (batch.to_pandas() for batch in lake.engine.batches(read))
    )
    return measure_drift("churn", model.model_id, model.reference, counts, as_of)


drift_assets = [drift]
