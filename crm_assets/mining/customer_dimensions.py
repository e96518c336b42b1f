"""Customers on the four dimensions of segmentation: demographic, geographic, behavioural, psychographic.

Belongs here: dimensions of a day from the features of the day. Not here: the features (`features.py`), segments of several
dimensions (`clustering.py`, `segment_trees.py`), strata (`strata.py`).

Source: Kotler and Keller, Marketing Management, for the four bases of segmentation.
"""

from functools import reduce

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.features import DAY_PARTS, DEMOGRAPHICS, TOP_CATEGORIES
from crm_assets.contracts.segmentation import CUSTOMER_DIMENSIONS, LEVELS

FALLING, RISING = 0.75, 1.25
"""Spend of the last 30 days over the usual of the last 90, from which it is falling or rising."""

HABIT_SHARE = 2 / 3
"""Share of a customer's orders from which these days are a habit."""

WEEKEND_DAYS = 2 / 7

_KEY = ["as_of", "customer_id"]
_MILLION = 1_000_000


def customer_dimensions(features: ir.Table, interests: ir.Table | None = None) -> ir.Table:
    """Where each customer who ordered stands on each dimension.

    Thirds are of the customers of the day with anything to measure; equal values share a third, the lower one.

    Args:
        features: rows of `customer_features`, of one as_of day or several.
        interests: customer_id and interests, as valid on the day; null for all without it.

    Returns:
        Rows of `contracts.segmentation.CUSTOMER_DIMENSIONS`, by as_of and customer_id.
    """
    known = features.filter(features.orders > 0)
    if interests is None:
        known = known.mutate(interests=ibis.null("string"))
    else:
        said = interests.group_by("customer_id").agg(interests=interests.interests.max())
        known = known.left_join(said, "customer_id").drop("customer_id_right")
    known = _with_affinity(known)
    ordered = known.orders_365d > 0
    basket = ordered.ifelse(known.amount_365d / known.orders_365d.cast("float64").nullif(0.0), ibis.null("float64"))
    promoted = known.promoted_share_365d.fill_null(0.0) + known.coupon_share_365d.fill_null(0.0)
    offered = known.promoted_share_365d.notnull() | known.coupon_share_365d.notnull()
    parts = [known[f"{part}_share"] for part in DAY_PARTS]
    most = ibis.greatest(*[part.fill_null(-1.0) for part in parts])
    columns = {
        **{name: known[name] for name in (*_KEY, *DEMOGRAPHICS, "interests", "affinity_category", "category_affinity")},
        "activity": (known.orders_90d > 0).ifelse(_third(known, known.orders_90d, known.orders_90d > 0), "none"),
        "basket_size": ordered.ifelse(_third(known, basket, ordered), ibis.null("string")),
        "variety": ordered.ifelse(_third(known, known.categories_365d, ordered), ibis.null("string")),
        "spend_trend": ibis.cases(
            (known.amount_change < FALLING, "falling"),
            (known.amount_change > RISING, "rising"),
            (known.amount_change.notnull(), "steady"),
            else_=ibis.null("string"),
        ),
        "favourite_category": known.top_category_1,
        "price_sensitivity": _of_share(known, known.discount_share_365d, known.discount_share_365d.notnull()),
        "promotion_affinity": _of_share(known, promoted, offered),
        "campaign_response": ibis.cases(
            (known.responses_365d > 0, "answers"), (known.contacts_365d > 0, "ignores"), else_=ibis.null("string")
        ),
        "weekday_habit": ibis.cases(
            (known.weekend_share >= HABIT_SHARE, "weekend"),
            (known.weekend_share <= 1 - HABIT_SHARE, "weekdays"),
            (known.weekend_share.notnull(), "any day"),
            else_=ibis.null("string"),
        ),
        "time_habit": ibis.cases(
            *[((most >= 0) & (part == most), name) for name, part in zip(DAY_PARTS, parts, strict=True)],
            else_=ibis.null("string"),
        ),
    }
    return known.select(**{name: columns[name] for name in CUSTOMER_DIMENSIONS.by_name}).order_by(_KEY)


def _third(rows: ir.Table, value: ir.NumericValue, counts: ir.BooleanValue) -> ir.StringValue:
    """Low, medium or high among the rows of the day that count."""
    alike = ibis.window(group_by=[rows.as_of, counts])
    place = ibis.rank().over(ibis.window(group_by=[rows.as_of, counts], order_by=value))
    third = (place * len(LEVELS) // rows.count().over(alike)).cast("int64")
    return ibis.cases(*[(third == number, level) for number, level in enumerate(LEVELS)])


def _of_share(rows: ir.Table, share: ir.FloatingValue, is_known: ir.BooleanValue) -> ir.StringValue:
    """Thirds of those above zero; none for zero, null for unknown."""
    some = (share > 0).fill_null(False) & is_known
    return ibis.cases((some, _third(rows, share, some)), (is_known, ibis.literal("none")), else_=ibis.null("string"))


def _with_affinity(known: ir.Table) -> ir.Table:
    """The favourite category whose share is furthest above its mean share among the customers of the day who favour it."""
    ranks = range(1, TOP_CATEGORIES + 1)
    named = [
        known.select(
            "as_of",
            category=known[f"top_category_{rank}"],
            # Whole millionths add up exactly, whatever the order of the threads.
            share=(known[f"top_category_{rank}_share"] * _MILLION).round().cast("int64"),
        )
        for rank in ranks
    ]
    shares = reduce(lambda left, right: left.union(right), named)
    shares = shares.filter(shares.category.notnull(), shares.share.notnull())
    usual = shares.group_by("as_of", "category").agg(total=shares.share.sum().cast("int64"), favoured=shares.count())
    usual = usual.select("as_of", "category", usual=usual.total.cast("float64") / usual.favoured / _MILLION)
    for rank in ranks:
        own = usual.select(
            **{f"_day_{rank}": usual.as_of, f"_category_{rank}": usual.category, f"_usual_{rank}": usual.usual}
        )
        known = known.left_join(
            own,
            [known.as_of == own[f"_day_{rank}"], known[f"top_category_{rank}"] == own[f"_category_{rank}"]],
        )
    lifts = [
        (known[f"top_category_{rank}_share"] / known[f"_usual_{rank}"].nullif(0.0)).fill_null(-1.0) for rank in ranks
    ]
    best = ibis.greatest(*lifts)
    at = [
        ((best >= 0) & (lift == best), known[f"top_category_{rank}"]) for rank, lift in zip(ranks, lifts, strict=True)
    ]
    return known.mutate(
        affinity_category=ibis.cases(*at, else_=ibis.null("string")), category_affinity=best.nullif(-1.0)
    )
