"""What is known of each customer at the end of a day.

Belongs here: measures of customers over windows that end on an as_of day. Not here: the sums per day they are built
from (`customer_days.py`), models on top of them.

Sums and counts are exact (integers and decimals) until the last step, so a rebuild gives equal bytes whatever the
thread order, and several as_of days at once give the rows of one at a time. Windows are nested: a row's age in days puts
it in one age class, classes are summed once, and each window is the sum of its classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import reduce

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.features import (
    CUSTOMER_FEATURES,
    DAY_PARTS,
    DEMOGRAPHICS,
    HABIT_DAYS,
    LONG_GAPS,
    RECENT_GAPS,
    TOP_CATEGORIES,
    TREND_WINDOWS,
    WEEKDAYS,
    WINDOWS,
    windowed,
)
from crm_assets.contracts.model import MONEY

_KEY = ["as_of", "customer_id"]
_SUMS = (
    "orders",
    "order_days",
    "lines",
    "quantity",
    "amount",
    "bought_amount",
    "list_amount",
    "discount",
    "coupon_discount",
    "coupon_orders",
    "promoted_amount",
    "return_lines",
    "return_amount",
    "aged_amount",
)
_OLDER = len(WINDOWS)
"""Age class of what is older than every window."""


def as_of_chunks(as_of_days: Sequence[date], size: int = 6) -> Iterator[list[date]]:
    """Split as_of days so that each call of `customer_features` stays within memory.

    Six days over a year of 2,500 customers and 1.5 million lines need well under 1 GB.
    """
    days = sorted(set(as_of_days))
    for start in range(0, len(days), size):
        yield days[start : start + size]


def customer_features(
    customer_days: ir.Table,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    campaign_contacts: ir.Table,
    as_of_days: Sequence[date],
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

    Returns:
        The columns of `CUSTOMER_FEATURES`, ordered by as_of and customer_id. Counts and amounts are zero where nothing
        happened, shares and gaps null.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("customer_features needs at least one as_of day")
    last = max(as_of_days)
    # Plain literals, not an in-memory table: the expression then compiles to SQL that stands alone.
    grid = ibis.array([ibis.literal(day) for day in sorted(set(as_of_days))]).unnest().name("as_of").as_table()

    days = customer_days.filter(customer_days.day <= last)
    activity = _activity(days, grid)
    contacts = _contacts(campaign_contacts.filter(campaign_contacts.day <= last), grid)
    people = _valid(customers, grid).select(*_KEY, "signup_at", *DEMOGRAPHICS)
    parts = [
        activity,
        _rhythm(days, grid),
        _basket_features(transactions.filter(transactions.day <= last), products, grid),
        contacts,
        people,
    ]
    known = reduce(lambda left, right: left.union(right), [part.select(_KEY) for part in (activity, contacts, people)])
    wide = known.distinct()
    for number, part in enumerate(parts):
        wide = wide.left_join(part, _KEY, rname=f"{{name}}_{number}")
    return _in_contract(wide, _ratios(wide)).order_by(_KEY)


def _activity(days: ir.Table, grid: ir.Table) -> ir.Table:
    """Sums over windows and over all history, and habits, one row per as_of day and customer."""
    aged = _aged(days, grid)
    aged = aged.mutate(
        order_days=(aged.orders > 0).cast("int64"),
        aged_amount=aged.amount * aged.age.cast("decimal(6, 0)"),
        weekday=aged.day.day_of_week.index(),
    )
    classes = aged.group_by([*_KEY, "age_class"]).aggregate(
        **{name: aged[name].sum() for name in _SUMS},
        **{name: aged.orders.sum(where=aged.weekday == number) for number, name in enumerate(WEEKDAYS)},
        **{part: aged[f"{part}_orders"].sum() for part in DAY_PARTS},
    )
    lately = classes.age_class < _OLDER
    return classes.group_by(_KEY).aggregate(
        **{
            windowed(name, window): classes[name].sum(where=classes.age_class <= number)
            for name in _SUMS
            for number, window in enumerate(WINDOWS)
        },
        **{name: classes[name].sum() for name in ("orders", "order_days", "amount")},
        **{name: classes[name].sum(where=lately) for name in (*WEEKDAYS, *DAY_PARTS)},
    )


def _rhythm(days: ir.Table, grid: ir.Table) -> ir.Table:
    """First and last order and the gaps between days with an order, one row per as_of day and customer."""
    ordered = days.filter(days.orders > 0).select("customer_id", "day")
    in_order = ibis.window(group_by="customer_id", order_by="day")
    lately = ibis.window(group_by="customer_id", order_by="day", preceding=RECENT_GAPS[-1] - 1, following=0)
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


def _basket_features(transactions: ir.Table, products: ir.Table, grid: ir.Table) -> ir.Table:
    """Distinct products and categories per window, favourite categories and their concentration."""
    spend = _category_spend(transactions, products, grid)
    # A product or category counts once, by the last day it was bought.
    age = spend.as_of.delta(spend.day, unit="day")
    categories = {
        windowed("categories", days): spend.category.count(where=spend.category.notnull() & (age < days))
        for days in WINDOWS
    }
    counts = {windowed("products", days): spend[windowed("products", days)].sum() for days in WINDOWS}
    named = spend.category.notnull()
    amount = named.ifelse(spend.amount, ibis.null(spend.amount.type()))
    total = amount.sum().over(ibis.window(group_by=_KEY))
    by_spend = ibis.window(group_by=_KEY, order_by=[named.desc(), spend.amount.desc(), spend.category])
    ranked = spend.mutate(
        rank=named.ifelse(ibis.row_number().over(by_spend) + 1, ibis.null("int64")),
        share=(total > 0).ifelse(_quotient(amount, total), ibis.null("float64")),
    )
    # Squares of whole millionths add up exactly; a sum of floats would depend on the order of the threads.
    millionths = (ranked.share * 1e6).round().cast("int64")
    favourites = {
        column: expression
        for rank in range(1, TOP_CATEGORIES + 1)
        for column, expression in (
            (f"top_category_{rank}", ranked.category.max(where=ranked["rank"] == rank)),
            (f"top_category_{rank}_share", ranked.share.max(where=ranked["rank"] == rank)),
        )
    }
    return ranked.group_by(_KEY).aggregate(
        **counts,
        **categories,
        **favourites,
        category_concentration=(millionths * millionths).sum().cast("float64") / 1e12,
    )


def _category_spend(transactions: ir.Table, products: ir.Table, grid: ir.Table) -> ir.Table:
    """Amount, last day and distinct products per customer and category, as the products were filed on the as_of day."""
    bought = transactions.filter(transactions.customer_id.notnull(), ~transactions.is_return.fill_null(False))
    lines = bought.select("customer_id", "product_id", "day", "amount").cross_join(grid)
    lines = lines.filter(lines.day <= lines.as_of, lines.as_of.delta(lines.day, unit="day") < HABIT_DAYS)
    last = lines.group_by([*_KEY, "product_id"]).aggregate(
        amount=lines.amount.fill_null(ibis.literal(0, type=MONEY)).sum(), day=lines.day.max()
    )
    filed = last.left_join(_valid(products, grid).select("as_of", "product_id", "category"), ["as_of", "product_id"])
    age = filed.as_of.delta(filed.day, unit="day")
    return filed.group_by([*_KEY, "category"]).aggregate(
        amount=filed.amount.sum(),
        day=filed.day.max(),
        **{windowed("products", days): filed.count(where=age < days) for days in WINDOWS},
    )


def _contacts(campaign_contacts: ir.Table, grid: ir.Table) -> ir.Table:
    """Contacts and responses per window; controls were not contacted."""
    contacted = campaign_contacts.filter(~campaign_contacts.is_control.fill_null(False))
    days = contacted.select("customer_id", "day", responded_on=contacted.responded_at.date())
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


def _is_valid(versions: ir.Table) -> ir.BooleanValue:
    """Whether a version was valid on the as_of day; `valid_to` is exclusive."""
    return (versions.valid_from.isnull() | (versions.valid_from <= versions.as_of)) & (
        versions.valid_to.isnull() | (versions.valid_to > versions.as_of)
    )


def _valid(versions: ir.Table, grid: ir.Table) -> ir.Table:
    return versions.cross_join(grid).filter(_is_valid(_))


def _quotient(numerator: ir.NumericValue, denominator: ir.NumericValue) -> ir.FloatingValue:
    """Numerator over denominator as floats, both exact before; null where the denominator is zero or null."""
    return numerator.cast("float64") / denominator.cast("float64").nullif(0.0)


def _ratios(wide: ir.Table) -> dict[str, ir.Value]:
    """What follows from the sums of one row."""
    recency = wide.as_of.delta(wide.last_on, unit="day")
    gaps = wide.gaps
    spread = (gaps * wide.gap_squares - wide.gap_sum * wide.gap_sum).cast("float64").sqrt()
    week = [wide[name] for name in WEEKDAYS]
    weekly = reduce(lambda left, right: left + right, week)
    favourite = ibis.greatest(*week)
    favourite_name = ibis.cases(*[(count == favourite, name) for count, name in zip(week, WEEKDAYS, strict=True)])
    shares = {
        "discount_share": (("discount", "coupon_discount"), "list_amount"),
        "coupon_share": (("coupon_orders",), "orders"),
        "promoted_share": (("promoted_amount",), "bought_amount"),
        "return_share": (("return_amount",), "bought_amount"),
    }
    return {
        "recency_days": recency,
        "tenure_days": wide.as_of.delta(wide.first_on, unit="day"),
        "signup_days": wide.as_of.delta(wide.signup_at.date(), unit="day"),
        "gap_mean": _quotient(wide.gap_sum, gaps),
        "gap_deviation": _quotient(spread, gaps),
        "gaps_over_recency_share": _quotient(wide.gaps_over_recency, gaps),
        "recency_over_median_gap": _quotient(recency, wide.gap_median),
        "favourite_weekday": (weekly > 0).ifelse(favourite_name, ibis.null("string")),
        "favourite_weekday_share": _quotient(favourite, weekly),
        "weekend_share": _quotient(wide.saturday + wide.sunday, weekly),
        "amount_change": 3 * _quotient(wide.amount_30d, wide.amount_90d),
        "orders_change": 3 * _quotient(wide.orders_30d, wide.orders_90d),
        **{f"{part}_share": _quotient(wide[part], weekly) for part in DAY_PARTS},
        **{
            windowed(name, days): _quotient(
                reduce(lambda left, right: left + right, [wide[windowed(sums, days)] for sums in over]),
                wide[windowed(under, days)],
            )
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
