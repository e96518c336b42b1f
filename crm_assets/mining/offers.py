"""What to offer to whom by rules: items that go with, or follow, what a customer bought and that they lack.

Belongs here: who meets rules, what each customer lacks, how much of what rules promise comes true. Not here: which rules
are used (`offer_rules.py`), mining them (`cross_sell.py`, `sequential_rules.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.basket import ITEM_OF_LEVEL
from crm_assets.contracts.layers import DAY
from crm_assets.contracts.offers import CROSS_SELL_OFFERS
from crm_assets.mining.as_of_days import Hold, union
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.offer_rules import CHOSEN, chosen_rules, numbered_items
from crm_assets.mining.samples import sample_customers

if TYPE_CHECKING:
    import pandas as pd

MEASURED_DAYS = 30
"""Newest days in which it is seen how much of what rules promise comes true, and days that expected values are for."""

MEASURED_CUSTOMERS = 2_000
"""Customers of whom that is seen, at most."""

LEAST_MEASURED = 100
"""What fewer customers come to buy is too much chance to tell how much comes true."""

LEAST_SHARE = 0.01
"""What comes true at least, so that offers of a kind that brought nothing keep their order."""

_KEY = ["customer_id", "code"]
_WORTH = {"rule": "int32", "expected_value": "float64"}
_CAME_TRUE = (
    *("kind", "customers", "offers"),
    *("promised", "more", "share"),
    *("sales_promised", "sales", "sales_share"),
)
_NEEDED = {"code": "int32", "rule": "int32", "antecedent_length": "int64", "target": "int32"}


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

    @property
    def seen_days(self) -> int:
        """Days of purchases that offers rest on."""
        return max(self.history_days, self.repeat_days)


@dataclass(frozen=True)
class CrossSell:
    """Offers by rules, and how much of what such rules promise came true lately.

    Attributes:
        offers: Rows of `contracts.offers.CROSS_SELL_OFFERS`; equal values are ranked by level and item.
        came_true: One row per kind of rule: kind, customers (who met one and ordered afterwards), offers (items they
            lacked), promised (sales above chance by the rules, workspace currency), more (what they spent on the items,
            above what all who lacked them and ordered did), share (by which expected values are multiplied),
            sales_promised and sales (the same without taking off what others spend), sales_share.
    """

    offers: ir.Table
    came_true: "pd.DataFrame"


def cross_sell_offers(
    transactions: ir.Table,
    products: ir.Table,
    rules: ir.Table,
    sequences: ir.Table,
    as_of: date,
    limits: OfferRules,
    seed: int = 0,
    hold: Hold = lambda table: table,
) -> CrossSell:
    """The best offers to each customer by the rules whose antecedents they bought and whose consequent they did not.

    Rules are those of `chosen_rules`; the first one that a customer meets speaks for an item.

    Rules of baskets promise sales in a basket, and most of these are to customers who buy the item all along; sequential
    rules promise sales in the days after. So that values can be compared, what each kind promises is multiplied by the
    share of it that came true: customers who met its rules before the newest days, lacked the item and ordered in these
    days spent so much on it, above all who lacked it and ordered. Where fewer than `LEAST_MEASURED` customers met a kind,
    the share of all kinds stands in, and where fewer met any, promises are taken as they are.

    Args:
        transactions: clean order lines of persons; later ones, returns and those without a customer are not seen.
        products: versions of the products; the one valid at `as_of` says what an item is.
        rules: as in `contracts.basket.CROSS_SELL_RULES`; those that suggest several items at once are not used.
        sequences: as in `contracts.basket.SEQUENTIAL_RULES`.
        as_of: last day seen.
        limits: how many, and which days count.
        seed: of the customers on whom promises are measured, where there are more than `MEASURED_CUSTOMERS`.
        hold: keeps a table that is used more than once.
    """
    chosen = chosen_rules(rules, sequences, products, as_of, limits.history_days)
    book = _Book.of(chosen)
    came_true = _came_true(transactions, products, book, chosen, as_of, limits, seed, hold)
    shares = came_true.set_index("kind")
    chosen["expected_value"] *= chosen["kind"].map(shares["share"]).astype("float64")
    sales = chosen["expected_sales"] * chosen["kind"].map(shares["sales_share"]).astype("float64")
    # Shares are of a kind; of a rule with more lift than others of its kind they may leave less than what is above others.
    chosen["expected_sales"] = sales.clip(lower=chosen["expected_value"])
    bought = products_bought(transactions, products, as_of, limits.seen_days)
    lacking = hold(book.lacking(hold(_last_days(book.lines(bought))), as_of, limits))
    worth = lacking.join(ibis.memtable(chosen[list(_WORTH)], schema=_WORTH), "rule")
    order = [ibis.desc("expected_value"), "code"]
    ranked = worth.mutate(rank=ibis.row_number().over(group_by="customer_id", order_by=order) + 1)
    ranked = ranked.filter(ranked["rank"] <= limits.count).select("customer_id", "rank", "rule")
    known = ibis.memtable(chosen[list(CHOSEN)], schema=CHOSEN)
    offers = ranked.join(known, "rule").mutate(as_of=ibis.literal(as_of))
    columns = {column.name: offers[column.name].cast(column.dtype) for column in CROSS_SELL_OFFERS.columns}
    return CrossSell(offers.select(**columns).order_by(*CROSS_SELL_OFFERS.key), came_true)


@dataclass(frozen=True)
class _Book:
    """Rules by number, the better ones first, and items by number, for joins of few bytes.

    Attributes:
        items: level, item, code: items of rules, numbered by level and name.
        single: code, rule, target (code of what is offered) of rules with one antecedent.
        several: The same for each antecedent of the other rules, and antecedent_length.
    """

    items: ir.Table
    single: ir.Table
    several: ir.Table

    @classmethod
    def of(cls, chosen: "pd.DataFrame") -> "_Book":
        import pandas as pd

        needed = chosen[["rule", "level", "antecedents", "antecedent_length", "target"]].explode("antecedents")
        needed = needed.rename(columns={"antecedents": "item"})
        items = numbered_items(chosen)
        coded = needed.merge(items, on=["level", "item"])[list(_NEEDED)]
        is_single = coded["antecedent_length"] == 1
        schema = {"level": "string", "item": "string", "code": "int32"}
        tables = (ibis.memtable(pd.DataFrame(rows), schema=_NEEDED) for rows in (coded[is_single], coded[~is_single]))
        return cls(ibis.memtable(items, schema=schema), *tables)

    def lines(self, bought: ir.Table) -> ir.Table:
        """The lines of `products_bought` with an item of a rule: customer_id, code, day, amount."""
        levels = [items_of(bought, level).mutate(level=ibis.literal(level)) for level in ITEM_OF_LEVEL]
        return union(levels).join(self.items, ["level", "item"]).select(*_KEY, DAY.name, "amount")

    def lacking(self, last_days: ir.Table, as_of: date, limits: OfferRules) -> ir.Table:
        """The items that customers lack and meet a rule for, each with the best rule: customer_id, code, rule."""
        owned = last_days.filter(last_days["last"] > as_of - timedelta(days=limits.history_days))
        met = owned.join(self.several, "code").group_by("customer_id", "rule")
        met = met.agg(antecedents=_.count(), antecedent_length=_.antecedent_length.max(), target=_.target.max())
        met = met.filter(met.antecedents == met.antecedent_length).select("customer_id", "target", "rule")
        met = met.union(owned.join(self.single, "code").select("customer_id", "target", "rule"))
        # Rules are numbered so that the least is the best, which takes no sorting of all that are met.
        best = met.group_by("customer_id", code="target").agg(rule=_.rule.min())
        return best.anti_join(_lately(last_days, as_of, limits), _KEY)


def _last_days(lines: ir.Table) -> ir.Table:
    """The last day each customer bought each item: customer_id, code, last."""
    return lines.group_by(*_KEY).agg(last=_[DAY.name].max())


def _lately(last_days: ir.Table, as_of: date, limits: OfferRules) -> ir.Table:
    """What customers bought within the repeat window: customer_id, code."""
    return last_days.filter(last_days["last"] > as_of - timedelta(days=limits.repeat_days)).select(*_KEY)


def _came_true(
    transactions: ir.Table,
    products: ir.Table,
    book: _Book,
    chosen: "pd.DataFrame",
    as_of: date,
    limits: OfferRules,
    seed: int,
    hold: Hold,
) -> "pd.DataFrame":
    """How much of what rules of each kind promised customers came to spend in the newest days, as `CrossSell` tells."""
    before, day = as_of - timedelta(days=MEASURED_DAYS), DAY.name
    days = MEASURED_DAYS + limits.seen_days
    known = transactions.filter(
        transactions[day] <= as_of, transactions[day] > as_of - timedelta(days=days), _.customer_id.notnull()
    )
    bought = hold(products_bought(sample_customers(known, MEASURED_CUSTOMERS, seed), products, as_of, days))
    ordered = bought.group_by("customer_id").agg(first=_[day].min(), last=_[day].max())
    ordered = hold(ordered.filter(ordered["first"] <= before, ordered["last"] > before).select("customer_id"))
    lines = hold(book.lines(bought).semi_join(ordered, "customer_id"))
    last_days = hold(_last_days(lines.filter(lines[day] <= before)))
    lately = _lately(last_days, before, limits)
    spent = lines.filter(lines[day] > before).group_by(*_KEY).agg(amount=_.amount.sum())
    spent = hold(spent.anti_join(lately, _KEY))
    met = hold(book.lacking(last_days, before, limits))
    offered = met.left_join(spent, _KEY).group_by("rule")
    rows = chosen[["rule", "kind", "target", "expected_value", "expected_sales"]].rename(columns={"target": "code"})
    for counted, key in (
        (offered.agg(offers=_.count(), spent=_.amount.sum().cast("float64")), "rule"),
        (spent.group_by("code").agg(all_spent=_.amount.sum().cast("float64")), "code"),
        (lately.group_by("code").agg(owners=_.count()), "code"),
    ):
        rows = rows.merge(counted.to_pandas(), on=key, how="left")
    kinds = met.join(ibis.memtable(rows[["rule", "kind"]], schema={"rule": "int32", "kind": "string"}), "rule")
    customers = kinds.group_by("kind").agg(customers=_.customer_id.nunique()).to_pandas()
    lackers = ordered.count().to_pyarrow().as_py() - rows["owners"].fillna(0)
    everyone = met.customer_id.nunique().to_pyarrow().as_py()
    return _shares(
        rows.fillna(0.0), lackers, dict(zip(customers["kind"], customers["customers"], strict=True)), everyone
    )


def _shares(
    rows: "pd.DataFrame", lackers: "pd.Series[float]", customers: Mapping[str, int], everyone: int
) -> "pd.DataFrame":
    """What came true of each kind, from what came of each rule.

    Args:
        rows: of rules: kind, expected_value, expected_sales, offers, spent (by whom it was offered to), all_spent (by all
            who lacked it).
        lackers: customers who lacked the item of each.
        customers: those who met a rule of each kind.
        everyone: those who met any.
    """
    promised = rows["offers"] * rows["expected_value"]
    more = rows["spent"] - rows["offers"] * rows["all_spent"] / lackers.clip(lower=1)
    sales_promised = rows["offers"] * rows["expected_sales"]
    sums = rows.assign(promised=promised, more=more, sales_promised=sales_promised, sales=rows["spent"])
    sums = sums.groupby("kind")[["offers", "promised", "more", "sales_promised", "sales"]].sum().reset_index()
    sums["customers"] = sums["kind"].map(customers).fillna(0)
    for share, hoped, came in (("share", "promised", "more"), ("sales_share", "sales_promised", "sales")):
        of_all = _share(everyone, sums[hoped].sum(), sums[came].sum(), 1.0)
        told = zip(sums["customers"], sums[hoped], sums[came], strict=True)
        sums[share] = [_share(*figures, of_all) for figures in told]
    return sums.astype(dict.fromkeys(("customers", "offers"), "int64"))[list(_CAME_TRUE)]


def _share(customers: int, promised: float, more: float, otherwise: float) -> float:
    """The share of a promise that came true, where enough customers tell."""
    return max(LEAST_SHARE, more / promised) if customers >= LEAST_MEASURED else otherwise


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
