"""What was sold in each day, week and month, and to how many new and returning customers.

Belongs here: sales by period and by region, channel and category. Not here: which months have to be added up again
(`sales_months.py`), what became of customers after their first order (`behaviour_cohorts.py`), why revenue moved
(`revenue_changes.py`).

Sales in all and by region are added up from what customers did on each day; by channel and category from order lines, to
their orders and then to their days. Weeks and months are added up from these days, customers included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.behaviour import ALL, BEHAVIOUR_SALES, CATEGORY, CHANNEL, PERIODS, REGION, TOTAL, UNKNOWN
from crm_assets.contracts.layers import VALID_FROM
from crm_assets.contracts.model import MONEY
from crm_assets.mining.as_of_days import Hold, union

_PERIOD_UNITS = {"day": "D", "week": "W", "month": "M"}
_AMOUNTS = ("units", "revenue", "returned")
_SUMS = ("orders", "anonymous_orders", "lines", *_AMOUNTS)


@dataclass(frozen=True)
class Earlier:
    """Sales that were added up before.

    Attributes:
        rows: Rows of `contracts.behaviour.BEHAVIOUR_SALES`.
        since: First day of a month: of earlier periods, rows by channel and category are still true.
    """

    rows: ir.Table
    since: date


def sales(
    transactions: ir.Table,
    customer_days: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    first_day: date,
    as_of: date,
    hold: Hold = lambda table: table,
    earlier: Earlier | None = None,
) -> ir.Table:
    """Sales of each day, week and month up to a day.

    Args:
        transactions: Clean order lines, by person.
        customer_days: What each customer did on each day, by person; several rows where a person has several records.
        products: Product versions; the newest of each product gives its category.
        customers: customer_id and region of each customer, several rows where a person has several records.
        first_day: First day of the data, from which periods are complete.
        as_of: Last day seen; later lines are ignored.
        hold: Computes a table once and keeps it while the result is used.
        earlier: What need not be added up again.

    Returns:
        Rows of `contracts.behaviour.BEHAVIOUR_SALES`, by its key.
    """
    seen = customer_days.filter(customer_days.day <= as_of)
    # Groups by numbers take two thirds of the time of groups by texts.
    buyers = hold(_numbered(_buyers(seen, customers), "customer_id", "buyer"))
    lines = _lines(transactions, as_of).left_join(buyers, "customer_id", rname="{name}_of_buyer")
    regions = hold(_days(union([_of_customers(seen, buyers), _orders(lines.filter(lines.anonymous), lines.region)])))
    whole = regions.group_by("day").agg(**{name: regions[name].sum() for name in regions.drop("value", "day").columns})
    parts = _channels_and_categories(lines, products, min(_starts(earlier.since).values()) if earlier else None, hold)
    values = {TOTAL: whole.mutate(value=ibis.literal(ALL)), REGION: regions, **parts}
    named = [
        rows.mutate(value=rows.value.fill_null(UNKNOWN), dimension=ibis.literal(name)) for name, rows in values.items()
    ]
    columns = ["dimension", *regions.columns]
    days = hold(union([rows.cast(_types(columns)).select(columns) for rows in named]))
    found = _measures(union([_periods(days, period) for period in PERIODS]))
    if earlier:
        # The first week may have begun in the month before, of which only its days have been added up.
        found = found.filter(~_is_kept(found, earlier.since)).union(
            earlier.rows.filter(_is_kept(earlier.rows, earlier.since))
        )
    ended = found.starts_on <= _newest_ended(found.period, as_of)
    return found.mutate(is_complete=(found.starts_on >= first_day) & ended).order_by(BEHAVIOUR_SALES.key)


def newest_categories(products: ir.Table) -> ir.Table:
    """product_id and category of each product, by its newest version, also of products that are gone."""
    newest = ibis.row_number().over(group_by="product_id", order_by=ibis.desc(VALID_FROM.name))
    ranked = products.select("product_id", "category", VALID_FROM.name).mutate(rank=newest)
    return ranked.filter(ranked["rank"] == 0).select("product_id", "category")


def _lines(transactions: ir.Table, as_of: date) -> ir.Table:
    zero = ibis.literal(0, type=MONEY)
    seen = transactions.filter(transactions.day <= as_of)
    bought = ~seen.is_return.fill_null(False)
    amount = seen.amount.fill_null(zero)
    return seen.select(
        "day",
        "customer_id",
        "order_id",
        "product_id",
        "channel",
        ordered=bought,
        anonymous=seen.customer_id.isnull(),
        lines=bought.cast("int64"),
        units=seen.quantity.fill_null(zero),
        revenue=amount,
        returned=bought.ifelse(zero, -amount),
    )


def _buyers(customer_days: ir.Table, customers: ir.Table) -> ir.Table:
    """Customers who ordered, with the day of their first order and their region."""
    ordered = customer_days.filter(customer_days.orders > 0)
    first = ordered.group_by("customer_id").agg(first_on=ordered.day.min())
    regions = customers.group_by("customer_id").agg(region=customers.region.max())
    return first.left_join(regions, "customer_id").drop("customer_id_right")


def _of_customers(customer_days: ir.Table, buyers: ir.Table) -> ir.Table:
    """What each customer did on each day, as `_orders` has it, by region."""
    rows = customer_days.left_join(buyers, "customer_id", rname="{name}_of_buyer")
    return rows.select(
        "day",
        "buyer",
        "first_on",
        value=rows.region,
        orders=rows.orders.cast("int64"),
        lines=rows.lines.cast("int64"),
        anonymous_orders=ibis.literal(0, type="int64"),
        units=rows.quantity,
        revenue=rows.amount,
        returned=rows.return_amount,
    ).select(*_OF_ORDERS)


def _channels_and_categories(
    lines: ir.Table, products: ir.Table, since: date | None, hold: Hold
) -> dict[str, ir.Table]:
    """Days by channel and by category, of all lines or those since a day."""
    lines = lines.filter(lines.day >= since) if since else lines
    categories = hold(_numbered(newest_categories(products), "category", "number"))
    of_products = lines.left_join(categories, "product_id", rname="{name}_of_product")
    by_number = _days(_orders(of_products, of_products.number))
    names = categories.select("number", "category").distinct()
    by_category = by_number.left_join(names, by_number.value == names.number).drop("number")
    return {
        # An order of two channels is one order, so the total is not the sum of channels.
        CHANNEL: _days(_orders(lines, lines.channel)),
        CATEGORY: by_category.mutate(value=by_category.category).drop("category"),
    }


def _numbered(rows: ir.Table, column: str, name: str) -> ir.Table:
    """Rows with a number for each value of a column; null for null."""
    known = rows.filter(rows[column].notnull())
    return known.mutate(**{name: ibis.dense_rank().over(order_by=column)})


_OF_ORDERS = ("value", "day", "buyer", "first_on", *_SUMS)


def _orders(lines: ir.Table, value: ir.Value) -> ir.Table:
    """Sums of each order on each day, apart for each value; several customers' orders of one name are several."""
    lines = lines.mutate(value=value)
    orders = lines.group_by("value", "day", "buyer", "first_on", "anonymous", "order_id").agg(
        orders=lines.ordered.max().cast("int64"),
        lines=lines.lines.sum().cast("int64"),
        **{name: lines[name].sum().cast(MONEY) for name in _AMOUNTS},
    )
    return orders.mutate(anonymous_orders=orders.anonymous.ifelse(orders.orders, 0)).select(*_OF_ORDERS)


def _days(orders: ir.Table) -> ir.Table:
    """Sums of each value and day; customers as those who had not ordered before in the day, week and month.

    So the customers of a period are the sum over its days.
    """
    orders = orders.mutate(ordered=orders.orders > 0)
    of_customer = ibis.window(group_by=["value", "buyer", "ordered"], order_by="day")
    seen = orders.select(
        "value",
        "day",
        "first_on",
        *_SUMS,
        known=orders.ordered & orders.buyer.notnull(),
        before=orders.day.lag().over(of_customer),
        **{f"start_of_{period}": orders.day.truncate(unit) for period, unit in _PERIOD_UNITS.items()},
    )
    columns: dict[str, ir.Value] = {name: seen[name].sum() for name in _SUMS}
    for period in PERIODS:
        starts_on = seen[f"start_of_{period}"]
        counts = seen.known & (seen.before.isnull() | (seen.before < starts_on))
        columns[f"customers_{period}"] = seen.count(where=counts)
        # Who returned something before their first order is new in the period of that order only.
        is_new = seen.first_on.truncate(_PERIOD_UNITS[period]) == starts_on
        columns[f"new_customers_{period}"] = seen.count(where=counts & is_new)
        columns[f"new_customer_revenue_{period}"] = seen.revenue.sum(where=is_new)
    return seen.group_by("value", "day").agg(**columns)


def _types(columns: Sequence[str]) -> dict[str, str]:
    """Types of sums, of which engines and Ibis have ideas of their own."""
    amounts = {*_AMOUNTS, *(f"new_customer_revenue_{period}" for period in PERIODS)}
    numbers = [name for name in columns if name not in ("dimension", "value", "day")]
    return {name: MONEY if name in amounts else "int64" for name in numbers}


def _periods(days: ir.Table, period: str) -> ir.Table:
    counts = {name: days[f"{name}_{period}"] for name in ("customers", "new_customers", "new_customer_revenue")}
    summed = {**{name: days[name] for name in _SUMS}, **counts}
    started = days.mutate(starts_on=days.day.truncate(_PERIOD_UNITS[period]))
    totals = started.group_by("dimension", "value", "starts_on").agg(
        **{name: column.sum() for name, column in summed.items()}
    )
    return totals.mutate(period=ibis.literal(period))


def _measures(rows: ir.Table) -> ir.Table:
    """The columns of the contract, for now without what is complete."""
    columns: Mapping[str, ir.Value] = {
        "is_complete": ibis.literal(False),
        "new_customer_revenue": rows.new_customer_revenue.fill_null(0),
        "returning_customers": rows.customers - rows.new_customers,
        "order_value": _ratio(rows.revenue, rows.orders),
        "basket_lines": _ratio(rows.lines, rows.orders),
        "orders_per_customer": _ratio(rows.orders - rows.anonymous_orders, rows.customers),
    }
    values = {column: columns[column] if column in columns else rows[column] for column in BEHAVIOUR_SALES.by_name}
    return rows.select(**{name: value.cast(BEHAVIOUR_SALES.by_name[name].dtype) for name, value in values.items()})


def _starts(day: date) -> dict[str, date]:
    """First days of the periods of each length that a day is in."""
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}


def _is_kept(rows: ir.Table, since: date) -> ir.BooleanValue:
    starts = ibis.cases(*[(rows.period == period, ibis.literal(day)) for period, day in _starts(since).items()])
    return rows.dimension.isin([CHANNEL, CATEGORY]) & (rows.starts_on < starts)


def _newest_ended(period: ir.StringValue, as_of: date) -> ir.DateValue:
    """First day of the newest period of each length that had ended by a day."""
    tomorrow = as_of + timedelta(days=1)
    week = tomorrow - timedelta(days=tomorrow.weekday() + 7)
    month = (tomorrow.replace(day=1) - timedelta(days=1)).replace(day=1)
    return ibis.cases(
        (period == "day", ibis.literal(as_of)), (period == "week", ibis.literal(week)), else_=ibis.literal(month)
    )


def _ratio(numerator: ir.NumericValue, denominator: ir.NumericValue) -> ir.FloatingValue:
    return numerator.cast("float64") / denominator.cast("float64").nullif(0.0)
