"""What costs more and is of the same kind: ladders of products, where customers stand on them, and the step above.

Belongs here: ladders, standings and steps of some days, what came of them in the days after. Not here: how likely a step
is (`up_sell_training.py`), the offers (`up_sell_offers.py`), reading sizes of packages (`package_sizes.py`).
"""

from collections.abc import Sequence
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.layers import DAY
from crm_assets.contracts.offers import BIGGER, PREMIUM, STEP_KINDS, TIERS
from crm_assets.mining.as_of_days import Hold, days_table, union
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.package_sizes import package_size_of, package_sizes
from crm_assets.mining.product_purchases import LATELY_DAYS

PRICE_DAYS = 90
"""Newest days whose order lines give the price of a product."""

BEFORE_DAYS = 180
"""Newest days in which a customer may have been on a higher step."""

LEAST_PRODUCTS = 3
"""A kind of which fewer products sell has no ladder."""

LEAST_SPREAD = 1.2
"""A kind whose dearest product costs less than so many times its cheapest one has no ladder."""

LEAST_LINES = 5
"""Order lines within `PRICE_DAYS` of what is offered: others do take it, and its price is known."""

LEAST_LEAP = 1.05
"""What costs less than so many times what is bought now is no step above it."""

MOST_LEAP = 3.0
"""What costs more than so many times what is bought now is no step above it."""

ALIKE_SIZE = 2.0
"""What is better, not bigger, has at most so many times as much in it, and at least its inverse."""

BIGGER_SIZE = 1.25
"""A bigger pack has at least so many times as much in it."""

MOST_STEPS = 5
"""Products of each tier, and of each brand, of a ladder that may be a step, those on most order lines."""

STEPS_A_PRODUCT = 3
"""Steps of each kind above a product, so that there is another one where a customer bought the first lately."""

FEATURES = ("moved_up", "moved_up_elsewhere", "spend_fifth", "premium", "log_orders", "is_bigger", "leap", "log_share")
"""What tells how likely a step is taken."""

_PRODUCTS = 1_000_000_000
"""Numbers of products are from 1 and below it."""

_RUNG = ("product", "tier", "price", "comparable", "brand", "size", "lines")


def catalogue(products: ir.Table, as_of: date, hold: Hold = lambda table: table) -> ir.Table:
    """Products whose kind is known, by ladder: those of one category and subcategory, and of one measure of size.

    Args:
        products: versions of the products.
        as_of: the day whose versions are looked at.
        hold: keeps a table that is used more than once.

    Returns:
        One row per product: product (a number), ladder (a number), product_id, product_name, category, subcategory, brand,
        measure and size (null where no size can be read).
    """
    columns = ("product_id", "product_name", "category", "subcategory", "brand")
    known = valid_on(products, as_of).filter(_.subcategory.notnull())
    known = hold(known.select(*columns, package_size=package_size_of(known.attributes)))
    sized = known.left_join(package_sizes(known), "package_size")
    kind = [sized.category.fill_null(""), sized.subcategory, sized.measure.fill_null("")]
    return sized.select(
        *columns,
        "measure",
        "size",
        product=ibis.row_number().over(order_by="product_id").cast("int64") + 1,
        ladder=ibis.dense_rank().over(order_by=kind).cast("int64"),
    )


def kind_lines(transactions: ir.Table, known: ir.Table, as_of: date, days: int) -> ir.Table:
    """Order lines of products whose kind is known, paid for and not taken back, of the newest days.

    Args:
        transactions: clean order lines; later ones are not seen.
        known: as `catalogue` gives them.
        as_of: last day seen.
        days: their number.

    Returns:
        customer_id (null where anonymous), product, day, quantity, amount.
    """
    day = transactions[DAY.name]
    sold = transactions.filter(
        day <= as_of,
        day > as_of - timedelta(days=days),
        ~_.is_return.fill_null(False),
        _.quantity > 0,
        _.amount > 0,
    )
    lines = sold.select("customer_id", "product_id", DAY.name, "quantity", "amount")
    return lines.join(known.select("product_id", "product"), "product_id").drop("product_id")


def price_ladders(lines: ir.Table, known: ir.Table, as_of_days: Sequence[date]) -> ir.Table:
    """Products of each ladder that sell, in tiers by price, as of some days.

    Products are compared by the price of a gram, millilitre or piece where packages have a size, else by the price of a
    unit. A tier is a third of the units sold; products of one price are in one tier. Kinds of which few products sell, or
    whose prices are nearly alike, have no ladder.

    Args:
        lines: as `kind_lines` gives them; a day sees those up to it.
        known: as `catalogue` gives them.
        as_of_days: last days seen.

    Returns:
        One row per day and product: as_of, ladder, product, price (mean of what was paid for a unit, workspace currency),
        comparable (that of a measure, or of a unit), brand, size, lines (order lines), is_current (sold lately), tier
        (from 1).
    """
    seen = _seen(lines, as_of_days, PRICE_DAYS)
    sums = seen.group_by("as_of", "product").agg(
        units=_.quantity.sum(), amount=_.amount.sum(), lines=_.count().cast("int64"), last=_[DAY.name].max()
    )
    sold = sums.join(known.select("product", "ladder", "brand", "size"), "product")
    price = (sold.amount.cast("float64") / sold.units.cast("float64")).round(4)
    priced = sold.mutate(price=price).filter(_.price > 0)
    priced = priced.mutate(comparable=_.price / _["size"].fill_null(1.0))
    ladder, price = ["as_of", "ladder"], ["as_of", "ladder", "comparable"]
    prices = priced.group_by(price).agg(units=_.units.sum(), products=_.count())
    whole = ibis.window(group_by=ladder)
    upwards = ibis.window(group_by=ladder, order_by="comparable", preceding=None, following=0)
    prices = prices.mutate(
        all_products=_.products.sum().over(whole),
        cheapest=_.comparable.min().over(whole),
        dearest=_.comparable.max().over(whole),
        all_units=_.units.sum().over(whole),
        upto=_.units.sum().over(upwards),
    ).filter(_.all_products >= LEAST_PRODUCTS, _.dearest >= LEAST_SPREAD * _.cheapest)
    # A price stands where the middle of its units does.
    twice = 2 * prices.upto - prices.units
    thirds = [(twice * len(TIERS) < 2 * third * prices.all_units, third) for third in range(1, len(TIERS))]
    tiers = prices.select(*price, tier=ibis.cases(*thirds, else_=len(TIERS)).cast("int64"))
    rungs = priced.join(tiers, price)
    return rungs.select(
        *price,
        "product",
        "price",
        "brand",
        "size",
        "lines",
        "tier",
        is_current=rungs["last"] > rungs.as_of - ibis.interval(days=LATELY_DAYS),
    )


def steps(ladders: ir.Table) -> ir.Table:
    """The products above each product that customers do take.

    A `PREMIUM` step is of the next tier up in which there is one, and has about as much in it. A `BIGGER` pack is of the
    same brand, has more in it, and costs no more by measure. Both cost more, at least `LEAST_LEAP` and at most `MOST_LEAP` times as
    much, are on `LEAST_LINES` order lines, and were sold lately.

    Args:
        ladders: as `price_ladders` gives them.

    Returns:
        as_of, kind, product, step (the product above), place (from 0, that on most order lines first), leap (natural
        logarithm of its price over that of the product), log_share (natural logarithm of the share of the ladder's order
        lines that all steps of the kind have); at most `STEPS_A_PRODUCT` for each product and kind.
    """
    rungs = ladders.select("as_of", "ladder", *_RUNG)
    taken = ladders.filter(ladders.is_current, ladders.lines >= LEAST_LINES)
    best = [ibis.desc("lines"), "price", "product"]
    found = []
    for kind, group, up in ((PREMIUM, "tier", "tier"), (BIGGER, "brand", "size")):
        place = ibis.row_number().over(group_by=["as_of", "ladder", group], order_by=best)
        above = taken.mutate(place=place).filter(_.place < MOST_STEPS)
        above = above.select("as_of", "ladder", *[above[name].name(f"to_{name}") for name in _RUNG])
        # Bigger packs are one step, whatever their tier.
        height = above.to_tier if kind == PREMIUM else ibis.literal(0)
        above = above.mutate(height=height.cast("int64"), kind=ibis.literal(kind))
        pairs = _with_share(rungs, up).join(above, ["as_of", "ladder"])
        found.append(pairs.filter(_is_step(pairs, kind)))
    order = ["height", ibis.desc("to_lines"), "to_price", "to_product"]
    place = ibis.row_number().over(group_by=["as_of", "kind", "product"], order_by=order).cast("int64")
    placed = union(found).mutate(place=place).filter(_.place < STEPS_A_PRODUCT)
    return placed.select(
        "as_of",
        "kind",
        "product",
        "place",
        step="to_product",
        leap=(placed.to_price / placed.price).ln(),
        log_share=placed.share_above.ln(),
    )


def _with_share(rungs: ir.Table, up: str) -> ir.Table:
    """Products with the share of their ladder's order lines that are of products higher up."""
    ladder = ["as_of", "ladder"]
    at = rungs.filter(rungs[up].notnull()).group_by(*ladder, up).agg(at=_.lines.sum())
    upto = ibis.window(group_by=ladder, order_by=up, preceding=None, following=0)
    whole = ibis.window(group_by=ladder)
    at = at.mutate(upto=_["at"].sum().over(upto), whole=_["at"].sum().over(whole))
    share = (at.whole - at.upto).cast("float64") / at.whole.cast("float64")
    return rungs.join(at.select(*ladder, up, share_above=share), [*ladder, up])


def _is_step(pairs: ir.Table, kind: str) -> ir.BooleanValue:
    """Whether a product, in columns named with `to_`, is a step of a kind above another one of its ladder."""
    dearer = pairs.to_price.between(LEAST_LEAP * pairs.price, MOST_LEAP * pairs.price)
    more = pairs["to_size"] / pairs["size"]
    if kind == BIGGER:
        # Where a size or a brand is unknown this is null, and so no step.
        bigger = (more >= BIGGER_SIZE) & (pairs.to_comparable <= pairs.comparable)
        return (dearer & bigger & (pairs.to_brand == pairs.brand)).fill_null(False)
    as_much = more.fill_null(1.0).between(1 / ALIKE_SIZE, ALIKE_SIZE)
    return dearer & as_much & (pairs.to_tier > pairs.tier)


def standings(lines: ir.Table, ladders: ir.Table, as_of_days: Sequence[date], history_days: int) -> ir.Table:
    """Where each customer stands on each ladder: the product bought on most order lines, and what else is known.

    Args:
        lines: as `kind_lines` gives them, of persons; a day sees those up to it.
        ladders: as `price_ladders` gives them, of the days.
        as_of_days: last days seen.
        history_days: newest days in which a product must have been bought.

    Returns:
        One row per day, customer and ladder: as_of, customer_id, ladder, product (of those on equally many lines the one
        bought last, then the first), tier and size of it, orders (order lines in the ladder), units (on one of them),
        top_tier and top_size (the highest bought within `BEFORE_DAYS`), spend_fifth (of all customers by what they spent,
        from 0), premium (mean tier bought on other ladders, from 0 to 1).
    """
    span = max(BEFORE_DAYS, history_days)
    seen = _seen(lines.filter(lines.customer_id.notnull()), as_of_days, span)
    is_recent = seen[DAY.name] > seen.as_of - ibis.interval(days=history_days)
    bought = seen.group_by("as_of", "customer_id", "product").agg(
        orders=seen.count(where=is_recent).cast("int64"),
        units=seen.quantity.sum(where=is_recent),
        spend=seen.amount.sum(where=is_recent),
        last=seen[DAY.name].max(),
    )
    known = bought.join(ladders.select("as_of", "ladder", "product", "tier", "size"), ["as_of", "product"])
    # The largest of these numbers is of the usual product, which is cheaper than to sort all that was bought.
    age = known.as_of.delta(known["last"], unit="day").cast("int64")
    order = (known.orders * span + span - age) * _PRODUCTS + (_PRODUCTS - known["product"])
    whole = (
        known.mutate(order=order)
        .group_by("as_of", "customer_id", "ladder")
        .agg(
            orders=_.orders.sum().cast("int64"),
            units=_.units.sum(),
            spend=_.spend.sum(),
            top_tier=_.tier.max(),
            top_size=_["size"].max(),
            heights=(_.orders * (_.tier - 1)).sum().cast("int64"),
            # On a ladder all products have a size or none has, so these are of one product. To join it again invites
            # engines to pair all customers with all products of the day.
            **{name: _[name].argmax(_.order) for name in ("product", "tier", "size")},
        )
    )
    whole = whole.filter(whole.orders > 0)
    customer = whole.group_by("as_of", "customer_id").agg(
        all_orders=_.orders.sum().cast("int64"), all_heights=_.heights.sum().cast("int64"), spend=_.spend.sum()
    )
    fifth = ibis.ntile(5).over(group_by="as_of", order_by=["spend", "customer_id"]).cast("int64")
    customer = customer.mutate(spend_fifth=fifth).drop("spend")
    joined = whole.drop("spend").join(customer, ["as_of", "customer_id"])
    # As if one more order had been of the middle tier: little is known of those who buy of few kinds.
    heights = (joined.all_heights - joined.heights + 1).cast("float64")
    premium = heights / (2 * (joined.all_orders - joined.orders + 1)).cast("float64")
    return joined.select(
        "as_of",
        "customer_id",
        "ladder",
        "product",
        "tier",
        "size",
        "orders",
        "top_tier",
        "top_size",
        "spend_fifth",
        units=joined.units.cast("float64") / joined.orders.cast("float64"),
        premium=premium,
    )


def step_cases(standing: ir.Table, above: ir.Table) -> ir.Table:
    """Customers with a step above where they stand, and what tells how likely they take it.

    Args:
        standing: as `standings` gives them.
        above: as `steps` gives them.

    Returns:
        One row per day, customer, ladder and kind of step: as_of, customer_id, ladder, kind, product (the usual one),
        units and `FEATURES`, which are float64: moved_up (1 for who was on a higher step before), moved_up_elsewhere
        (share of the customer's other steps), spend_fifth and premium (from 0 to 1), log_orders (natural logarithm of
        order lines in the ladder), is_bigger (1 for a bigger pack), leap and log_share of the first step.
    """
    first = above.filter(above.place == 0).select("as_of", "kind", "product", "leap", "log_share")
    joined = standing.join(first, ["as_of", "product"])
    is_bigger = joined.kind == BIGGER
    before = is_bigger.ifelse(joined.top_size > joined["size"], joined.top_tier > joined.tier).fill_null(False)
    marked = joined.mutate(moved=before.ifelse(1, 0).cast("int64"))
    customer = ibis.window(group_by=["as_of", "customer_id"])
    counted = marked.mutate(all_moved=_.moved.sum().over(customer), all_steps=_.count().over(customer))
    elsewhere = (counted.all_moved - counted.moved).cast("float64") / (counted.all_steps - 1).nullif(0)
    return counted.select(
        "as_of",
        "customer_id",
        "ladder",
        "kind",
        "product",
        "units",
        "premium",
        "leap",
        "log_share",
        moved_up=counted.moved.cast("float64"),
        moved_up_elsewhere=elsewhere.fill_null(0.0),
        spend_fifth=counted.spend_fifth.cast("float64") / 4,
        log_orders=counted.orders.cast("float64").ln(),
        is_bigger=(counted.kind == BIGGER).cast("int64").cast("float64"),
    )


def bought_lately(lines: ir.Table, as_of_days: Sequence[date], repeat_days: int) -> ir.Table:
    """What each customer bought within the repeat window of a day: as_of, customer_id, product; each once."""
    seen = _seen(lines.filter(lines.customer_id.notnull()), as_of_days, repeat_days)
    return seen.select("as_of", "customer_id", "product").distinct()


def step_outcomes(
    cases: ir.Table, lines: ir.Table, ladders: ir.Table, as_of_days: Sequence[date], horizon_days: int, repeat_days: int
) -> ir.Table:
    """Whether customers took a step in the days after: any product that is one, and that they had not bought lately.

    Args:
        cases: as `step_cases` gives them.
        lines: as `kind_lines` gives them, with those of the days after.
        ladders: as `price_ladders` gives them, of the days.
        as_of_days: last days seen by the cases.
        horizon_days: days after each.
        repeat_days: newest days of which what was bought is not offered.

    Returns:
        The cases and moved (boolean).
    """
    days = days_table(as_of_days)
    later = lines.filter(lines.customer_id.notnull()).cross_join(days)
    day = later[DAY.name]
    later = later.filter(day > later.as_of, day <= later.as_of + ibis.interval(days=horizon_days))
    later = later.select("as_of", "customer_id", "product").distinct()
    new = later.anti_join(bought_lately(lines, as_of_days, repeat_days), ["as_of", "customer_id", "product"])
    rungs = ladders.select("as_of", "ladder", *_RUNG)
    reached = rungs.select("as_of", "ladder", *[rungs[name].name(f"to_{name}") for name in _RUNG])
    reached = new.join(reached, ["as_of", ("product", "to_product")]).drop("product")
    case = ["as_of", "customer_id", "ladder", "kind"]
    pairs = cases.select(*case, "product").join(reached, ["as_of", "customer_id", "ladder"])
    pairs = pairs.join(rungs.drop("ladder"), ["as_of", "product"])
    taken = union([pairs.filter(pairs.kind == kind, _is_step(pairs, kind)) for kind in STEP_KINDS])
    joined = cases.left_join(taken.select(*case, moved=ibis.literal(True)).distinct(), case)
    return joined.select(*cases.columns, moved=joined.moved.fill_null(False))


def _seen(lines: ir.Table, as_of_days: Sequence[date], days: int) -> ir.Table:
    """Each line for each day that sees it within so many days, with `as_of`."""
    first, last = min(as_of_days) - timedelta(days=days), max(as_of_days)
    some = lines.filter(lines[DAY.name] > first, lines[DAY.name] <= last)
    if len(set(as_of_days)) == 1:
        return some.mutate(as_of=ibis.literal(last))
    pairs = some.cross_join(days_table(as_of_days))
    day = pairs[DAY.name]
    return pairs.filter(day <= pairs.as_of, day > pairs.as_of - ibis.interval(days=days))
