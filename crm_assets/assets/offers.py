"""What to offer to whom by rules, and what to do next.

Belongs here: reading, calling, returning. Not here: how offers are made (`mining/offers.py`).
"""

from collections.abc import Iterator

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.persons import MEMBERS
from crm_assets.contracts.basket import CROSS_SELL_RULES
from crm_assets.contracts.offers import CROSS_SELL_OFFERS
from crm_assets.lake.layout import Lake
from crm_assets.mining.offers import OfferRules
from crm_assets.mining.offers import cross_sell_offers as make_offers
from crm_assets.mining.persons import Persons
from crm_assets.settings import Settings


@dg.asset(
    key=["marts", CROSS_SELL_OFFERS.name],
    ins={
        "rules": dg.AssetIn(["marts", CROSS_SELL_RULES.name]),
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "products": dg.AssetIn(["clean", "products"]),
        "identity_members": MEMBERS,
    },
    description=CROSS_SELL_OFFERS.description,
)
def cross_sell_offers(
    context: dg.AssetExecutionContext,
    rules: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """What to offer to each customer by the rules of baskets, as of the newest day with an order."""
    as_of = transactions.day.max().to_pyarrow().as_py()
    if as_of is None or not rules.limit(1).count().to_pyarrow().as_py():
        context.log.warning("cross-sell offers: needs %s: 0 rows", "transactions" if as_of is None else "rules")
        yield dg.Output(ibis.memtable([], schema=CROSS_SELL_OFFERS.schema))
        return
    limits = OfferRules(settings.offer_count, settings.offer_history_days, settings.offer_repeat_days)
    lines = Persons.of(identity_members).rows(transactions, as_of)
    with lake.engine.holding() as hold:
        offers = make_offers(lines, products, rules, as_of, limits, hold)
        yield dg.Output(offers, metadata={"as of": str(as_of)})


offer_assets = [cross_sell_offers]
