"""What became of the customers whose first order fell into a month.

Belongs here: retention and value of cohorts. Not here: how soon customers order again (`behaviour_repeats.py`).
"""

from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.behaviour import BEHAVIOUR_COHORTS
from crm_assets.contracts.model import MONEY

_KEY = ["cohort_month", "months_since"]


def cohorts(customer_days: ir.Table, first_day: date, as_of: date) -> ir.Table:
    """Retention and value of each monthly cohort up to a day.

    What a customer gave back before the first order is left out.

    Args:
        customer_days: day, customer_id, orders and amount, one row or several per day and customer.
        first_day: first day of the data.
        as_of: last day seen; later days are ignored.

    Returns:
        Rows of `contracts.behaviour.BEHAVIOUR_COHORTS`, by its key: every month from the first order's to that of `as_of`.
    """
    seen = customer_days.filter(customer_days.day <= as_of, customer_days.customer_id.notnull())
    bought = seen.filter(seen.orders > 0)
    firsts = bought.group_by("customer_id").agg(cohort_month=bought.day.min().truncate("M"))
    months = seen.inner_join(firsts, "customer_id")
    months = months.mutate(months_since=_month_number(months.day) - _month_number(months.cohort_month))
    of_customers = months.group_by(*_KEY, "customer_id").agg(orders=months.orders.sum(), revenue=months.amount.sum())
    done = of_customers.group_by(_KEY).agg(
        active_customers=of_customers.count(where=of_customers.orders > 0),
        orders=of_customers.orders.sum(),
        revenue=of_customers.revenue.sum().cast(MONEY),
    )
    sizes = firsts.group_by("cohort_month").agg(customers=firsts.count())
    last = as_of.year * 12 + as_of.month
    longest = last - (first_day.year * 12 + first_day.month)
    # One row for each month since, also where nobody ordered.
    since = ibis.array([ibis.literal(n, type="int64") for n in range(longest + 1)]).unnest().name("months_since")
    grid = sizes.cross_join(since.as_table())
    grid = grid.filter(_month_number(grid.cohort_month) + grid.months_since <= last)
    rows = grid.left_join(done, _KEY).drop(*(f"{name}_right" for name in _KEY))
    rows = rows.mutate(**{name: rows[name].fill_null(0) for name in ("active_customers", "orders", "revenue")})
    so_far = ibis.cumulative_window(group_by="cohort_month", order_by="months_since")
    rows = rows.mutate(cumulative_revenue=rows.revenue.sum().over(so_far).cast(MONEY))
    month_number = _month_number(rows.cohort_month) + rows.months_since
    columns = {
        "is_complete": (month_number <= _last_complete(as_of)) & (month_number >= _first_complete(first_day)),
        "retention": rows.active_customers.cast("float64") / rows.customers.cast("float64"),
        "value_per_customer": rows.cumulative_revenue.cast("float64") / rows.customers.cast("float64"),
    }
    values = {name: columns[name] if name in columns else rows[name] for name in BEHAVIOUR_COHORTS.by_name}
    typed = {name: value.cast(BEHAVIOUR_COHORTS.by_name[name].dtype) for name, value in values.items()}
    return rows.select(**typed).order_by(_KEY)


def _month_number(day: ir.DateValue) -> ir.IntegerValue:
    return day.year().cast("int64") * 12 + day.month().cast("int64")


def _last_complete(as_of: date) -> int:
    """Number of the newest month that had ended by a day."""
    tomorrow = as_of + timedelta(days=1)
    return tomorrow.year * 12 + tomorrow.month - 1


def _first_complete(first_day: date) -> int:
    """Number of the first month that lies within the data as a whole."""
    return first_day.year * 12 + first_day.month + (first_day.day > 1)
