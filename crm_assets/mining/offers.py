"""What to offer to whom by the rules of baskets: items that go with what a customer bought and that they lack.

Belongs here: which rules are used, who meets them, what each customer lacks. Not here: mining rules (`cross_sell.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.basket import ITEM_OF_LEVEL
from crm_assets.contracts.layers import DAY
from crm_assets.contracts.offers import CROSS_SELL_OFFERS
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.rule_tests import FALSE_DISCOVERY_RATE

if TYPE_CHECKING:
    import pandas as pd

RULES_AN_ITEM = 5
"""Rules of each length that offer one item, the most confident: so many bound what is joined for each customer."""

_RULE = {
    "rule": "int32",
    "antecedent_length": "int64",
    "level": "string",
    "item": "string",
    "kind": "string",
    "antecedents": "array<string>",
    "confidence": "float64",
    "lift": "float64",
    "holdout_lift": "float64",
    "expected_value": "float64",
    "reason": "string",
}
_NEEDED = {"level": "string", "item": "string", "rule": "int32"}


@dataclass(frozen=True)
class OfferRules:
    """How offers are made.

    Attributes:
        count: Most offers to a customer.
        history_days: Days in which the antecedents of a rule were bought.
        repeat_days: Days within which what was bought is not offered; 0 offers anything.
    """

    count: int = 5
    history_days: int = 90
    repeat_days: int = 90

    def __post_init__(self) -> None:
        if self.count < 1 or self.history_days < 1 or self.repeat_days < 0:
            raise ValueError(f"offers need a count and a history of at least 1 and no negative repeat window: {self}")


def cross_sell_offers(
    transactions: ir.Table,
    products: ir.Table,
    rules: ir.Table,
    as_of: date,
    limits: OfferRules,
    hold: Callable[[ir.Table], ir.Table] = lambda table: table,
) -> ir.Table:
    """The best offers to each customer by the rules whose antecedents they bought and whose consequent they did not.

    Rules are used if they are no chance finding, lift sales, and did so again in held-out baskets where there were
    some. For each item a customer lacks, the rule with the highest confidence that they meet speaks for it.

    Args:
        transactions: clean order lines of persons; later ones, returns and those without a customer are not seen.
        products: versions of the products; the one valid at `as_of` says what an item is.
        rules: as in `contracts.basket.CROSS_SELL_RULES`; those that suggest several items at once are not used.
        as_of: last day seen.
        limits: how many, and which days count.
        hold: keeps a table that is used more than once.

    Returns:
        Rows of `contracts.offers.CROSS_SELL_OFFERS`; equal values are ranked by level and item.
    """
    bought = products_bought(transactions, products, as_of, max(limits.history_days, limits.repeat_days))
    levels = [items_of(bought, level).drop("amount").mutate(level=ibis.literal(level)) for level in ITEM_OF_LEVEL]
    items = reduce(lambda left, right: left.union(right), levels)
    chosen = _chosen(rules, products, as_of, limits)
    known = ibis.memtable(chosen, schema=_RULE)
    exploded = chosen[["level", "antecedents", "rule"]].explode("antecedents")
    needed = ibis.memtable(exploded.set_axis(list(_NEEDED), axis=1), schema=_NEEDED)
    concerned = needed.select("level", "item").union(known.select("level", "item")).distinct()
    held = items.semi_join(concerned, ["level", "item"]).group_by("customer_id", "level", "item")
    held = hold(held.agg(last=_[DAY.name].max()))
    owned = held.filter(held["last"] > as_of - timedelta(days=limits.history_days))
    met = owned.join(needed, ["level", "item"]).group_by("customer_id", "rule").agg(antecedents_held=_.count())
    met = met.join(known, "rule").filter(_.antecedents_held == _.antecedent_length)
    lately = held.filter(held["last"] > as_of - timedelta(days=limits.repeat_days))
    lacking = met.anti_join(lately, ["customer_id", "level", "item"])
    best = [ibis.desc("confidence"), "antecedent_length", "rule"]
    offers = lacking.mutate(place=ibis.row_number().over(group_by=["customer_id", "level", "item"], order_by=best))
    offers = offers.filter(offers.place == 0)
    order = [ibis.desc("expected_value"), "level", "item"]
    ranked = offers.mutate(rank=ibis.row_number().over(group_by="customer_id", order_by=order) + 1)
    ranked = ranked.filter(ranked["rank"] <= limits.count).mutate(as_of=ibis.literal(as_of))
    columns = {column.name: ranked[column.name].cast(column.dtype) for column in CROSS_SELL_OFFERS.columns}
    return ranked.select(**columns).order_by(*CROSS_SELL_OFFERS.key)


def products_bought(transactions: ir.Table, products: ir.Table, as_of: date, days: int) -> ir.Table:
    """What customers bought in the newest days, with what each product is at every level.

    Args:
        transactions: clean order lines; later ones, returns and those without a customer are not seen.
        products: versions of the products; the one valid at `as_of` says what an item is.
        as_of: last day seen.
        days: their number.

    Returns:
        A row for each order line of a known product: customer_id, day, amount, and the columns of `ITEM_OF_LEVEL`.
    """
    day = transactions[DAY.name]
    lines = transactions.filter(
        day <= as_of,
        day > as_of - timedelta(days=days),
        _.customer_id.notnull(),
        ~_.is_return.fill_null(False),
        _.quantity.fill_null(0) >= 0,
    )
    known = valid_on(products, as_of).select(*ITEM_OF_LEVEL.values())
    return lines.select("customer_id", "product_id", "amount", DAY.name).join(known, "product_id")


def items_of(bought: ir.Table, level: str) -> ir.Table:
    """The items of a level among `products_bought`: customer_id, day, amount, item; those without this level left out."""
    column = bought[ITEM_OF_LEVEL[level]]
    return bought.filter(column.notnull()).select("customer_id", DAY.name, "amount", item=column)


def _chosen(rules: ir.Table, products: ir.Table, as_of: date, limits: OfferRules) -> "pd.DataFrame":
    """The rules to use, numbered, with the reason of what they offer."""
    found = rules.filter(
        _.consequent_length == 1,
        _.q_value <= FALSE_DISCOVERY_RATE,
        ~_.is_redundant,
        _.lift > 1,
        _.holdout_lift.isnull() | (_.holdout_lift > 1),
        _.expected_value > 0,
    )
    measures = ["antecedents", "antecedent_length", "confidence", "lift", "holdout_lift", "expected_value"]
    found = found.select("level", *measures, item=found.consequents[0])
    order = [ibis.desc("confidence"), "antecedents"]
    group = ["level", "item", "antecedent_length"]
    found = found.mutate(place=ibis.row_number().over(group_by=group, order_by=order))
    chosen = found.filter(found.place < RULES_AN_ITEM).to_pandas()
    # As tuples they sort, and as objects they stay lists where there are none.
    chosen["antecedents"] = chosen["antecedents"].map(tuple).astype("object")
    chosen = chosen.sort_values(["level", "item", "antecedent_length", "antecedents"], ignore_index=True)
    chosen["kind"] = (chosen["antecedent_length"] > 1).map({True: "missing item", False: "rule"}).astype("object")
    names = _product_names(chosen, products, as_of)
    chosen["reason"] = [
        f"bought {_listed([names.get(name, name) for name in antecedents] if level == 'product' else antecedents)} "
        f"in the last {limits.history_days} days, but not {names.get(item, item) if level == 'product' else item}: "
        f"{confidence:.0%} of baskets with {'these' if len(antecedents) > 1 else 'it'} have it, "
        f"{lift:.1f} times as many as by chance"
        for level, antecedents, item, confidence, lift in zip(
            chosen["level"], chosen["antecedents"], chosen["item"], chosen["confidence"], chosen["lift"], strict=True
        )
    ]
    chosen["rule"] = range(len(chosen))
    return chosen[list(_RULE)]


def _product_names(chosen: "pd.DataFrame", products: ir.Table, as_of: date) -> dict[str, str]:
    """Names of the products of rules, by id; products without a name are left out."""
    of_products = chosen[chosen["level"] == "product"]
    ids = sorted({*of_products["item"], *(item for items in of_products["antecedents"] for item in items)})
    if not ids:
        return {}
    wanted = ibis.memtable({"product_id": ids}, schema={"product_id": "string"})
    valid = valid_on(products, as_of).semi_join(wanted, "product_id").filter(_.product_name.notnull())
    named = valid.group_by("product_id").agg(name=_.product_name.max()).to_pandas()
    return dict(zip(named["product_id"], named["name"], strict=True))


def _listed(items: Sequence[str]) -> str:
    """Items as people list them: a, b and c."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
