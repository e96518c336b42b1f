"""What is known of each customer at the end of a day.

Belongs here: measures of customers over windows that end on an as_of day. Not here: the sums per day they are built
from (`customer_days.py`), what is bought (`category_features.py`), models on top of them.

Sums and counts are exact (integers and decimals) until the last step, so a rebuild gives equal bytes whatever the
thread order, and several as_of days at once give the rows of one at a time. Windows are nested: a row's age in days puts
it in one age class, classes are summed once, and each window is the sum of its classes.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import reduce

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.features import (
    CUSTOMER_FEATURES,
    DAY_PARTS,
    DEMOGRAPHICS,
    LONG_GAPS,
    RECENT_GAPS,
    TREND_WINDOWS,
    WEEKDAYS,
    WINDOWS,
    windowed,
)
from crm_assets.contracts.layers import VALID_FROM, VALID_TO
from crm_assets.contracts.model import MONEY
from crm_assets.mining.as_of_days import Hold, as_of_chunks, as_of_table, numbered, union
from crm_assets.mining.category_features import category_features

_KEY = ["as_of", "customer"]
_SUMS = (
    "orders",
    "order_days",
    "lines",
    "quantity",
    "amount",
    "bought_amount",
    "list_amount",
    "reduction",
    "coupon_orders",
    "promoted_amount",
    "return_lines",
    "return_amount",
)
_OLDER = len(WINDOWS)
"""Age class of what is older than every window."""


def customer_features(
    customer_days: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    campaign_contacts: ir.Table,
    as_of_days: Sequence[date],
    hold: Hold = lambda table: table,
) -> ir.Table:
    """Features of every customer known by each as_of day.

    A customer is known who ordered (or returned) or was contacted by then, or is in `customers` with a version valid
    then. Nothing dated after an as_of day is used for it: a response still to come is no response, and products and
    customers count as they were valid on that day.

    Args:
        customer_days: as `mining.customer_days.customer_days` gives it.
        transactions: clean order lines.
        products: product versions.
        customers: customer versions.
        campaign_contacts: clean contacts, with the day of contact as `day`.
        as_of_days: last days seen, one or many; duplicates count once.
        hold: computes a table once and keeps it while the result is used, which many days need to stay within memory.

    Returns:
        The columns of `CUSTOMER_FEATURES`, ordered by as_of and customer_id. Counts and amounts are zero where nothing
        happened, shares and gaps null.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("customer_features needs at least one as_of day")
    last = max(as_of_days)
    days = hold(customer_days.filter(customer_days.day <= last))
    contacts = campaign_contacts.filter(campaign_contacts.day <= last)
    ids = hold(numbered([days, contacts, customers], "customer_id", "customer"))
    # Rows of a customer together: groups by customer then meet their rows in a row.
    days = hold(_summed(days.inner_join(ids, "customer_id")).order_by("customer", "day"))
    contacts = contacts.inner_join(ids, "customer_id")
    chunks = [[hold(part) for part in _parts(days, contacts, chunk)] for chunk in as_of_chunks(as_of_days)]
    classes, rhythm, contacted = map(union, zip(*chunks, strict=True))
    # Held, so that the sums have the types the engine gave them, wider than Ibis takes them for.
    activity = hold(_over_windows(classes))
    people = hold(_people(customers.inner_join(ids, "customer_id"), as_of_table(as_of_days)))
    bought = category_features(transactions, products, ids, as_of_days, hold)
    wide = union([part.select(_KEY) for part in (classes, contacted, people)]).distinct()
    for number, part in enumerate([activity, rhythm, *bought, contacted, people]):
        wide = wide.left_join(part, _KEY, rname=f"{{name}}_{number}")
    wide = wide.inner_join(ids, "customer")
    return _in_contract(wide, _ratios(wide)).order_by("as_of", "customer_id")


def _parts(days: ir.Table, contacts: ir.Table, as_of_days: Sequence[date]) -> tuple[ir.Table, ir.Table, ir.Table]:
    grid = as_of_table(as_of_days)
    return _by_age(days, grid), _rhythm(days, grid), _contacts(contacts, grid)


def _people(customers: ir.Table, grid: ir.Table) -> ir.Table:
    """Versions of customers valid on each as_of day."""
    seen = customers.cross_join(grid)
    until = seen[VALID_TO.name].isnull() | (seen[VALID_TO.name] > seen.as_of)
    return seen.filter(seen[VALID_FROM.name] <= seen.as_of, until).select(*_KEY, "signup_at", *DEMOGRAPHICS)


def _summed(days: ir.Table) -> ir.Table:
    """What is added up of customer days, one column for each sum."""
    weekday = days.day.day_of_week.index()
    return days.select(
        "customer",
        "day",
        *(name for name in _SUMS if name in days.columns),
        order_days=(days.orders > 0).cast("int64"),
        reduction=(days.discount + days.coupon_discount).cast(MONEY),
        **{name: (weekday == number).ifelse(days.orders, 0) for number, name in enumerate(WEEKDAYS)},
        **{part: days[f"{part}_orders"] for part in DAY_PARTS},
    )


def _by_age(days: ir.Table, grid: ir.Table) -> ir.Table:
    """Sums per as_of day, customer and age class."""
    aged = _aged(days, grid)
    aged = aged.mutate(aged_amount=aged.amount * aged.age.cast("decimal(6, 0)"))
    # Casts back to the types of the days: sums of wide numbers are several times slower.
    return aged.group_by([*_KEY, "age_class"]).aggregate(
        **{name: aged[name].sum().cast(aged[name].type()) for name in (*_SUMS, *WEEKDAYS, *DAY_PARTS)},
        aged_amount=aged.aged_amount.sum(),
    )


def _over_windows(classes: ir.Table) -> ir.Table:
    """Each window's sums out of those of the age classes; null in a window without a row."""
    lately = classes.age_class < _OLDER
    wide = classes.group_by(_KEY).aggregate(
        youngest=classes.age_class.min(),
        **{name: classes[name].sum() for name in ("orders", "order_days", "amount")},
        **{name: classes[name].sum(where=lately) for name in (*WEEKDAYS, *DAY_PARTS)},
    )
    names = (*_SUMS, "aged_amount")
    # A join for each class: as many conditional sums of one pass take twice the time.
    for number in range(_OLDER):
        rows = classes.filter(classes.age_class == number)
        rows = rows.select(*_KEY, **{f"{name}_{number}": name for name in names})
        wide = wide.left_join(rows, _KEY, rname=f"{{name}}_{number}_right")
    columns = {}
    for name in names:
        total: ir.NumericValue = ibis.literal(0, type="int64")
        for number, window in enumerate(WINDOWS):
            total = total + wide[f"{name}_{number}"].fill_null(0)
            if name != "aged_amount" or window in TREND_WINDOWS:
                columns[windowed(name, window)] = (wide.youngest <= number).ifelse(total, ibis.null(total.type()))
    return wide.select(*_KEY, "orders", "order_days", "amount", *WEEKDAYS, *DAY_PARTS, **columns)


def _rhythm(days: ir.Table, grid: ir.Table) -> ir.Table:
    """First and last order and the gaps between days with an order, one row per as_of day and customer."""
    ordered = days.filter(days.orders > 0).select("customer", "day")
    in_order = ibis.window(group_by="customer", order_by="day")
    lately = ibis.window(group_by="customer", order_by="day", preceding=RECENT_GAPS[-1] - 1, following=0)
    ordered = ordered.mutate(
        gap=ordered.day.delta(ordered.day.lag().over(in_order), unit="day"),
        next_day=ordered.day.lead().over(in_order),
        **{f"before_{count}": ordered.day.lag(count).over(in_order) for count in RECENT_GAPS},
    )
    ordered = ordered.mutate(gap_longest_recent=ordered.gap.max().over(lately))
    seen = ordered.cross_join(grid).filter(_.day <= _.as_of)
    last = seen.filter(seen.next_day.isnull() | (seen.next_day > seen.as_of)).select(
        *_KEY,
        "gap_longest_recent",
        last_on=seen.day,
        gap_last=seen.gap,
        **{
            f"gap_mean_{count}": _quotient(seen.day.delta(seen[f"before_{count}"], unit="day"), ibis.literal(count))
            for count in RECENT_GAPS
        },
    )
    gaps = _beside(seen.select(*_KEY, "day", "gap"), last.select(*_KEY, "last_on"))
    recency = gaps.as_of.delta(gaps.last_on, unit="day")
    summed = gaps.group_by(_KEY).aggregate(
        first_on=gaps.day.min(),
        gaps=gaps.gap.count(),
        gap_sum=gaps.gap.sum(),
        gap_squares=(gaps.gap * gaps.gap).sum(),
        gap_median=gaps.gap.median(),
        gap_longest=gaps.gap.max(),
        gaps_over_recency=gaps.gap.count(where=gaps.gap > recency),
        **{f"gaps_over_{limit}": gaps.gap.count(where=gaps.gap > limit) for limit in LONG_GAPS},
    )
    return _beside(last, summed)


def _contacts(campaign_contacts: ir.Table, grid: ir.Table) -> ir.Table:
    """Contacts and responses per window; controls were not contacted."""
    contacted = campaign_contacts.filter(~campaign_contacts.is_control.fill_null(False))
    days = contacted.select("customer", "day", responded_on=contacted.responded_at.date())
    aged = _aged(days, grid)
    response_age = aged.as_of.delta(aged.responded_on, unit="day")
    return aged.group_by(_KEY).aggregate(
        **{windowed("contacts", window): aged.count(where=aged.age < window) for window in WINDOWS},
        **{
            windowed("responses", window): aged.count(where=(response_age >= 0) & (response_age < window))
            for window in WINDOWS
        },
    )


def _beside(left: ir.Table, right: ir.Table) -> ir.Table:
    return left.left_join(right, _KEY).drop(*(f"{name}_right" for name in _KEY))


def _aged(days: ir.Table, grid: ir.Table) -> ir.Table:
    """Rows by each as_of day not before them, with their age in days and the class of it."""
    seen = days.cross_join(grid).filter(_.day <= _.as_of)
    seen = seen.mutate(age=seen.as_of.delta(seen.day, unit="day"))
    classes = [(seen.age < window, number) for number, window in enumerate(WINDOWS)]
    return seen.mutate(age_class=ibis.cases(*classes, else_=_OLDER))


def _quotient(numerator: ir.NumericValue, denominator: ir.NumericValue) -> ir.FloatingValue:
    """Numerator over denominator as floats, both exact before; null where the denominator is zero or null."""
    return numerator.cast("float64") / denominator.cast("float64").nullif(0.0)


def _ratios(wide: ir.Table) -> dict[str, ir.Value]:
    """What follows from the sums of one row."""
    recency = wide.as_of.delta(wide.last_on, unit="day")
    gaps = wide.gaps
    signed_up = wide.as_of.delta(wide.signup_at.date(), unit="day")
    spread = (gaps * wide.gap_squares - wide.gap_sum * wide.gap_sum).cast("float64").sqrt()
    week = [wide[name] for name in WEEKDAYS]
    weekly = reduce(lambda left, right: left + right, week)
    favourite = ibis.greatest(*week)
    favourite_name = ibis.cases(*[(count == favourite, name) for count, name in zip(week, WEEKDAYS, strict=True)])
    shares = {
        "discount_share": ("reduction", "list_amount"),
        "coupon_share": ("coupon_orders", "orders"),
        "promoted_share": ("promoted_amount", "bought_amount"),
        "return_share": ("return_amount", "bought_amount"),
    }
    return {
        "recency_days": recency,
        "tenure_days": wide.as_of.delta(wide.first_on, unit="day"),
        # The first version of a customer holds from the beginning, so it may tell of a sign-up after the day.
        "signup_days": (signed_up >= 0).ifelse(signed_up, ibis.null("int64")),
        "gap_mean": _quotient(wide.gap_sum, gaps),
        "gap_deviation": _quotient(spread, gaps),
        "gaps_over_recency_share": _quotient(wide.gaps_over_recency, gaps),
        "recency_over_median_gap": _quotient(recency, wide.gap_median),
        "favourite_weekday": (weekly > 0).ifelse(favourite_name, ibis.null("string")),
        "favourite_weekday_share": _quotient(favourite, weekly),
        "weekend_share": _quotient(wide.saturday + wide.sunday, weekly),
        "amount_change": 3 * _quotient(wide.amount_30d.fill_null(0), wide.amount_90d),
        "orders_change": 3 * _quotient(wide.orders_30d.fill_null(0), wide.orders_90d),
        **{f"{part}_share": _quotient(wide[part], weekly) for part in DAY_PARTS},
        **{
            windowed(name, days): _quotient(wide[windowed(over, days)], wide[windowed(under, days)])
            for name, (over, under) in shares.items()
            for days in WINDOWS
        },
        **{
            # Least squares over ages 0 to n - 1: the mean age is (n - 1) / 2, the squares add up to n (n^2 - 1) / 12.
            windowed("amount_slope", days): (
                wide[windowed("amount", days)] * (days - 1) - wide[windowed("aged_amount", days)] * 2
            ).cast("float64")
            * (6 / (days * (days * days - 1)))
            for days in TREND_WINDOWS
        },
    }


def _in_contract(wide: ir.Table, ratios: Mapping[str, ir.Value]) -> ir.Table:
    """The columns of the contract with their types; nothing seen counts as zero where nulls are not allowed."""
    columns = {}
    for column in CUSTOMER_FEATURES.columns:
        value = ratios[column.name] if column.name in ratios else wide[column.name]
        value = value.cast(column.dtype)
        columns[column.name] = value.fill_null(0) if column.required and column.dtype in ("int64", "float64") else value
    return wide.select(**columns)
