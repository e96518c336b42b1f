"""What was sold in each day, week and month, and to how many new and returning customers.

Belongs here: sales by period and by region, channel and category. Not here: what became of customers after their first
order (`behaviour_cohorts.py`), why revenue moved (`revenue_changes.py`).

Lines are added up once for each dimension, to its orders and then to its days; weeks and months are added up from these
days, customers included.
"""

from collections.abc import Mapping
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


def sales(
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    first_day: date,
    as_of: date,
    hold: Hold = lambda table: table,
) -> ir.Table:
    """Sales of each day, week and month up to a day.

    Args:
        transactions: clean order lines, by person.
        products: product versions; the newest of each product gives its category.
        customers: customer_id and region of each customer, several rows where a person has several records.
        first_day: first day of the data, from which periods are complete.
        as_of: last day seen; later lines are ignored.
        hold: computes a table once and keeps it while the result is used.

    Returns:
        Rows of `contracts.behaviour.BEHAVIOUR_SALES`, by its key.
    """
    lines = _lines(transactions, as_of)
    # Groups by numbers take two thirds of the time of groups by texts.
    buyers = hold(_numbered(_buyers(lines, customers), "customer_id", "buyer"))
    categories = hold(_numbered(newest_categories(products), "category", "number"))
    lines = lines.left_join(buyers, "customer_id", rname="{name}_of_buyer")
    orders = hold(_orders(lines.mutate(value=lines.channel)))
    whole = _orders(orders.mutate(value=ibis.literal(ALL)))
    regions = orders.left_join(buyers.select("buyer", "region"), "buyer", rname="{name}_of_buyer")
    of_products = lines.left_join(categories, "product_id", rname="{name}_of_product")
    by_number = _days(_orders(of_products.mutate(value=of_products.number)))
    names = categories.select("number", "category").distinct()
    by_category = by_number.left_join(names, by_number.value == names.number).drop("number")
    values = {
        TOTAL: _days(whole),
        REGION: _days(_orders(regions.mutate(value=regions.region))),
        # An order of two channels is one order, so the total is not the sum of channels.
        CHANNEL: _days(orders),
        CATEGORY: by_category.mutate(value=by_category.category).drop("category"),
    }
    named = [
        rows.mutate(value=rows.value.fill_null(UNKNOWN), dimension=ibis.literal(name)) for name, rows in values.items()
    ]
    days = hold(union([rows.select("dimension", *named[0].drop("dimension").columns) for rows in named]))
    return _in_contract(union([_periods(days, period) for period in PERIODS]), first_day, as_of)


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


def _buyers(lines: ir.Table, customers: ir.Table) -> ir.Table:
    """Customers who ordered, with the day of their first order and their region."""
    bought = lines.filter(lines.ordered, lines.customer_id.notnull())
    first = bought.group_by("customer_id").agg(first_on=bought.day.min())
    regions = customers.group_by("customer_id").agg(region=customers.region.max())
    return first.left_join(regions, "customer_id").drop("customer_id_right")


def _numbered(rows: ir.Table, column: str, name: str) -> ir.Table:
    """Rows with a number for each value of a column; null for null."""
    known = rows.filter(rows[column].notnull())
    return known.mutate(**{name: ibis.dense_rank().over(order_by=column)})


def _orders(lines: ir.Table) -> ir.Table:
    """Sums of each order on each day, apart for each value; several customers' orders of one name are several."""
    return lines.group_by("value", "day", "buyer", "first_on", "anonymous", "order_id").agg(
        ordered=lines.ordered.max(),
        lines=lines.lines.sum().cast("int64"),
        **{name: lines[name].sum().cast(MONEY) for name in _AMOUNTS},
    )


def _days(orders: ir.Table) -> ir.Table:
    """Sums of each value and day; customers as those who had not ordered before in the day, week and month.

    So the customers of a period are the sum over its days.
    """
    of_customer = ibis.window(group_by=["value", "buyer", "ordered"], order_by="day")
    seen = orders.select(
        "value",
        "day",
        "lines",
        *_AMOUNTS,
        "first_on",
        orders=orders.ordered.cast("int64"),
        anonymous_orders=(orders.ordered & orders.anonymous).cast("int64"),
        known=orders.ordered & orders.buyer.notnull(),
        before=orders.day.lag().over(of_customer),
        **{f"start_of_{period}": orders.day.truncate(unit) for period, unit in _PERIOD_UNITS.items()},
    )
    columns: dict[str, ir.Value] = {name: seen[name].sum() for name in _SUMS}
    for period in PERIODS:
        starts_on = seen[f"start_of_{period}"]
        counts = seen.known & (seen.before.isnull() | (seen.before < starts_on))
        columns[f"customers_{period}"] = seen.count(where=counts)
        columns[f"new_customers_{period}"] = seen.count(where=counts & (seen.first_on >= starts_on))
        columns[f"new_customer_revenue_{period}"] = seen.revenue.sum(where=seen.first_on >= starts_on)
    return seen.group_by("value", "day").agg(**columns)


def _periods(days: ir.Table, period: str) -> ir.Table:
    counts = {name: days[f"{name}_{period}"] for name in ("customers", "new_customers", "new_customer_revenue")}
    summed = {**{name: days[name] for name in _SUMS}, **counts}
    started = days.mutate(starts_on=days.day.truncate(_PERIOD_UNITS[period]))
    totals = started.group_by("dimension", "value", "starts_on").agg(
        **{name: column.sum() for name, column in summed.items()}
    )
    return totals.mutate(period=ibis.literal(period))


def _in_contract(rows: ir.Table, first_day: date, as_of: date) -> ir.Table:
    ended = rows.starts_on <= _newest_ended(rows.period, as_of)
    columns: Mapping[str, ir.Value] = {
        "is_complete": (rows.starts_on >= first_day) & ended,
        "new_customer_revenue": rows.new_customer_revenue.fill_null(0),
        "returning_customers": rows.customers - rows.new_customers,
        "order_value": _ratio(rows.revenue, rows.orders),
        "basket_lines": _ratio(rows.lines, rows.orders),
        "orders_per_customer": _ratio(rows.orders - rows.anonymous_orders, rows.customers),
    }
    values = {column: columns[column] if column in columns else rows[column] for column in BEHAVIOUR_SALES.by_name}
    typed = {name: value.cast(BEHAVIOUR_SALES.by_name[name].dtype) for name, value in values.items()}
    return rows.select(**typed).order_by(BEHAVIOUR_SALES.key)


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
