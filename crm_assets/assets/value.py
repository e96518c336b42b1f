"""What customers are worth: the model of a month and the mart of a day.

Belongs here: reading, calling, returning. Not here: how value is computed (`mining/customer_value.py`) or how its
champion is chosen (`mining/value_training.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.contracts.value import CUSTOMER_VALUE
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.persons import Persons
from crm_assets.mining.value_measures import later_spend, value_measures
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, UP_TO_THE_MONTH, days, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from crm_assets.mining.value_training import HeldOut, TrainedValue


@dg.multi_asset(
    name="customer_value_model",
    ins={
        "training_features": dg.AssetIn(["features", TRAINING_FEATURES.name], partition_mapping=UP_TO_THE_MONTH),
        "customer_days": dg.AssetIn(["profile", "customer_days"], partition_mapping=BEFORE_THE_MONTH),
        "identity_members": MEMBERS,
    },
    outs={
        "model": dg.AssetOut(
            key=["models", CUSTOMER_VALUE.name],
            io_manager_key="model_io_manager",
            description="What customers will spend: the order process, order values, the champion and its card.",
        ),
        "leaderboard": dg.AssetOut(
            key=["quality", "leaderboard_customer_value"], description=MODEL_LEADERBOARD.description
        ),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def customer_value_model(
    context: dg.AssetExecutionContext,
    training_features: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[object]]:
    """The value model of a month, chosen by spend that was held out before it, beside the baseline past spend."""
    import pandas as pd

    from crm_assets.assets import value_plots

    # Every month asks the same rows several times, so they are read once.
    with lake.engine.held(customer_days.select("day", "customer_id", "orders", "amount")) as rows:
        persons = Persons.of(identity_members)
        trained = _trained(run_days(context), rows, persons, training_features, settings)
    for month, result in trained.items():
        context.log.info("value model for %s: %s", month, result.message)
    last = trained[max(trained)]
    plot = dg.MetadataValue.md(value_plots.orders_by_frequency(last.calibration))
    models = {month.isoformat(): _stored(result) for month, result in trained.items()}
    yield dg.Output(models, "model", metadata={"choice": last.message, "expected orders": plot})
    boards = [result.leaderboard.assign(trained_for=month, month=month) for month, result in trained.items()]
    yield dg.Output(pd.concat(boards), "leaderboard")


@dg.asset(
    key=["marts", CUSTOMER_VALUE.name],
    ins={
        "customer_days": dg.AssetIn(["profile", "customer_days"], partition_mapping=UP_TO_THE_DAY),
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "models": dg.AssetIn(["models", CUSTOMER_VALUE.name]),
        "identity_members": MEMBERS,
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=CUSTOMER_VALUE.description,
)
def customer_value(
    context: dg.AssetExecutionContext,
    customer_days: ir.Table,
    customer_features: ir.Table,
    models: dict[str, StoredModel],
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """What each customer is expected to be worth, by the newest model trained before the day."""
    import pandas as pd

    from crm_assets.mining.customer_value import VALUE_FEATURES, ValueModel, score_value

    parts, persons = [], Persons.of(identity_members)
    for as_of in run_days(context):
        stored = _model_of(models, as_of)
        if stored.document is None:
            context.log.warning("customer value of %s: %s", as_of, stored.card.get("needs"))
            continue
        model = ValueModel.from_document(stored.document)
        day = customer_features.filter(customer_features.as_of == as_of).select("customer_id", *VALUE_FEATURES)
        features = day.to_pandas() if model.champion == "lightgbm" else None
        measures = _measures(customer_days, persons, as_of).to_pandas()
        parts.append(score_value(model, measures, as_of, features, settings.threads))
    return ibis.memtable(pd.concat(parts) if parts else [], schema=CUSTOMER_VALUE.schema)


def _model_of(models: Mapping[str, StoredModel], as_of: date) -> StoredModel:
    needs = {"needs": f"needs a value model for {as_of:%Y-%m}"}
    return models.get(month_of(as_of).isoformat(), StoredModel(None, needs))


def _stored(trained: "TrainedValue") -> StoredModel:
    if trained.model is None:
        return StoredModel(None, {"model": CUSTOMER_VALUE.name, "needs": trained.message})
    return StoredModel(trained.model.to_document(), trained.model.card)


def _trained(
    wanted: list[date], customer_days: ir.Table, persons: Persons, training_features: ir.Table, settings: Settings
) -> "dict[date, TrainedValue]":
    """What came of training each month; months share most of their training days, so these are fetched once."""
    from crm_assets.mining.value_training import Histories, Terms, train_value, value_training_days

    first_day = customer_days.day.min(where=customer_days.orders > 0).to_pyarrow().as_py()
    terms = Terms(settings.value_holdout_days, settings.value_horizon_days, settings.value_discount_rate, settings.seed)
    learnt_from = {
        month: value_training_days(month, first_day, terms.holdout_days) if first_day else [] for month in wanted
    }
    every_day = sorted({day for days in learnt_from.values() for day in days})
    features, spend = _features(training_features, every_day), _spend(customer_days, persons, every_day, settings)
    trained = {}
    for month, learnt in learnt_from.items():
        measures = _measures(customer_days, persons, month - timedelta(days=1)).drop("customer_id").to_pandas()
        held_out = _held_out(customer_days, persons, learnt, spend, features)
        trained[month] = train_value(
            Histories.of(measures), held_out, month, first_day or month, terms, settings.threads
        )
    return trained


def _measures(customer_days: ir.Table, persons: Persons, as_of: date) -> ir.Table:
    return value_measures(persons.customer_days(customer_days, as_of), as_of)


def _features(training_features: ir.Table, wanted: list[date]) -> "pd.DataFrame":
    from crm_assets.mining.customer_value import VALUE_FEATURES

    rows = training_features.filter(training_features.as_of.isin(wanted)) if wanted else training_features.limit(0)
    return rows.select("as_of", "customer_id", *VALUE_FEATURES).to_pandas()


def _spend(customer_days: ir.Table, persons: Persons, wanted: list[date], settings: Settings) -> "pd.DataFrame":
    import pandas as pd

    groups = persons.customer_days_of(customer_days, wanted)
    found = [later_spend(rows, days, settings.value_holdout_days).to_pandas() for days, rows in groups]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["as_of", "customer_id", "spend"])


def _held_out(
    customer_days: ir.Table, persons: Persons, wanted: list[date], spend: "pd.DataFrame", features: "pd.DataFrame"
) -> "HeldOut | None":
    from crm_assets.mining.value_training import HeldOut

    if not wanted:
        return None
    measures = _measures(customer_days, persons, wanted[-1]).to_pandas()
    return HeldOut(wanted[-1], measures, _of_days(spend, wanted), _of_days(features, wanted))


def _of_days(rows: "pd.DataFrame", wanted: list[date]) -> "pd.DataFrame":
    import pandas as pd

    return rows[pd.to_datetime(rows["as_of"]).isin(pd.to_datetime(wanted))]


value_assets = [customer_value_model, customer_value]
