"""What moved revenue between two months, in effects that add up to the change.

Belongs here: price, volume and mix of products; customers, orders per customer and value per order. Not here: what was
sold (`behaviour_sales.py`).

Price, volume and mix are those of the management accounts (Horngren, Datar and Rajan, Cost Accounting, chapter 14: sales
price, quantity and mix variances), for products sold in both months. The product of customers, orders per customer and
value per order is taken apart by Shapley's value, the mean effect over every order in which the three may change (Sun,
Energy Economics 20, 1998), which leaves no rest and bears zeros. Effects are rounded and the last one takes the rest.
"""

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import permutations
from math import factorial

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_assets.contracts.behaviour import ALL, UNKNOWN
from crm_assets.contracts.diagnosis import (
    BEHAVIOUR_REVENUE_CHANGES,
    COMPARISONS,
    CUSTOMERS,
    EFFECTS,
    LAST_YEAR,
    PREVIOUS_MONTH,
    PRICE_VOLUME_MIX,
)
from crm_assets.contracts.model import MONEY
from crm_assets.mining.as_of_days import Hold, union
from crm_assets.mining.behaviour_sales import newest_categories

_MONTHS_BACK = {PREVIOUS_MONTH: 1, LAST_YEAR: 12}
_PLACES = Decimal("0.0001")


def price_volume_mix(
    transactions: ir.Table,
    products: ir.Table,
    first_day: date,
    as_of: date,
    hold: Hold = lambda table: table,
) -> ir.Table:
    """Price, volume and mix effects between each complete month and earlier ones, by category and for all.

    Args:
        transactions: clean order lines.
        products: product versions; the newest of each product gives its category.
        first_day: first day of the data; months before it had ended are left out.
        as_of: last day seen; months that had not ended are left out.
        hold: computes a table once and keeps it while the result is used.

    Returns:
        Rows of `contracts.diagnosis.BEHAVIOUR_REVENUE_CHANGES`.
    """
    first, after = _complete_months(first_day, as_of)
    lines = transactions.filter(transactions.day >= first, transactions.day < after)
    lines = lines.mutate(month=lines.day.truncate("M"))
    sold = lines.group_by("month", "product_id").agg(
        units=lines.quantity.fill_null(0).sum().cast(MONEY), revenue=lines.amount.fill_null(0).sum().cast(MONEY)
    )
    named = sold.left_join(newest_categories(products), "product_id", rname="{name}_of_product")
    totals = hold(
        named.select(
            "product_id",
            "units",
            "revenue",
            category=named.category.fill_null(UNKNOWN),
            month=named.month.cast("date"),
            number=named.month.year().cast("int64") * 12 + named.month.month().cast("int64"),
        )
    )
    months = hold(totals.select("number", "month").distinct())
    changes = {compared_with: hold(_between(totals, months, compared_with)) for compared_with in COMPARISONS}
    return union(
        [
            _effect(rows, effect, compared_with)
            for compared_with, rows in changes.items()
            for effect in EFFECTS[PRICE_VOLUME_MIX]
        ]
    )


def customer_effects(transactions: ir.Table, customer_days: ir.Table, first_day: date, as_of: date) -> pd.DataFrame:
    """Effects of customers, orders per customer and value per order between each complete month and earlier ones.

    Args:
        transactions: clean order lines, for what was sold to nobody known.
        customer_days: day, customer_id, orders and amount, one row or several per day and customer.
        first_day: as in `price_volume_mix`.
        as_of: as in `price_volume_mix`.

    Returns:
        Rows of `contracts.diagnosis.BEHAVIOUR_REVENUE_CHANGES`.
    """
    first, after = _complete_months(first_day, as_of)
    days = customer_days.filter(customer_days.day >= first, customer_days.day < after)
    days = days.mutate(month=days.day.truncate("M").cast("date"))
    known = days.group_by("month").agg(
        customers=days.customer_id.nunique(where=days.orders > 0), orders=days.orders.sum(), revenue=days.amount.sum()
    )
    # Engines give sums other types, and none where there is nothing to add.
    known = known.mutate(
        **{name: known[name].fill_null(0).cast("int64") for name in ("customers", "orders")},
        revenue=known.revenue.fill_null(0).cast(MONEY),
    )
    anonymous = transactions.filter(
        transactions.customer_id.isnull(), transactions.day >= first, transactions.day < after
    )
    anonymous = anonymous.mutate(month=anonymous.day.truncate("M").cast("date"))
    unknown = anonymous.group_by("month").agg(revenue=anonymous.amount.sum())
    of_customers = {row["month"]: row for row in known.to_pyarrow().to_pylist()}
    of_nobody = {row["month"]: row["revenue"] or Decimal(0) for row in unknown.to_pyarrow().to_pylist()}
    rows = []
    for compared_with in COMPARISONS:
        for month in sorted({*of_customers, *of_nobody}):
            base = _earlier(month, _MONTHS_BACK[compared_with])
            if base not in of_customers and base not in of_nobody:
                continue
            before, now = (_factors(of_customers.get(day)) for day in (base, month))
            nobody = [of_nobody.get(day, Decimal(0)) for day in (base, month)]
            amounts = [*product_effects(before, now), nobody[1] - nobody[0]]
            base_revenue, revenue = before[3] + nobody[0], now[3] + nobody[1]
            rows += [
                (compared_with, CUSTOMERS, ALL, month, base, effect, amount, base_revenue, revenue)
                for effect, amount in zip(EFFECTS[CUSTOMERS], amounts, strict=True)
            ]
    return pd.DataFrame(rows, columns=list(BEHAVIOUR_REVENUE_CHANGES.by_name))


Factors = tuple[int, Fraction, Fraction, Decimal]
"""Customers, orders per customer, value per order, and revenue, their product."""


def product_effects(before: Factors, now: Factors) -> list[Decimal]:
    """What each factor contributes to the change of their product, to four places; they add up to the change.

    Where one side has no order, no customer's orders can be compared, and all is the effect of customers.
    """
    change = now[3] - before[3]
    if not (before[0] and now[0]):
        return [change, Decimal(0), Decimal(0)]
    start, end = before[:3], now[:3]
    effects = [Fraction(0)] * 3
    for order in permutations(range(3)):
        values = [Fraction(value) for value in start]
        for factor in order:
            product = values[0] * values[1] * values[2]
            values[factor] = Fraction(end[factor])
            effects[factor] += values[0] * values[1] * values[2] - product
    rounded = [_rounded(effect / factorial(3)) for effect in effects[:2]]
    return [*rounded, change - sum(rounded)]


def _factors(month: dict[str, object] | None) -> Factors:
    if month is None:
        return 0, Fraction(0), Fraction(0), Decimal(0)
    customers, orders = int(str(month["customers"])), int(str(month["orders"] or 0))
    revenue = Decimal(str(month["revenue"] or 0))
    if not orders:
        return 0, Fraction(0), Fraction(0), revenue
    return customers, Fraction(orders, customers), Fraction(revenue) / orders, revenue


def _rounded(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(_PLACES, ROUND_HALF_UP)


def _complete_months(first_day: date, as_of: date) -> tuple[date, date]:
    """First day of the first complete month, and the day after the last one."""
    first = first_day if first_day.day == 1 else (first_day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return first, (as_of + timedelta(days=1)).replace(day=1)


def _earlier(month: date, months: int) -> date:
    number = month.year * 12 + month.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def _between(totals: ir.Table, months: ir.Table, compared_with: str) -> ir.Table:
    """Effects of every month that has an earlier one to be compared with, a column for each."""
    back = _MONTHS_BACK[compared_with]
    later = months.select(later=months.number, base=months.number - back, starts_on="month")
    pairs = later.inner_join(months, later.base == months.number)
    pairs = pairs.select("later", "base", "starts_on", base_starts_on="month")
    now = pairs.inner_join(totals, pairs.later == totals.number)
    now = now.select("later", "product_id", "category", units="units", revenue="revenue")
    before = pairs.inner_join(totals, pairs.base == totals.number)
    before = before.select("later", "product_id", "category", base_units="units", base_revenue="revenue")
    key = ["later", "product_id", "category"]
    both = now.outer_join(before, key)
    both = both.select(
        later=ibis.coalesce(both.later, both.later_right),
        category=ibis.coalesce(both.category, both.category_right),
        units=both.units,
        revenue=both.revenue.fill_null(0),
        base_units=both.base_units,
        base_revenue=both.base_revenue.fill_null(0),
    )
    continues = ((both.units > 0) & (both.base_units > 0)).fill_null(False)
    is_new, is_lost = both.base_units.isnull(), both.units.isnull()
    # Rounded for each product, so that sums do not depend on their order.
    base_units = continues.ifelse(both.base_units, ibis.null(MONEY)).cast("float64")
    at_old_price = (both.base_revenue.cast("float64") * both.units.cast("float64") / base_units).round(4)
    change = both.revenue - both.base_revenue
    sums = both.group_by("later", "category").agg(
        revenue=both.revenue.sum(),
        base_revenue=both.base_revenue.sum(),
        kept_revenue=both.revenue.sum(where=continues),
        kept_base=both.base_revenue.sum(where=continues),
        kept_units=both.units.sum(where=continues),
        kept_base_units=both.base_units.sum(where=continues),
        at_old_price=at_old_price.cast(MONEY).sum(),
        new_products=change.sum(where=is_new),
        lost_products=change.sum(where=is_lost),
        other=change.sum(where=~(continues | is_new | is_lost)),
    )
    grown = sums.kept_units.cast("float64") / sums.kept_base_units.cast("float64") - 1
    volume = (sums.kept_base.cast("float64") * grown).round(4).cast(MONEY).fill_null(0)
    zero = ibis.literal(0, type=MONEY)
    money = {name: sums[name].cast(MONEY).fill_null(zero) for name in sums.columns if name not in ("later", "category")}
    effects = sums.select(
        "later",
        "category",
        revenue=money["revenue"],
        base_revenue=money["base_revenue"],
        price=money["kept_revenue"] - money["at_old_price"],
        volume=volume,
        mix=money["at_old_price"] - money["kept_base"] - volume,
        **{name: money[name] for name in ("new_products", "lost_products", "other")},
    )
    names = ["revenue", "base_revenue", *EFFECTS[PRICE_VOLUME_MIX]]
    whole = effects.group_by("later").agg(**{name: effects[name].sum() for name in names})
    typed = [
        rows.select("later", category=category, **{name: rows[name].cast(MONEY) for name in names})
        for rows, category in ((effects, effects.category), (whole, ibis.literal(ALL)))
    ]
    return union(typed).inner_join(pairs, "later")


def _effect(rows: ir.Table, effect: str, compared_with: str) -> ir.Table:
    columns = {
        "compared_with": ibis.literal(compared_with),
        "decomposition": ibis.literal(PRICE_VOLUME_MIX),
        "effect": ibis.literal(effect),
        "amount": rows[effect],
    }
    values = {name: columns[name] if name in columns else rows[name] for name in BEHAVIOUR_REVENUE_CHANGES.by_name}
    # What was held has the types that its engine gave it.
    return rows.select(**{name: value.cast(BEHAVIOUR_REVENUE_CHANGES.schema[name]) for name, value in values.items()})
