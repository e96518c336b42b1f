"""What customer value is learnt from: each customer's order history as of a day, and the spend that followed.

Belongs here: tables in the engine. Not here: models on them (`bg_nbd.py`, `gamma_gamma.py`, `value_training.py`).

An order is a day with an order: what a customer orders twice on one day is one decision to buy.
"""

from collections.abc import Sequence
from datetime import date

import ibis
import ibis.expr.types as ir

from crm_assets.mining.as_of_days import days_table


def value_measures(customer_days: ir.Table, as_of: date) -> ir.Table:
    """The order history of each customer who ordered by `as_of`.

    Args:
        customer_days: as `mining.customer_days.customer_days` gives it.
        as_of: last day seen; later days are ignored.

    Returns:
        By customer_id: customer_id, frequency (days with an order after the first one), recency (days from the first
        order to the last one), age (days from the first order to `as_of`), amount (float64, all spend net of returns).
    """
    seen = customer_days.filter(customer_days.day <= as_of, customer_days.customer_id.notnull())
    ordered = seen.orders > 0
    totals = seen.group_by("customer_id").agg(
        first=seen.day.min(where=ordered),
        last=seen.day.max(where=ordered),
        order_days=ordered.sum(),
        amount=seen.amount.sum(),
    )
    known = totals.filter(totals.order_days > 0)
    return known.select(
        "customer_id",
        frequency=(known.order_days - 1).cast("int64"),
        recency=known["last"].delta(known["first"], unit="day").cast("int64"),
        age=ibis.literal(as_of).delta(known["first"], unit="day").cast("int64"),
        amount=known.amount.cast("float64"),
    ).order_by("customer_id")


def later_spend(customer_days: ir.Table, as_of_days: Sequence[date], days: int) -> ir.Table:
    """Days with an order and spend of each customer within `days` after each as_of day, where there were any.

    The caller sees to it that these days lie in the data.

    Args:
        customer_days: as `mining.customer_days.customer_days` gives it.
        as_of_days: days to look ahead from.
        days: how far.

    Returns:
        as_of, customer_id, orders (int64), spend (float64, net of returns), by as_of and customer_id.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("later_spend needs at least one as_of day")
    grid = days_table(as_of_days)
    seen = customer_days.select("customer_id", "day", "orders", "amount").cross_join(grid)
    ahead = seen.day.delta(seen.as_of, unit="day")
    near = seen.filter(ahead > 0, ahead <= days, seen.customer_id.notnull())
    sums = near.group_by(["as_of", "customer_id"]).agg(
        orders=(near.orders > 0).sum().cast("int64"), spend=near.amount.sum()
    )
    return sums.mutate(spend=sums.spend.cast("float64")).order_by(["as_of", "customer_id"])
