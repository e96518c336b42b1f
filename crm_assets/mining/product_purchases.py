"""What customers bought, what sells, and what may be offered: the inputs of recommendations.

Belongs here: queries in the engine whose results are bounded or read in batches. Not here: scores and lists
(`recommender.py`).
"""

from collections.abc import Sequence
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import DAY, VALID_FROM
from crm_assets.mining.cleaning import valid_on

HISTORY_DAYS = 365
"""Older purchases say nothing of what is bought next."""

WINDOWS = (30, 90)
"""Days of the shorter windows that purchases are counted in."""

MOST_HISTORY = 60
"""Products of a customer that are looked at, those bought most often."""

POPULAR_DAYS = 28
"""Newest days in which sales make a product popular; whole weeks, since weekdays differ."""

LATELY_DAYS = 60
"""A product that sold within these days, or was added to the catalogue within them, may be offered."""

BASKET_DAYS = 180
"""Newest days of orders that say what is bought together."""

MOST_TOGETHER = 4_000
"""Products, those on most order lines, of which it is known what is bought together."""

LINE = ("customer_id", "product_id", "order_id", DAY.name, "quantity")
"""Columns of an order line that recommendations read."""

EVERYBODY = ""
"""Segment of customers of whom nothing is known."""


def purchases(transactions: ir.Table, as_of: date, days: int = HISTORY_DAYS) -> ir.Table:
    """Order lines that take nothing back, of the newest days up to `as_of`, those without a customer included.

    Args:
        transactions: clean order lines.
        as_of: last day seen.
        days: their number.

    Returns:
        Columns `LINE`.
    """
    day = transactions[DAY.name]
    lines = transactions.filter(day <= as_of, day > as_of - timedelta(days=days), transactions.quantity > 0)
    return lines.select(*LINE)


def purchase_history(lines: ir.Table, as_of: date, most: int = MOST_HISTORY) -> ir.Table:
    """How often and how lately each customer bought each product.

    Args:
        lines: as `purchases` gives them; lines after `as_of` are not seen.
        as_of: last day seen.
        most: products of a customer that are kept, those bought most often and then most lately.

    Returns:
        customer_id, product_id, bought_30d, bought_90d, bought_365d (order lines), days_since (the newest of them).
    """
    day = lines[DAY.name]
    seen = lines.filter(lines.customer_id.notnull(), day <= as_of, day > as_of - timedelta(days=HISTORY_DAYS))
    counts = {
        f"bought_{days}d": seen.count(where=seen[DAY.name] > as_of - timedelta(days=days)).cast("int64")
        for days in WINDOWS
    }
    bought = seen.group_by("customer_id", "product_id").agg(
        **counts, bought_365d=seen.count().cast("int64"), last=seen[DAY.name].max()
    )
    order = [ibis.desc("bought_365d"), ibis.desc("bought_90d"), ibis.desc("last"), "product_id"]
    placed = bought.mutate(place=ibis.row_number().over(group_by="customer_id", order_by=order))
    kept = placed.filter(placed.place < most)
    since = ibis.literal(as_of).delta(kept["last"], unit="day").cast("int64")
    return kept.mutate(days_since=since).drop("place", "last")


def customer_segments_of(customers: ir.Table) -> ir.Table:
    """Gender and age band of customers as one text, `EVERYBODY` where neither is known.

    Args:
        customers: versions that are valid on one day; several of one customer are taken together.

    Returns:
        customer_id, segment.
    """
    known = [customers.gender.fill_null(""), customers.age_band.fill_null("")]
    both = ibis.literal(" ").join(known).strip()
    named = customers.filter(customers.customer_id.notnull()).select("customer_id", segment=both)
    return named.group_by("customer_id").agg(segment=named.segment.max())


def sales_of_segments(lines: ir.Table, segments: ir.Table, as_of: date) -> ir.Table:
    """Order lines of each product in each segment in the newest days.

    Args:
        lines: as `purchases` gives them.
        segments: customer_id and segment; others are of `EVERYBODY`.
        as_of: last day seen.

    Returns:
        segment, product_id, lines.
    """
    day = lines[DAY.name]
    newest = lines.filter(day <= as_of, day > as_of - timedelta(days=POPULAR_DAYS))
    joined = newest.left_join(segments, "customer_id")
    named = joined.select("product_id", segment=joined.segment.fill_null(EVERYBODY))
    return named.group_by("segment", "product_id").agg(lines=named.count().cast("int64"))


def offered_products(lines: ir.Table, products: ir.Table | None, as_of: date) -> ir.Table:
    """Products that may be offered: in the catalogue on the day, and sold lately or added lately.

    Args:
        lines: as `purchases` gives them.
        products: versions of the catalogue; None where there is none, and whatever sold lately may be offered.
        as_of: last day seen.

    Returns:
        product_id, product_name, kind (subcategory, or else category), category, brand, lines (sold lately).
    """
    day = lines[DAY.name]
    since = as_of - timedelta(days=LATELY_DAYS)
    newest = lines.filter(day <= as_of, day > since)
    sold = newest.group_by("product_id").agg(lines=newest.count().cast("int64"))
    if products is None:
        nothing = {name: ibis.null("string") for name in ("product_name", "kind", "category", "brand")}
        return sold.select("product_id", **nothing, lines="lines")
    listed = valid_on(products, as_of)
    added = products.group_by("product_id").agg(added=products[VALID_FROM.name].min())
    known = listed.left_join(sold, "product_id").drop("product_id_right")
    known = known.left_join(added, "product_id").drop("product_id_right")
    offered = known.filter((known.lines > 0) | (known.added > since))
    return offered.select(
        "product_id",
        "product_name",
        "category",
        "brand",
        kind=ibis.coalesce(offered.subcategory, offered.category),
        lines=offered.lines.fill_null(0),
    )


def basket_lines(lines: ir.Table, as_of: date, most: int = MOST_TOGETHER) -> ir.Table:
    """Which orders of the newest days hold the products that are sold most.

    Args:
        lines: as `purchases` gives them.
        as_of: last day seen.
        most: products.

    Returns:
        order_id, product_id; each pair once.
    """
    day = lines[DAY.name]
    newest = lines.filter(day <= as_of, day > as_of - timedelta(days=BASKET_DAYS))
    sold = newest.group_by("product_id").agg(lines=newest.count())
    top = sold.order_by(ibis.desc("lines"), "product_id").limit(most)
    return newest.semi_join(top, "product_id").select("order_id", "product_id").distinct()


def later_purchases(lines: ir.Table, as_of: date, horizon_days: int) -> ir.Table:
    """What each customer bought in the days after `as_of`: customer_id, product_id, each pair once."""
    day = lines[DAY.name]
    later = lines.filter(lines.customer_id.notnull(), day > as_of, day <= as_of + timedelta(days=horizon_days))
    return later.select("customer_id", "product_id").distinct()


def known_customers(customers: ir.Table, lines: ir.Table, segments: ir.Table) -> ir.Table:
    """Whom to make a list for: customers on file and those who bought, with their segments.

    Args:
        customers: versions that are valid on the day.
        lines: as `purchases` gives them.
        segments: as `customer_segments_of` gives them.

    Returns:
        customer_id, segment.
    """
    found: Sequence[ir.Table] = [customers.select("customer_id"), lines.select("customer_id")]
    everyone = found[0].union(found[1]).distinct()
    everyone = everyone.filter(everyone.customer_id.notnull())
    joined = everyone.left_join(segments, "customer_id")
    return joined.select("customer_id", segment=joined.segment.fill_null(EVERYBODY))
