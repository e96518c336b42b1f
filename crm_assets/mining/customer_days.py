"""What each customer did on each day: the sums that keep a daily refresh cheap.

Belongs here: order lines summed to customer and day. Not here: windows over days (`features.py`).
"""

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.features import CUSTOMER_DAYS, DAY_PARTS
from crm_assets.contracts.model import MONEY


def customer_days(transactions: ir.Table) -> ir.Table:
    """Orders, spend, discounts and returns of each customer on each day.

    Each day depends on that day's lines only, so any subset of days may be computed alone. Sums are over integers and
    decimals, hence exact. Lines without a customer are left out; a line whose `is_return` is null is not a return.

    Args:
        transactions: clean order lines, `ordered_at` in the workspace's time zone.

    Returns:
        The columns of `CUSTOMER_DAYS`, ordered by day and customer_id.
    """
    lines = _prepared_lines(transactions)
    zero = ibis.literal(0, type=MONEY)
    orders = lines.group_by(["day", "customer_id", "order_id"]).aggregate(
        lines=lines.bought.cast("int64").sum(),
        quantity=lines.quantity.sum(),
        amount=lines.amount.sum(),
        bought_amount=lines.bought.ifelse(lines.amount, zero).sum(),
        discount=lines.bought.ifelse(lines.discount, zero).sum(),
        coupon_discount=lines.bought.ifelse(lines.coupon_discount, zero).sum(),
        discount_lines=(lines.bought & (lines.discount + lines.coupon_discount > 0)).cast("int64").sum(),
        coupon=(lines.bought & (lines.coupon_discount > 0)).cast("int64").max(),
        promoted_amount=(lines.bought & lines.promoted).ifelse(lines.amount, zero).sum(),
        return_lines=(~lines.bought).cast("int64").sum(),
        return_amount=lines.bought.ifelse(zero, -lines.amount).sum(),
        ordered=lines.bought.cast("int64").max(),
        hour=lines.ordered_at.min().hour(),
    )
    days = orders.group_by(["day", "customer_id"]).aggregate(
        orders=orders.ordered.sum(),
        lines=orders.lines.sum(),
        coupon_orders=orders.coupon.sum(),
        **{
            name: orders[name].sum()
            for name in ("quantity", "amount", "bought_amount", "discount", "coupon_discount", "discount_lines")
        },
        **{name: orders[name].sum() for name in ("promoted_amount", "return_lines", "return_amount")},
        **{
            f"{part}_orders": ((orders.hour >= first) & (orders.hour < after)).ifelse(orders.ordered, 0).sum()
            for part, (first, after) in DAY_PARTS.items()
        },
    )
    bought = lines.filter(lines.bought).select("day", "customer_id", "product_id").distinct()
    products = bought.group_by(["day", "customer_id"]).aggregate(products=bought.count())
    joined = days.left_join(products, ["day", "customer_id"]).mutate(
        products=ibis._.products.fill_null(0),
        list_amount=ibis._.bought_amount + ibis._.discount + ibis._.coupon_discount,
    )
    typed = joined.select(**{column.name: joined[column.name].cast(column.dtype) for column in CUSTOMER_DAYS.columns})
    return typed.order_by(["day", "customer_id"])


def _prepared_lines(transactions: ir.Table) -> ir.Table:
    zero = ibis.literal(0, type=MONEY)
    known = transactions.filter(transactions.customer_id.notnull())
    return known.select(
        "day",
        "customer_id",
        "order_id",
        "product_id",
        "ordered_at",
        quantity=known.quantity.fill_null(zero),
        amount=known.amount.fill_null(zero),
        discount=known.discount.fill_null(zero),
        coupon_discount=known.coupon_discount.fill_null(zero),
        bought=~known.is_return.fill_null(False),
        promoted=known.on_display.fill_null(False) | known.in_mailer.fill_null(False),
    )
