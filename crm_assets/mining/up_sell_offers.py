"""What to offer to whom that costs more than what they buy: the step above where each customer stands.

Belongs here: from order lines to offers. Not here: ladders and standings (`up_sell.py`), how likely a step is
(`up_sell_training.py`), what goes with what was bought (`offers.py`).
"""

from dataclasses import dataclass
from datetime import date

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.offers import PREMIUM, TIERS, UP_SELL_OFFERS
from crm_assets.mining.as_of_days import Hold
from crm_assets.mining.offers import OfferRules
from crm_assets.mining.samples import sample_customers
from crm_assets.mining.up_sell import (
    BEFORE_DAYS,
    PRICE_DAYS,
    bought_lately,
    catalogue,
    kind_lines,
    price_ladders,
    standings,
    step_cases,
    step_outcomes,
    steps,
)
from crm_assets.mining.up_sell_training import (
    StepModel,
    TrainedSteps,
    train_steps,
    training_days,
    untrained,
    with_probability,
)

HORIZON_DAYS = 30
"""Days ahead in which a step may be taken."""

LEARNT_CUSTOMERS = 300
"""Customers whose steps are learnt from: on Complete Journey five times as many rank no better."""

_LITTLE = 0.1


@dataclass(frozen=True)
class UpSell:
    """What to offer, and how it was found.

    Attributes:
        offers: Rows of `contracts.offers.UP_SELL_OFFERS`.
        trained: How likely steps are.
        ladders: Number of ladders on the day.
    """

    offers: ir.Table
    trained: TrainedSteps
    ladders: int


def up_sell_offers(
    transactions: ir.Table,
    products: ir.Table,
    as_of: date,
    limits: OfferRules,
    seed: int,
    hold: Hold = lambda table: table,
) -> UpSell:
    """The steps above where customers stand that are worth most.

    Args:
        transactions: clean order lines of persons; later ones, returns and what cost nothing are not seen.
        products: versions of the products; those valid at `as_of` are looked at.
        as_of: last day seen.
        limits: how many offers, and which days count.
        seed: of who is learnt from and of the bootstrap.
        hold: keeps a table that is used more than once.

    Returns:
        Offers, whose expected value is probability times extra; of equal ones the first product by id comes first.
    """
    past = training_days(as_of, HORIZON_DAYS)
    days = max(BEFORE_DAYS, PRICE_DAYS, limits.history_days, limits.repeat_days) + 2 * HORIZON_DAYS
    known = hold(catalogue(products, as_of, hold))
    lines = hold(kind_lines(transactions, known, as_of, days))
    rungs = hold(price_ladders(lines, known, [*past, as_of]))
    now = rungs.filter(_.as_of == as_of)
    ladders = now.ladder.nunique().to_pyarrow().as_py()
    if not ladders:
        return UpSell(nothing(), untrained("needs products of one subcategory that sell at several prices: 0"), 0)
    above = hold(steps(rungs))
    some = hold(sample_customers(lines.filter(_.customer_id.notnull()), LEARNT_CUSTOMERS, seed))
    cases = hold(step_cases(standings(some, rungs, past, limits.history_days), above))
    rows = step_outcomes(cases, some, rungs, past, HORIZON_DAYS, limits.repeat_days).to_pandas()
    trained = train_steps(rows, as_of, HORIZON_DAYS, seed)
    if trained.model is None:
        return UpSell(nothing(), trained, ladders)
    return UpSell(_offers(lines, known, rungs, above, trained.model, as_of, limits, hold), trained, ladders)


def nothing() -> ir.Table:
    """No offers."""
    return ibis.memtable([], schema=UP_SELL_OFFERS.schema)


def _offers(
    lines: ir.Table,
    known: ir.Table,
    rungs: ir.Table,
    above: ir.Table,
    model: StepModel,
    as_of: date,
    limits: OfferRules,
    hold: Hold,
) -> ir.Table:
    """Each customer's best steps, of those they have not bought lately."""
    # Each held on its own, since as parts of one query an engine may pair all customers with all steps of the day.
    standing = hold(standings(lines, rungs, [as_of], limits.history_days))
    cases = hold(with_probability(step_cases(standing, above), model))
    case = ["customer_id", "ladder", "kind", "product"]
    ways = cases.select("as_of", *case).join(above, ["as_of", "kind", "product"])
    lately = bought_lately(lines, [as_of], limits.repeat_days).select("customer_id", step="product")
    first = ways.anti_join(lately, ["customer_id", "step"]).group_by(case).agg(place=_.place.min())
    now = above.filter(_.as_of == as_of).select("kind", "product", "place", "step")
    found = cases.join(first, case).join(now, ["kind", "product", "place"])
    today = rungs.filter(_.as_of == as_of)
    usual = today.select("product", from_price="price", from_tier="tier")
    found = found.join(usual, "product").join(today.select("price", "tier", step="product"), "step")
    # One bigger pack takes the place of one pack: who buys several holds as much by buying fewer.
    units = (found.kind == PREMIUM).ifelse(found.units, 1.0)
    extra = (found.price - found.from_price) * units
    found = found.mutate(units=units, extra=extra, expected_value=found.probability * extra)
    order = [ibis.desc("expected_value"), "step"]
    ranked = found.mutate(rank=ibis.row_number().over(group_by="customer_id", order_by=order) + 1)
    ranked = ranked.filter(ranked["rank"] <= limits.count)
    name = _.product_name.fill_null(_.subcategory + " " + _.product_id)
    named = known.select("product", "product_id", name=name)
    kinds = known.select("product", "category", "subcategory")
    told = ranked.join(named.rename(from_product_id="product_id", from_name="name"), "product")
    told = told.join(kinds, "product").join(named.rename(step="product"), "step")
    moved_up = told.moved_up > 0
    columns = told.mutate(
        as_of=ibis.literal(as_of),
        moved_up_before=moved_up,
        from_tier=_tier(told.from_tier),
        tier=_tier(told.tier),
        spend_fifth=(told.spend_fifth * 4).round().cast("int64") + 1,
        reason=_reason(told, moved_up, limits.history_days),
    )
    typed = {column.name: columns[column.name].cast(column.dtype) for column in UP_SELL_OFFERS.columns}
    return columns.select(**typed).order_by(*UP_SELL_OFFERS.key)


def _tier(number: ir.IntegerValue) -> ir.StringValue:
    return ibis.cases(*[(number == place, tier) for place, tier in enumerate(TIERS, 1)])


def _reason(told: ir.Table, moved_up: ir.BooleanValue, history_days: int) -> ir.StringValue:
    """Why, for people: what is bought now, what is above it, and whether the customer was there before."""
    is_premium = told.kind == PREMIUM
    what = is_premium.ifelse(ibis.literal("of the ") + _tier(told.tier) + " tier", "a bigger pack of the brand")
    before = is_premium.ifelse("bought of a higher tier before", "bought a bigger pack before")
    yet = is_premium.ifelse("bought of no higher tier yet", "bought no bigger pack yet")
    parts = [
        ibis.literal("usually buys "),
        told.from_name,
        " at ",
        _money(told.from_price),
        f" in the last {history_days} days; ",
        told.name,
        ", ",
        what,
        ", costs ",
        _money(told.price),
        "; ",
        moved_up.ifelse(before, yet),
    ]
    return ibis.literal("").join(parts)


def _money(price: ir.FloatingValue) -> ir.StringValue:
    """Two decimals, or four of what costs little by the unit."""
    cents, less = (price.cast(f"decimal(18,{places})").cast("string") for places in (2, 4))
    return (price >= _LITTLE).ifelse(cents, less)
