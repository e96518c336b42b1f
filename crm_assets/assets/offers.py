"""What to offer to whom by rules and by price, and what to do next.

Belongs here: reading, calling, returning. Not here: how offers are made (`mining/offers.py`, `mining/up_sell_offers.py`)
or actions chosen (`mining/next_best_action.py`).
"""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.persons import MEMBERS
from crm_assets.contracts.basket import CROSS_SELL_RULES, SEQUENTIAL_RULES
from crm_assets.contracts.offers import CROSS_SELL_OFFERS, NEXT_BEST_ACTION, UP_SELL_LEADERBOARD, UP_SELL_OFFERS
from crm_assets.contracts.purchases import BEHAVIOUR_PREDICTIONS
from crm_assets.contracts.recommendations import RECOMMENDATIONS
from crm_assets.contracts.response import RESPONSE_SCORES
from crm_assets.contracts.retention import RETENTION_QUEUE
from crm_assets.contracts.value import CUSTOMER_VALUE
from crm_assets.lake.layout import Lake
from crm_assets.mining.next_best_action import ContactPolicy, product_prices
from crm_assets.mining.next_best_action import next_best_action as choose_action
from crm_assets.mining.offers import OfferRules
from crm_assets.mining.offers import cross_sell_offers as make_offers
from crm_assets.mining.persons import Persons
from crm_assets.settings import Settings


@dg.asset(
    key=["marts", CROSS_SELL_OFFERS.name],
    ins={
        "rules": dg.AssetIn(["marts", CROSS_SELL_RULES.name]),
        "sequences": dg.AssetIn(["marts", SEQUENTIAL_RULES.name]),
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "products": dg.AssetIn(["clean", "products"]),
        "identity_members": MEMBERS,
    },
    description=CROSS_SELL_OFFERS.description,
)
def cross_sell_offers(
    context: dg.AssetExecutionContext,
    rules: ir.Table,
    sequences: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """What to offer to each customer by rules of purchases, as of the newest day with an order."""
    as_of = transactions.day.max().to_pyarrow().as_py()
    if as_of is None or not any(known.limit(1).count().to_pyarrow().as_py() for known in (rules, sequences)):
        context.log.warning("cross-sell offers: needs %s: 0 rows", "transactions" if as_of is None else "rules")
        yield dg.Output(ibis.memtable([], schema=CROSS_SELL_OFFERS.schema))
        return
    limits = OfferRules(settings.offer_count, settings.offer_history_days, settings.offer_repeat_days)
    lines = Persons.of(identity_members).rows(transactions, as_of)
    with lake.engine.holding() as hold:
        found = make_offers(lines, products, rules, sequences, as_of, limits, settings.seed, hold)
        came_true = found.came_true.to_markdown(index=False, floatfmt=".3f")
        yield dg.Output(found.offers, metadata={"as of": str(as_of), "what came true": dg.MetadataValue.md(came_true)})


@dg.multi_asset(
    name=UP_SELL_OFFERS.name,
    ins={
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "products": dg.AssetIn(["clean", "products"]),
        "identity_members": MEMBERS,
    },
    outs={
        "offers": dg.AssetOut(key=["marts", UP_SELL_OFFERS.name], description=UP_SELL_OFFERS.description),
        "leaderboard": dg.AssetOut(
            key=["quality", UP_SELL_LEADERBOARD.name], description=UP_SELL_LEADERBOARD.description
        ),
    },
)
def up_sell_offers(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[object]]:
    """The step above what each customer buys, as of the newest day with an order, and how well steps were foreseen."""
    from crm_assets.mining.up_sell_offers import nothing as no_steps
    from crm_assets.mining.up_sell_offers import up_sell_offers as make_steps

    as_of = transactions.day.max().to_pyarrow().as_py()
    if as_of is None:
        context.log.warning("up-sell offers: needs transactions: 0 rows")
        yield dg.Output(no_steps(), "offers")
        yield dg.Output(ibis.memtable([], schema=UP_SELL_LEADERBOARD.schema), "leaderboard")
        return
    limits = OfferRules(settings.offer_count, settings.offer_history_days, settings.offer_repeat_days)
    lines = Persons.of(identity_members).rows(transactions, as_of)
    with lake.engine.holding() as hold:
        found = make_steps(lines, products, as_of, limits, settings.seed, hold)
        context.log.log("INFO" if found.trained.model else "WARNING", f"up-sell offers: {found.trained.message}")
        told = {"as of": str(as_of), "choice": found.trained.message, "ladders": str(found.ladders)}
        yield dg.Output(found.offers, "offers", metadata=told)
        yield dg.Output(found.trained.leaderboard, "leaderboard")


@dg.asset(
    key=["marts", NEXT_BEST_ACTION.name],
    ins={
        "queue": dg.AssetIn(["marts", RETENTION_QUEUE.name]),
        "offers": dg.AssetIn(["marts", CROSS_SELL_OFFERS.name]),
        "steps": dg.AssetIn(["marts", UP_SELL_OFFERS.name]),
        "lists": dg.AssetIn(["marts", RECOMMENDATIONS.name]),
        "responses": dg.AssetIn(["marts", RESPONSE_SCORES.name]),
        "values": dg.AssetIn(["marts", CUSTOMER_VALUE.name]),
        "predictions": dg.AssetIn(["marts", BEHAVIOUR_PREDICTIONS.name]),
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "contacts": dg.AssetIn(["clean", "campaign_contacts"]),
        "identity_members": MEMBERS,
    },
    description=NEXT_BEST_ACTION.description,
)
def next_best_action(
    context: dg.AssetExecutionContext,
    queue: ir.Table,
    offers: ir.Table,
    steps: ir.Table,
    lists: ir.Table,
    responses: ir.Table,
    values: ir.Table,
    predictions: ir.Table,
    transactions: ir.Table,
    contacts: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """What to do next with each customer, as of the newest day that customers were valued or lists made."""
    # Only where there is nothing to sell do response scores tell the day.
    as_of = _newest_day(values, lists, offers, steps) or _newest_day(responses)
    if as_of is None:
        needs = "customer values, recommendations, offers or response scores"
        context.log.warning("next best action: needs %s: 0 rows", needs)
        yield dg.Output(ibis.memtable([], schema=NEXT_BEST_ACTION.schema))
        return
    policy = ContactPolicy(
        margin=settings.retention_margin,
        take_rate=settings.offer_take_rate,
        contact_cost=settings.offer_contact_cost,
        campaign_cost=settings.response_contact_cost,
        capacity=settings.contact_capacity,
        gap_days=settings.contact_gap_days,
    )
    queue, responses, values, predictions = (
        table.filter(table.as_of == as_of) for table in (queue, responses, values, predictions)
    )
    lists = _newest_lists(lists, as_of, settings.history_refresh_days)
    contacted = Persons.of(identity_members).rows(contacts, as_of)
    with lake.engine.holding() as hold:
        prices = product_prices(transactions, as_of)
        offered = offers, steps, lists, responses
        chosen = hold(choose_action(as_of, policy, queue, *offered, values, predictions, prices, contacted, hold))
        counts = chosen.group_by("action").agg(customers=chosen.count(), expected_value=chosen.expected_value.sum())
        shown = counts.order_by("action").to_pandas().to_markdown(index=False)
        yield dg.Output(chosen, metadata={"as of": str(as_of), "actions": dg.MetadataValue.md(shown)})


def _newest_day(*tables: ir.Table) -> date | None:
    """The newest `as_of` of some tables; None where all are empty."""
    newest = (table.as_of.max().to_pyarrow().as_py() for table in tables)
    return max((day for day in newest if day is not None), default=None)


def _newest_lists(lists: ir.Table, as_of: date, days: int) -> ir.Table:
    """The newest lists that are less than some days old; none where all are older."""
    known = lists.filter(lists.as_of <= as_of, lists.as_of > as_of - timedelta(days=days))
    return known.filter(known.as_of == known.as_of.max().as_scalar())


offer_assets = [cross_sell_offers, up_sell_offers, next_best_action]
