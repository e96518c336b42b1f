"""What customers are worth: the model of a month and the mart of a day.

Belongs here: reading, calling, returning. Not here: how value is computed (`mining/customer_value.py`) or how its
champion is chosen (`mining/value_training.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.models import saying_who
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.scoring import scored
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.contracts.value import CUSTOMER_VALUE
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import as_floats, sample_customers
from crm_assets.mining.value_measures import later_spend, value_measures
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, UP_TO_THE_MONTH, days, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from crm_assets.mining.customer_value import ValueModel
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
    models = saying_who(models, training_features, settings)
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
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """What each customer is expected to be worth, by the newest model trained before the day."""
    inputs = customer_days, customer_features, Persons.of(identity_members)
    with lake.collected(CUSTOMER_VALUE.schema, _values(context, lake, inputs, models, settings)) as rows:
        yield dg.Output(rows)


def _values(
    context: dg.AssetExecutionContext,
    lake: Lake,
    inputs: tuple[ir.Table, ir.Table, Persons],
    models: Mapping[str, StoredModel],
    settings: Settings,
) -> "Iterator[pa.Table]":
    """Values of the run's days, batch by batch."""
    from crm_assets.mining.customer_value import VALUE_FEATURES, ValueModel

    customer_days, customer_features, persons = inputs
    types = CUSTOMER_VALUE.schema.to_pyarrow()
    for as_of in run_days(context):
        stored = _model_of(models, as_of)
        if stored.document is None:
            context.log.warning("customer value of %s: %s", as_of, stored.card.get("needs"))
            continue
        model = ValueModel.from_document(stored.document)
        rows = _measures(customer_days, persons, as_of)
        names = list(rows.columns)
        if model.champion == "lightgbm":
            day = customer_features.filter(customer_features.as_of == as_of)
            read = {f"_{name}": value for name, value in as_floats(day, VALUE_FEATURES).items()}
            rows = rows.left_join(day.select("customer_id", **read), "customer_id").drop("customer_id_right")
        score = partial(_value_of, model, names, as_of)
        yield from scored(lake, rows.order_by("customer_id"), score, types, settings.threads)


def _value_of(model: "ValueModel", measures: list[str], as_of: date, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Values of rows of measures and of features, whose names begin with an underscore."""
    from crm_assets.mining.customer_value import score_value

    features = rows.drop(columns=measures[1:]).rename(columns=lambda name: name.removeprefix("_"))
    return score_value(model, rows[measures], as_of, features)


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
    customers = customer_days.customer_id.nunique().to_pyarrow().as_py()
    shared = None
    if customers <= settings.training_customers and customers * len(every_day) <= settings.training_rows:
        shared = _features(training_features, every_day), _spend(customer_days, persons, every_day, settings)
    trained = {}
    for month, learnt in learnt_from.items():
        known = _measures(customer_days, persons, month - timedelta(days=1))
        measures = sample_customers(known, settings.training_rows, settings.seed).drop("customer_id").to_pandas()
        held_out = _held_out(customer_days, persons, learnt, training_features, settings, shared)
        trained[month] = train_value(
            Histories.of(measures), held_out, month, first_day or month, terms, settings.threads
        )
    return trained


def _measures(customer_days: ir.Table, persons: Persons, as_of: date) -> ir.Table:
    return value_measures(persons.customer_days(customer_days, as_of), as_of)


def _features(training_features: ir.Table, wanted: list[date]) -> "pd.DataFrame":
    from crm_assets.mining.customer_value import VALUE_FEATURES

    rows = training_features.filter(training_features.as_of.isin(wanted)) if wanted else training_features.limit(0)
    return rows.select("as_of", "customer_id", **as_floats(rows, VALUE_FEATURES)).to_pandas()


def _spend(
    customer_days: ir.Table, persons: Persons, wanted: list[date], settings: Settings, of: ir.Table | None = None
) -> "pd.DataFrame":
    import pandas as pd

    groups = persons.customer_days_of(customer_days, wanted)
    found = [later_spend(rows, days, settings.value_holdout_days) for days, rows in groups]
    kept = [(spend if of is None else spend.semi_join(of, "customer_id")).to_pandas() for spend in found]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=["as_of", "customer_id", "spend"])


def _held_out(
    customer_days: ir.Table,
    persons: Persons,
    wanted: list[date],
    training_features: ir.Table,
    settings: Settings,
    shared: "tuple[pd.DataFrame, pd.DataFrame] | None",
) -> "HeldOut | None":
    """What a month learns from: of rows that are fetched for all months at once, or of so many customers as may be."""
    from crm_assets.mining.value_training import HeldOut

    if not wanted:
        return None
    measures = _measures(customer_days, persons, wanted[-1])
    if shared:
        features, spend = (_of_days(rows, wanted) for rows in shared)
        return HeldOut(wanted[-1], measures.to_pandas(), spend, features)
    measures = measures.semi_join(training_features.filter(training_features.as_of.isin(wanted)), "customer_id")
    drawn = sample_customers(measures, max(1, settings.training_rows // len(wanted)), settings.seed)
    features = _features(training_features.semi_join(drawn, "customer_id"), wanted)
    spend = _spend(customer_days, persons, wanted, settings, drawn)
    return HeldOut(wanted[-1], drawn.to_pandas(), spend, features)


def _of_days(rows: "pd.DataFrame", wanted: list[date]) -> "pd.DataFrame":
    import pandas as pd

    return rows[pd.to_datetime(rows["as_of"]).isin(pd.to_datetime(wanted))]


value_assets = [customer_value_model, customer_value]
