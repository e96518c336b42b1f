"""What to offer to whom: the recommender of a month and the lists of a day.

Belongs here: reading, calling, returning. Not here: how lists are made (`mining/recommender.py`) or how their weights are
chosen (`mining/recommender_training.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.models import CUSTOMER_DAYS_BEFORE
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.recommendations import RECOMMENDATIONS
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining import product_purchases as purchases
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import sample_customers
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, days, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from crm_assets.mining.recommender import ListRules
    from crm_assets.mining.recommender_training import Known

MODEL = "recommender"
CUSTOMERS_A_BATCH = 5_000
"""Customers whose lists are made at once; their histories and candidates take about 200 MB."""


@dg.multi_asset(
    name="recommender_model",
    ins={
        "transactions": dg.AssetIn(["clean", "transactions"], partition_mapping=BEFORE_THE_MONTH),
        "products": dg.AssetIn(["clean", "products"]),
        "customers": dg.AssetIn(["clean", "customers"]),
        "customer_days": CUSTOMER_DAYS_BEFORE,
        "identity_members": MEMBERS,
    },
    outs={
        "model": dg.AssetOut(
            key=["models", MODEL],
            io_manager_key="model_io_manager",
            description="What to offer: weights of the signs, products that go together, and its card.",
        ),
        "leaderboard": dg.AssetOut(
            key=["quality", "leaderboard_recommendations"], description=MODEL_LEADERBOARD.description
        ),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def recommender_model(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[object]]:
    """The recommender of a month, tested on purchases before it, beside popularity and personal frequency."""
    import pandas as pd

    from crm_assets.mining.recommender_training import train_recommender

    models, boards = {}, []
    catalogue, persons = _catalogue(products), Persons.of(identity_members)
    horizon = settings.recommendation_horizon_days
    for month in run_days(context):
        last = month - timedelta(days=1)
        lines = sampled_lines(transactions, customer_days, persons, last, settings)
        segments = purchases.customer_segments_of(persons.rows(valid_on(customers, last), last))
        known = known_before(month, lines, catalogue, segments, lake, horizon)
        trained = train_recommender(known, month, horizon, _rules(settings), settings.seed)
        context.log.info("recommender for %s: %s", month, trained.message)
        card = trained.model.card if trained.model else {"model": MODEL, "needs": trained.message}
        models[month.isoformat()] = StoredModel(trained.model.to_document() if trained.model else None, card)
        boards.append(trained.leaderboard.assign(trained_for=month, month=month))
    yield dg.Output(models, "model", metadata={"choice": trained.message})
    yield dg.Output(pd.concat(boards), "leaderboard")


@dg.asset(
    key=["marts", RECOMMENDATIONS.name],
    ins={
        "transactions": dg.AssetIn(["clean", "transactions"], partition_mapping=UP_TO_THE_DAY),
        "products": dg.AssetIn(["clean", "products"]),
        "customers": dg.AssetIn(["clean", "customers"]),
        "models": dg.AssetIn(["models", MODEL]),
        "identity_members": MEMBERS,
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=RECOMMENDATIONS.description,
)
def recommendations(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    models: dict[str, StoredModel],
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """What to offer to each customer, by the newest model trained before the day."""
    inputs = transactions, _catalogue(products), customers, Persons.of(identity_members)
    with lake.collected(RECOMMENDATIONS.schema, _lists(context, lake, inputs, models, settings)) as rows:
        yield dg.Output(rows)


def _lists(
    context: dg.AssetExecutionContext,
    lake: Lake,
    inputs: tuple[ir.Table, ir.Table | None, ir.Table, Persons],
    models: Mapping[str, StoredModel],
    settings: Settings,
) -> "Iterator[pa.Table]":
    """Lists of the run's days, batch by batch."""
    import pyarrow as pa

    from crm_assets.mining.recommender import Recommender, Shop, recommend

    transactions, products, customers, persons = inputs
    types, rules = RECOMMENDATIONS.schema.to_pyarrow(), _rules(settings)
    for as_of in run_days(context):
        stored = models.get(month_of(as_of).isoformat(), StoredModel(None, {"needs": f"needs one of {as_of:%Y-%m}"}))
        if stored.document is None:
            context.log.warning("recommendations of %s: %s", as_of, stored.card.get("needs"))
            continue
        model = Recommender.from_document(stored.document, stored.card)
        with lake.engine.holding() as hold:
            lines = purchases.purchases(persons.rows(transactions, as_of), as_of)
            named = purchases.customer_segments_of(persons.rows(valid_on(customers, as_of), as_of))
            segments = hold(named)
            history = purchases.purchase_history(lines, as_of).order_by("customer_id", "product_id")
            held = hold(history)
            everyone = purchases.known_customers(segments, held, segments)
            offered = purchases.offered_products(lines, products, as_of).order_by("product_id").to_pandas()
            sales = purchases.sales_of_segments(lines, segments, as_of).order_by("segment", "product_id").to_pandas()
            shop = Shop.of(offered, sales, model.together, model.alike)
            for batch in lake.engine.batches(everyone.order_by("customer_id"), CUSTOMERS_A_BATCH):
                some = batch.to_pandas()
                ends = some["customer_id"].iloc[0], some["customer_id"].iloc[-1]
                past = held.filter(held.customer_id.between(*ends)).order_by("customer_id", "product_id").to_pandas()
                rows = recommend(model, shop, some, past, as_of, rules)
                yield pa.Table.from_pandas(rows, schema=types, preserve_index=False)


def known_before(
    month: date, lines: ir.Table, products: ir.Table | None, segments: ir.Table, lake: Lake, horizon: int
) -> "list[Known]":
    """What was known on the days that a month's recommender learns from."""
    from crm_assets.mining.recommender_training import Known, recommender_days

    found = []
    with lake.engine.held(lines) as drawn, lake.engine.held(segments) as named:
        first_day = drawn.day.min().to_pyarrow().as_py()
        for day in recommender_days(month, first_day, horizon):
            offered = purchases.offered_products(drawn, products, day).order_by("product_id").to_pandas()
            baskets = purchases.basket_lines(drawn, day).order_by("order_id", "product_id").to_pandas()
            if day == month - timedelta(days=1):
                # Nobody's list is made of it: it is what the month's products are known by.
                found.append(Known.of_products(day, offered, baskets))
                continue
            frames = (
                purchases.purchase_history(drawn, day).order_by("customer_id", "product_id"),
                purchases.sales_of_segments(drawn, named, day).order_by("segment", "product_id"),
                purchases.later_purchases(drawn, day, horizon).order_by("customer_id", "product_id"),
            )
            history, sales, later = (frame.to_pandas() for frame in frames)
            found.append(Known.of_customers(day, named.to_pandas(), history, offered, sales, baskets, later))
    return found


def sampled_lines(
    transactions: ir.Table, customer_days: ir.Table, persons: Persons, last: date, settings: Settings
) -> ir.Table:
    """Order lines that a month learns from: of all customers, or of so many that they are not too many."""
    span = purchases.HISTORY_DAYS + 2 * settings.recommendation_horizon_days
    lines = purchases.purchases(persons.rows(transactions, last), last, span)
    recent = persons.rows(customer_days, last)
    recent = recent.filter(recent.day <= last, recent.day > last - timedelta(days=span))
    counts = recent.agg(lines=recent.lines.sum(), customers=recent.customer_id.nunique()).to_pyarrow().to_pylist()[0]
    if (counts["lines"] or 0) <= settings.training_rows:
        return lines.filter(lines.customer_id.notnull())
    most = max(1, int(settings.training_rows * counts["customers"] // counts["lines"]))
    return lines.semi_join(sample_customers(recent, most, settings.seed), "customer_id")


def _catalogue(products: ir.Table) -> ir.Table | None:
    """The catalogue; None where there is none, so that nothing is held against it."""
    return products if products.limit(1).count().to_pyarrow().as_py() else None


def _rules(settings: Settings) -> "ListRules":
    from crm_assets.mining.recommender import ListRules

    return ListRules(
        settings.recommendation_count, settings.recommendation_repeat_days, settings.recommendation_new_share
    )


recommendation_assets = [recommender_model, recommendations]
