"""What customers will do next: the model of a month and the mart of a day.

Belongs here: reading, calling, returning. Not here: how it is predicted (`mining/purchases.py`) or how champions are
chosen (`mining/purchase_training.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.models import CUSTOMER_DAYS_BEFORE, saying_who
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.scoring import scored
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.purchases import BEHAVIOUR_PREDICTIONS, HORIZONS
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import as_floats, sample_customers
from crm_assets.partitions import UP_TO_THE_MONTH, days, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MODEL = "purchase_model"


@dg.multi_asset(
    name=MODEL,
    ins={
        "training_features": dg.AssetIn(["features", TRAINING_FEATURES.name], partition_mapping=UP_TO_THE_MONTH),
        "customer_days": CUSTOMER_DAYS_BEFORE,
        "identity_members": MEMBERS,
    },
    outs={
        "model": dg.AssetOut(
            key=["models", MODEL],
            io_manager_key="model_io_manager",
            description="Whether, when and for how much customers order next: the champions and their card.",
        ),
        "leaderboard": dg.AssetOut(key=["quality", "leaderboard_purchases"], description=MODEL_LEADERBOARD.description),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def purchase_model(
    context: dg.AssetExecutionContext,
    training_features: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[object]]:
    """The purchase model of a month, chosen by orders that were held out before it, beside its baselines."""
    import pandas as pd

    from crm_assets.mining.purchase_training import purchase_training_days, train_purchases

    first_day = customer_days.day.min(where=customer_days.orders > 0).to_pyarrow().as_py()
    persons, models, boards = Persons.of(identity_members), {}, []
    for month in run_days(context):
        spans = [purchase_training_days(month, first_day, horizon) if first_day else [] for horizon in HORIZONS]
        wanted = sorted({day for span in spans for day in span})
        # Each month fetches its own rows: whom a sample holds must not depend on which months are made together.
        features, later = _training_rows(training_features, customer_days, persons, wanted, settings)
        trained = train_purchases(features, later, month, first_day or month, settings.seed)
        context.log.info("purchase model for %s: %s", month, trained.message)
        models[month.isoformat()] = StoredModel(trained.model.to_document(), trained.model.card)
        boards.append(trained.leaderboard.assign(trained_for=month, month=month))
    models = saying_who(models, training_features, settings)
    yield dg.Output(models, "model", metadata={"choice": trained.message})
    yield dg.Output(pd.concat(boards), "leaderboard")


def _training_rows(
    training_features: ir.Table, customer_days: ir.Table, persons: Persons, wanted: list[date], settings: Settings
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Features of the training days and what was ordered after them, of no more customers than the settings allow."""
    import pandas as pd

    from crm_assets.mining.purchases import PURCHASE_FEATURES, next_orders

    if not wanted:
        columns = ["as_of", "customer_id"]
        return (
            pd.DataFrame(columns=[*columns, *PURCHASE_FEATURES]),
            pd.DataFrame(columns=[*columns, "days_until", "spend"]),
        )
    features, drawn = sampled_features(training_features, wanted, settings)
    groups = persons.customer_days_of(customer_days.select("day", "customer_id", "orders", "amount"), wanted)
    later = [next_orders(of.semi_join(drawn, "customer_id"), some).to_pandas() for some, of in groups]
    return features, pd.concat(later, ignore_index=True)


def sampled_features(
    training_features: ir.Table, wanted: list[date], settings: Settings
) -> "tuple[pd.DataFrame, ir.Table]":
    """What predictions read of the customers that a model learns from on some days, and who these are (customer_id)."""
    from crm_assets.mining.purchases import PURCHASE_FEATURES

    rows = training_features.filter(training_features.as_of.isin(wanted))
    rows = sample_customers(rows, max(1, settings.training_rows // len(wanted)), settings.seed)
    features = rows.select("as_of", "customer_id", **as_floats(rows, PURCHASE_FEATURES)).to_pandas()
    return features, rows.select("customer_id").distinct()


@dg.asset(
    key=["marts", BEHAVIOUR_PREDICTIONS.name],
    ins={
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "models": dg.AssetIn(["models", MODEL]),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=BEHAVIOUR_PREDICTIONS.description,
)
def behaviour_predictions(
    context: dg.AssetExecutionContext,
    customer_features: ir.Table,
    models: dict[str, StoredModel],
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """Whether and when each customer orders next, by the newest model trained before the day."""
    found = _predictions(context, lake, customer_features, models, settings.threads)
    with lake.collected(BEHAVIOUR_PREDICTIONS.schema, found) as rows:
        yield dg.Output(rows)


def _predictions(
    context: dg.AssetExecutionContext,
    lake: Lake,
    customer_features: ir.Table,
    models: Mapping[str, StoredModel],
    threads: int,
) -> "Iterator[pa.Table]":
    """Predictions of the run's days, batch by batch."""
    from crm_assets.mining.purchases import PURCHASE_FEATURES, PurchaseModel, predict_purchases

    types = BEHAVIOUR_PREDICTIONS.schema.to_pyarrow()
    for as_of in run_days(context):
        stored = models.get(month_of(as_of).isoformat())
        if stored is None or stored.document is None:
            context.log.warning("predictions of %s: needs a purchase model for %s", as_of, f"{as_of:%Y-%m}")
            continue
        model = PurchaseModel.from_document(stored.document)
        day = customer_features.filter(customer_features.as_of == as_of, customer_features.recency_days.notnull())
        rows = day.select("customer_id", **as_floats(day, PURCHASE_FEATURES)).order_by("customer_id")
        yield from scored(lake, rows, partial(predict_purchases, model, as_of=as_of), types, threads)


purchase_assets = [purchase_model, behaviour_predictions]
