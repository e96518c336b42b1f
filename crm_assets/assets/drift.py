"""Drift: how far the customers and contracts of a day are from those their model was trained on.

Belongs here: reading, calling, returning. Not here: the index (`mining/drift.py`).
"""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.subscriptions import MODEL as CONTRACTS
from crm_assets.assets.subscriptions import contract_inputs, contracts_told
from crm_assets.contracts.churn import CHURN_SCORES
from crm_assets.contracts.drift import DRIFT
from crm_assets.contracts.subscriptions import SUBSCRIPTION_CHURN_SCORES
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.samples import as_floats
from crm_assets.partitions import UP_TO_THE_DAY, days, month_of
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from crm_assets.mining.churn import ChurnModel

CUSTOMERS = "churn"
SHOWN = 15


@dg.asset(
    key=["quality", DRIFT.name],
    ins={
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "scores": dg.AssetIn(["marts", CHURN_SCORES.name]),
        "models": dg.AssetIn(["models", "churn_model"]),
        "contract_scores": dg.AssetIn(["marts", SUBSCRIPTION_CHURN_SCORES.name]),
        "contract_models": dg.AssetIn(["models", CONTRACTS]),
        **contract_inputs(UP_TO_THE_DAY),
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
    contract_scores: ir.Table,
    contract_models: dict[str, StoredModel],
    subscriptions: ir.Table,
    delivered: ir.Table,
    customers: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> ir.Table:
    """Population stability of what the models of churn read and said, and how many they scored, on each day."""
    import pandas as pd

    parts = [_of_customers(lake, customer_features, scores, *found) for found in _models(context, CUSTOMERS, models)]
    # Versions of contracts cost a query, which a workspace without a model of them need not pay.
    if of_contracts := _models(context, CONTRACTS, contract_models):
        tables = subscriptions, delivered, customers, customer_days, identity_members
        with contracts_told(lake, settings, tables) as contracts:
            for as_of, model in of_contracts:
                parts.append(_of_contracts(lake, contracts.running([as_of]), contract_scores, as_of, model))
    if not parts:
        return ibis.memtable([], schema=DRIFT.schema)
    rows = pd.concat(parts)
    newest = rows[rows["as_of"] == rows["as_of"].max()]
    worst = newest.nlargest(SHOWN, "psi")[["model", "kind", "name", "psi", "verdict"]]
    shown = dg.MetadataValue.md(worst.to_markdown(index=False, floatfmt=".3f"))
    context.add_output_metadata({f"most drift on {newest['as_of'].iloc[0]}": shown})
    return ibis.memtable(rows, schema=DRIFT.schema)


def _models(
    context: dg.AssetExecutionContext, name: str, models: Mapping[str, StoredModel]
) -> "list[tuple[date, ChurnModel]]":
    """The days of the run with the model that scored them, as far as there is one that says what it was trained on."""
    from crm_assets.mining.churn import ChurnModel

    found = []
    for as_of in run_days(context):
        stored = models.get(month_of(as_of).isoformat())
        if stored is None or stored.document is None:
            context.log.info("drift of %s: needs a model of %s for %s", as_of, name, f"{as_of:%Y-%m}")
            continue
        model = ChurnModel.from_document(stored.document)
        if not model.reference:
            context.log.info("drift of %s: %s was trained before drift was measured", as_of, model.model_id)
            continue
        found.append((as_of, model))
    return found


def _of_customers(lake: Lake, features: ir.Table, scores: ir.Table, as_of: date, model: "ChurnModel") -> "pd.DataFrame":
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
    return measure_drift(CUSTOMERS, model.model_id, model.reference, counts, as_of)


def _of_contracts(lake: Lake, running: ir.Table, scores: ir.Table, as_of: date, model: "ChurnModel") -> "pd.DataFrame":
    from crm_assets.mining.drift import added, count_rows
    from crm_assets.mining.drift import drift as measure_drift
    from crm_assets.mining.subscription_inputs import Encoding, encode

    encoding = Encoding(**model.encoding)
    scored = scores.filter(scores.as_of == as_of).select("subscription_id", "churn_probability")
    counts = added(
        count_rows(model.reference, encode(frame, encoding), frame["churn_probability"].to_numpy())
        for frame in (batch.to_pandas() for batch in lake.engine.batches(running.inner_join(scored, "subscription_id")))
    )
    return measure_drift(
        CONTRACTS, model.model_id, model.reference, counts, as_of, scored="contracts", names=encoding.labels()
    )


drift_assets = [drift]
