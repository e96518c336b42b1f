"""Who buys a chosen item soon: the models of a month and the scores of a day.

Belongs here: reading, calling, returning. Not here: how it is told (`mining/propensity.py`) or how champions are chosen
(`mining/propensity_training.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.models import saying_who
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.purchases import sampled_features
from crm_assets.assets.scoring import scored
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.features import HABIT_DAYS
from crm_assets.contracts.propensity import PROPENSITY_SCORES
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.offers import products_bought
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import as_floats
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, UP_TO_THE_MONTH, days, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from crm_assets.mining.propensity import Item

MODEL = "propensity_model"

ITEM_COUNT = 3
"""Items with a model where the settings name none."""


def _inputs(mapping: dg.PartitionMapping) -> dict[str, dg.AssetIn]:
    return {
        "transactions": dg.AssetIn(["clean", "transactions"], partition_mapping=mapping),
        "products": dg.AssetIn(["clean", "products"]),
        "identity_members": MEMBERS,
    }


@dg.multi_asset(
    name=MODEL,
    ins={
        "training_features": dg.AssetIn(["features", TRAINING_FEATURES.name], partition_mapping=UP_TO_THE_MONTH),
        **_inputs(BEFORE_THE_MONTH),
    },
    outs={
        "model": dg.AssetOut(
            key=["models", MODEL],
            io_manager_key="model_io_manager",
            description="Who buys each chosen item soon: the champions and their card.",
        ),
        "leaderboard": dg.AssetOut(
            key=["quality", "leaderboard_propensity"], description=MODEL_LEADERBOARD.description
        ),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def propensity_model(
    context: dg.AssetExecutionContext,
    training_features: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[object]]:
    """The propensity models of a month, tested on purchases held out before it, beside the customers' own frequency."""
    import pandas as pd

    from crm_assets.mining.propensity_training import train_propensities

    first_day = transactions.day.min().to_pyarrow().as_py()
    persons, models, boards = Persons.of(identity_members), {}, []
    for month in run_days(context):
        last = month - timedelta(days=1)
        items = _items(persons.rows(transactions, last), products, last, settings) if first_day else []
        with lake.engine.holding() as hold:
            features, histories = _training_rows(
                training_features, transactions, products, persons, items, month, first_day, settings, hold
            )
        trained = train_propensities(
            features, histories, items, month, first_day or month, settings.propensity_horizon_days, settings.seed
        )
        said = trained.message or "needs transactions of known products"
        context.log.info("propensity models for %s: %s", month, said)
        card = trained.models.card | ({} if items else {"needs": said})
        models[month.isoformat()] = StoredModel(trained.models.to_document() if items else None, card)
        boards.append(trained.leaderboard.assign(trained_for=month, month=month))
    models = saying_who(models, training_features, settings)
    yield dg.Output(models, "model", metadata={"choice": said})
    yield dg.Output(pd.concat(boards), "leaderboard")


def _items(transactions: ir.Table, products: ir.Table, last: date, settings: Settings) -> "list[Item]":
    """The items of the settings, or the categories, and without any the products, that most customers bought lately."""
    from crm_assets.mining.propensity import Item, best_sellers

    if settings.propensity_items is not None:
        return sorted({Item.of(text) for text in settings.propensity_items})
    bought = products_bought(transactions, products, last, HABIT_DAYS)
    return best_sellers(bought, "category", ITEM_COUNT) or best_sellers(bought, "product", ITEM_COUNT)


def _training_rows(
    training_features: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    persons: Persons,
    items: "list[Item]",
    month: date,
    first_day: date | None,
    settings: Settings,
    hold: Callable[[ir.Table], ir.Table],
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Features of the training days and what was done with the items, of no more customers than the settings allow."""
    import pandas as pd

    from crm_assets.mining.propensity import item_days, item_histories
    from crm_assets.mining.purchase_training import purchase_training_days
    from crm_assets.mining.purchases import PURCHASE_FEATURES

    horizon = settings.propensity_horizon_days
    wanted = purchase_training_days(month, first_day, horizon) if first_day else []
    if not wanted or not items or first_day is None:
        columns = ["as_of", "customer_id", "bought_days", "bought_days_recent", "bought_recency"]
        return (
            pd.DataFrame(columns=[*columns[:2], *PURCHASE_FEATURES]),
            pd.DataFrame(columns=[*columns, "item", "buys"]),
        )
    features, drawn = sampled_features(training_features, wanted, settings)
    last = month - timedelta(days=1)
    histories = []
    for group in persons.groups(wanted):
        lines = persons.rows(transactions, group[0]).semi_join(drawn, "customer_id")
        bought = hold(item_days(products_bought(lines, products, last, (last - first_day).days + 1), items))
        histories.append(item_histories(bought, group, horizon).to_pandas())
    return features, pd.concat(histories, ignore_index=True)


@dg.asset(
    key=["marts", PROPENSITY_SCORES.name],
    ins={
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "models": dg.AssetIn(["models", MODEL]),
        **_inputs(UP_TO_THE_DAY),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=PROPENSITY_SCORES.description,
)
def propensity_scores(
    context: dg.AssetExecutionContext,
    customer_features: ir.Table,
    models: dict[str, StoredModel],
    transactions: ir.Table,
    products: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """How likely each customer is to buy each chosen item, by the newest model trained before the day."""
    from crm_assets.mining.propensity import ranked_propensities

    persons = Persons.of(identity_members)
    scores = _scores(context, lake, customer_features, models, transactions, products, persons, settings.threads)
    with lake.collected(PROPENSITY_SCORES.schema, scores) as rows:
        yield dg.Output(ranked_propensities(rows))


def _scores(
    context: dg.AssetExecutionContext,
    lake: Lake,
    customer_features: ir.Table,
    models: Mapping[str, StoredModel],
    transactions: ir.Table,
    products: ir.Table,
    persons: Persons,
    threads: int,
) -> "Iterator[pa.Table]":
    """Scores of the run's days, batch by batch, not ranked yet."""
    from crm_assets.mining.propensity import Item, PropensityModels, item_days, item_histories, score_item
    from crm_assets.mining.purchases import PURCHASE_FEATURES

    types = PROPENSITY_SCORES.schema.to_pyarrow()
    first_day = transactions.day.min().to_pyarrow().as_py()
    for as_of in run_days(context):
        stored = models.get(month_of(as_of).isoformat())
        if stored is None or stored.document is None or first_day is None:
            context.log.warning("propensity scores of %s: needs propensity models for %s", as_of, f"{as_of:%Y-%m}")
            continue
        found = PropensityModels.from_document(stored.document)
        items = [Item.of(text) for text in sorted(found.items)]
        day = customer_features.filter(customer_features.as_of == as_of, customer_features.recency_days.notnull())
        with lake.engine.holding() as hold:
            lines = persons.rows(transactions, as_of)
            bought = item_days(products_bought(lines, products, as_of, (as_of - first_day).days + 1), items)
            known = hold(item_histories(bought, [as_of], 0).drop("as_of", "buys"))
            inputs = hold(day.select("customer_id", **as_floats(day, PURCHASE_FEATURES)))
            for item in items:
                own = known.filter(known["item"] == str(item)).drop("item")
                rows = inputs.left_join(own, "customer_id").drop("customer_id_right").order_by("customer_id")
                yield from scored(lake, rows, partial(score_item, found, item, as_of=as_of), types, threads)


propensity_assets = [propensity_model, propensity_scores]
