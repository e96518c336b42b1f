"""What each customer buys at the end of a day: distinct products and categories, favourite categories.

Belongs here: measures of order lines by product and category. Not here: sums per day (`customer_days.py`), the other
features (`features.py`).

A purchase is kept with the day the customer next buys the same product, and with what was spent on it until then. As of
a day, the last purchases are then those between whose two days it falls: a filter, where grouping all lines anew for each
of many days would cost as much for each. Customers, products and categories are numbered first, since long texts are slow
to group by; categories in the order of their names, so that ties break as the names would.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import reduce

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.features import HABIT_DAYS, TOP_CATEGORIES, WINDOWS, windowed
from crm_assets.contracts.model import MONEY
from crm_assets.mining.cleaning import valid_on

Hold = Callable[[ir.Table], ir.Table]
"""Computes a lazy table once, so that what is built on it does not compute it again."""

_KEY = ["as_of", "customer"]
_NEVER = date(9999, 12, 31)


def as_of_chunks(as_of_days: Sequence[date], size: int = 10) -> Iterator[list[date]]:
    """Split as_of days so that what is computed for a chunk of them stays within memory.

    Ten days over a year of 2,500 customers and 1.5 million lines need well under 1 GB.
    """
    days = sorted(set(as_of_days))
    for start in range(0, len(days), size):
        yield days[start : start + size]


def category_features(
    transactions: ir.Table, products: ir.Table, as_of_days: Sequence[date], hold: Hold = lambda table: table
) -> ir.Table:
    """Distinct products and categories per window, favourite categories and their concentration.

    Args:
        transactions: clean order lines; returns and anonymous lines are left out.
        products: product versions; each day counts with the version valid then.
        as_of_days: last days seen.
        hold: keeps tables that are used several times.

    Returns:
        One row per as_of day and customer who bought within `HABIT_DAYS` before.
    """
    bought = transactions.filter(
        transactions.customer_id.notnull(),
        ~transactions.is_return.fill_null(False),
        transactions.day <= max(as_of_days),
    )
    lines = hold(
        bought.group_by("customer_id", "product_id", "day").aggregate(
            amount=bought.amount.fill_null(ibis.literal(0, type=MONEY)).sum()
        )
    )
    customers = hold(_numbered(lines, "customer_id", "customer"))
    items = hold(_numbered(lines, "product_id", "item"))
    categories = hold(_numbered(products, "category", "class"))
    filed = products.inner_join(items, "product_id").left_join(categories, "category")
    filed = hold(filed.select("item", "class", "valid_from", "valid_to"))
    purchases = hold(_purchases(lines, customers, items))
    features = union([hold(_features_of(purchases, filed, chunk)) for chunk in as_of_chunks(as_of_days)])
    for rank in range(1, TOP_CATEGORIES + 1):
        names = categories.select("class", **{f"top_category_{rank}": "category"})
        features = features.left_join(names, features[f"class_{rank}"] == names["class"]).drop("class", f"class_{rank}")
    return features.inner_join(customers, "customer").drop("customer")


def union(tables: Sequence[ir.Table]) -> ir.Table:
    """All rows of tables with the same columns."""
    return reduce(lambda left, right: left.union(right), tables)


def _features_of(purchases: ir.Table, filed: ir.Table, as_of_days: Sequence[date]) -> ir.Table:
    spend = union([_category_spend(purchases, filed, day) for day in as_of_days])
    counts = _product_counts(purchases, as_of_days)
    return _by_customer(spend).left_join(counts, _KEY).drop(*(f"{name}_right" for name in _KEY))


def _numbered(table: ir.Table, column: str, name: str) -> ir.Table:
    """The values of a column, numbered in their order."""
    values = table.filter(table[column].notnull()).select(column).distinct()
    return values.mutate(**{name: ibis.row_number().over(order_by=column).cast("int32")})


def _purchases(lines: ir.Table, customers: ir.Table, items: ir.Table) -> ir.Table:
    """What a customer bought of a product on a day, all spent on it by then, and the day it was next bought."""
    numbered = lines.inner_join(customers, "customer_id").inner_join(items, "product_id")
    numbered = numbered.select("customer", "item", "day", "amount")
    history = ibis.window(group_by=["customer", "item"], order_by="day")
    to_date = ibis.window(group_by=["customer", "item"], order_by="day", preceding=None, following=0)
    return numbered.select(
        "customer",
        "item",
        "day",
        spent=numbered.amount.sum().over(to_date).cast(MONEY),
        next_day=numbered.day.lead().over(history).fill_null(ibis.literal(_NEVER)),
    )


def _category_spend(purchases: ir.Table, filed: ir.Table, as_of: date) -> ir.Table:
    """Amount and last day per customer and category over the last `HABIT_DAYS`, as products were filed on the day."""
    start = as_of - timedelta(HABIT_DAYS)
    last = _standing(purchases, as_of).select("customer", "item", "day", amount="spent")
    before = _standing(purchases, start)
    before = before.select("customer", "item", day=ibis.null("date"), amount=(-before.spent).cast(MONEY))
    valid = valid_on(filed, as_of).select("item", "class")
    spent = last.filter(last.day > start).union(before).left_join(valid, "item")
    by_category = spent.group_by("customer", "class").aggregate(amount=spent.amount.sum(), day=spent.day.max())
    return by_category.filter(by_category.day.notnull()).mutate(as_of=ibis.literal(as_of))


def _standing(purchases: ir.Table, day: date) -> ir.Table:
    """Each customer's last purchase of each product by a day."""
    return purchases.filter(purchases.day <= day, purchases.next_day > day)


def _product_counts(purchases: ir.Table, as_of_days: Sequence[date]) -> ir.Table:
    """Distinct products per window; a product counts by the last day it was bought."""
    grid = ibis.array([ibis.literal(day) for day in as_of_days]).unnest().name("as_of").as_table()
    seen = purchases.cross_join(grid).filter(lambda row: (row.day <= row.as_of) & (row.next_day > row.as_of))
    age = seen.as_of.delta(seen.day, unit="day")
    return seen.group_by(_KEY).aggregate(
        **{windowed("products", days): seen.count(where=age < days) for days in WINDOWS}
    )


def _by_customer(spend: ir.Table) -> ir.Table:
    """Distinct categories per window, the favourite ones and their concentration; products of no category count less."""
    named = spend["class"].notnull()
    amount = named.ifelse(spend.amount, ibis.null(spend.amount.type()))
    total = amount.sum().over(ibis.window(group_by=_KEY))
    by_spend = ibis.window(group_by=_KEY, order_by=[named.desc(), spend.amount.desc(), spend["class"]])
    share = amount.cast("float64") / total.cast("float64").nullif(0.0)
    ranked = spend.mutate(
        rank=named.ifelse(ibis.row_number().over(by_spend) + 1, ibis.null("int64")),
        share=(total > 0).ifelse(share, ibis.null("float64")),
    )
    # Squares of whole millionths add up exactly; a sum of floats would depend on the order of the threads.
    millionths = (ranked.share * 1e6).round().cast("int64")
    age = ranked.as_of.delta(ranked.day, unit="day")
    favourites = {
        column: expression
        for rank in range(1, TOP_CATEGORIES + 1)
        for column, expression in (
            (f"class_{rank}", ranked["class"].max(where=ranked["rank"] == rank)),
            (f"top_category_{rank}_share", ranked.share.max(where=ranked["rank"] == rank)),
        )
    }
    return ranked.group_by(_KEY).aggregate(
        **{windowed("categories", days): ranked["class"].count(where=age < days) for days in WINDOWS},
        **favourites,
        category_concentration=(millionths * millionths).sum().cast("float64") / 1e12,
    )
