"""What to do next with each customer: keep, sell, ask to answer a campaign or leave alone, by expected value.

Belongs here: the worth of each action, the choice, the caps of contacts. Not here: who is in the retention queue
(`retention.py`), what is offered (`offers.py`, `up_sell_offers.py`, `recommender.py`), who answers campaigns
(`response.py`).
"""

from dataclasses import dataclass
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.layers import DAY
from crm_assets.contracts.offers import NEXT_ACTIONS, NEXT_BEST_ACTION
from crm_assets.contracts.response import DO_NOT_DISTURB
from crm_assets.mining.as_of_days import Hold, union

PRICE_DAYS = 90
"""Newest days whose order lines give the price of a product."""

REPEAT_PURCHASE = "repeat purchase"
"""Recommendations of this method would be bought anyway, so a contact adds nothing."""

_PROPOSAL = ("customer_id", "action", "detail", "expected_value", "reason")


@dataclass(frozen=True)
class ContactPolicy:
    """What a contact brings and costs, and how many there may be.

    Attributes:
        margin: Share of sales that is profit, above 0.
        take_rate: Share of the purchases or responses a contact hopes for that it brings about, above 0.
        contact_cost: What sending an offer costs, workspace currency.
        campaign_cost: What a campaign's contact costs, as in the profits of response scores.
        capacity: Most customers to contact; None for no limit.
        gap_days: Days after a campaign's contact in which a customer is left alone.
    """

    margin: float = 0.25
    take_rate: float = 0.1
    contact_cost: float = 0.01
    campaign_cost: float = 1.0
    capacity: int | None = None
    gap_days: int = 7

    def __post_init__(self) -> None:
        shares = 0 < self.margin <= 1 and 0 < self.take_rate <= 1
        if (
            not shares
            or min(self.contact_cost, self.campaign_cost) < 0
            or self.gap_days < 0
            or (self.capacity is not None and self.capacity < 1)
        ):
            raise ValueError(
                f"a contact policy needs shares in their ranges, no negative cost or gap and a capacity: {self}"
            )


def product_prices(transactions: ir.Table, as_of: date, days: int = PRICE_DAYS) -> ir.Table:
    """What an order line of each product brought on average in the newest days.

    Args:
        transactions: clean order lines; later ones and returns are not seen.
        as_of: last day seen.
        days: their number.

    Returns:
        product_id, price (workspace currency).
    """
    day = transactions[DAY.name]
    sold = transactions.filter(
        day <= as_of, day > as_of - timedelta(days=days), ~_.is_return.fill_null(False), _.quantity > 0
    )
    sums = sold.filter(_.product_id.notnull(), _.amount.notnull()).group_by("product_id")
    sums = sums.agg(amount=_.amount.sum(), lines=_.count())
    return sums.select("product_id", price=sums.amount.cast("float64") / sums.lines)


def next_best_action(
    as_of: date,
    policy: ContactPolicy,
    queue: ir.Table,
    offers: ir.Table,
    steps: ir.Table,
    lists: ir.Table,
    responses: ir.Table,
    values: ir.Table,
    predictions: ir.Table,
    prices: ir.Table,
    contacts: ir.Table,
    hold: Hold = lambda table: table,
) -> ir.Table:
    """The action that is worth most for each customer, within the caps of contacts.

    Retention is worth what the queue says. An offer is worth margin times take rate times what it sells, less the cost
    of a contact: for a cross-sell offer its expected sales times the probability of an order within 30 days, for an
    up-sell offer what the step is expected to bring more, for a recommendation of something new its probability times its
    price. A contact of a campaign that response scores advise is worth their profit where held-out customers told what a
    contact adds; where nobody was held out, take rate times what the response brings, less the cost.

    Args:
        as_of: last day seen.
        policy: what a contact brings and costs, and how many there may be.
        queue: as in `contracts.retention.RETENTION_QUEUE`, of the day; those held out are left alone.
        offers: as in `contracts.offers.CROSS_SELL_OFFERS`.
        steps: as in `contracts.offers.UP_SELL_OFFERS`.
        lists: as in `contracts.recommendations.RECOMMENDATIONS`, of the day.
        responses: as in `contracts.response.RESPONSE_SCORES`, of the day; scores without a profit, those that advise no
            contact and those not to disturb propose nothing.
        values: customer_id of customers with a value on the day.
        predictions: customer_id and p_order_30d, of the day; offers to others are worth nothing.
        prices: as `product_prices` gives them; products without a price are worth nothing.
        contacts: clean campaign contacts of persons; controls were not contacted, later contacts are not seen.
        hold: keeps a table that is used more than once.

    Returns:
        Rows of `contracts.offers.NEXT_BEST_ACTION`, one for each customer of `queue`, `offers`, `steps`, `lists`,
        `responses` or `values`.
        Equal values are ranked by customer_id.
    """
    known_by = queue, offers, steps, lists, responses, values
    everyone = union([table.select("customer_id") for table in known_by]).distinct()
    proposals = [
        _retention(queue),
        _cross_sell(offers, predictions, policy),
        _up_sell(steps, policy),
        _recommendation(lists, prices, policy),
        _campaign(responses, policy),
    ]
    worth = union(proposals).filter(_.expected_value > 0)
    place = _.action.cases(*[(action, number) for number, action in enumerate(NEXT_ACTIONS)], else_=len(NEXT_ACTIONS))
    worth = worth.mutate(preference=place)
    best_first = [ibis.desc("expected_value"), "preference", ibis.asc("detail", nulls_first=False)]
    best = worth.mutate(place=ibis.row_number().over(group_by="customer_id", order_by=best_first))
    best = best.filter(best.place == 0).select(*_PROPOSAL)
    day = contacts[DAY.name]
    lately = contacts.filter(
        ~_.is_control.fill_null(False), day <= as_of, day > as_of - timedelta(days=policy.gap_days)
    )
    lately = lately.group_by("customer_id").agg(contacted=_[DAY.name].max())
    held_out = queue.filter(queue.is_holdout).select("customer_id", held_out=ibis.literal(True))
    known = everyone
    for more in (best, lately, held_out):
        known = known.left_join(more, "customer_id").drop("customer_id_right")
    spared = ibis.cases(
        (known.held_out.fill_null(False), "held out so that the effect of retention can be measured"),
        (
            known.contacted.notnull(),
            ibis.literal("a campaign contacted the customer on ")
            + known.contacted.cast("string")
            + f", within {policy.gap_days} days",
        ),
        (known.expected_value.isnull(), "no action is expected to bring more than it costs"),
    )
    decided = known.mutate(spared=spared)
    order = [decided.expected_value.desc(), decided.customer_id]
    ranked = hold(
        decided.mutate(rank=ibis.row_number().over(group_by=decided.spared.isnull(), order_by=order).cast("int64") + 1)
    )
    if policy.capacity is not None:
        full = ibis.literal(f"worth less than the {policy.capacity} customers there is capacity for")
        beyond = ranked.spared.isnull() & (ranked["rank"] > policy.capacity)
        ranked = ranked.mutate(spared=beyond.ifelse(full, ranked.spared))
    chosen = ranked.spared.isnull()
    columns = {
        "as_of": ibis.literal(as_of),
        "customer_id": ranked.customer_id,
        "action": chosen.ifelse(ranked.action, NEXT_ACTIONS[-1]),
        "detail": chosen.ifelse(ranked.detail, ibis.null("string")),
        "expected_value": chosen.ifelse(ranked.expected_value, 0.0),
        "rank": chosen.ifelse(ranked["rank"], ibis.null("int64")),
        "reason": chosen.ifelse(ranked.reason, ranked.spared),
    }
    types = NEXT_BEST_ACTION.by_name
    typed = {name: value.cast(types[name].dtype) for name, value in columns.items()}
    return ranked.select(**typed).order_by(*NEXT_BEST_ACTION.key)


def _retention(queue: ir.Table) -> ir.Table:
    """Contacts of the queue, as it values them."""
    return queue.select(
        "customer_id",
        action=ibis.literal("retention"),
        detail=queue.action,
        expected_value=queue.expected_profit,
        reason=queue.reason,
    )


def _cross_sell(offers: ir.Table, predictions: ir.Table, policy: ContactPolicy) -> ir.Table:
    """Each customer's first offer."""
    first = offers.filter(offers["rank"] == 1).join(predictions.select("customer_id", "p_order_30d"), "customer_id")
    sales = first.expected_sales * first.p_order_30d
    return first.select(
        "customer_id",
        action=ibis.literal("cross_sell"),
        detail=first["item"],
        expected_value=sales * (policy.margin * policy.take_rate) - policy.contact_cost,
        reason=first.reason,
    )


def _up_sell(steps: ir.Table, policy: ContactPolicy) -> ir.Table:
    """Each customer's first step; its probability is already that of buying it within 30 days."""
    first = steps.filter(steps["rank"] == 1)
    return first.select(
        "customer_id",
        action=ibis.literal("up_sell"),
        detail=first.product_id,
        expected_value=first.expected_value * (policy.margin * policy.take_rate) - policy.contact_cost,
        reason=first.reason,
    )


def _recommendation(lists: ir.Table, prices: ir.Table, policy: ContactPolicy) -> ir.Table:
    """Recommendations of what a customer does not buy anyway."""
    new = lists.filter(lists.method != REPEAT_PURCHASE).join(prices, "product_id")
    return new.select(
        "customer_id",
        action=ibis.literal("recommendation"),
        detail=new.product_id,
        expected_value=new.score * new.price * (policy.margin * policy.take_rate) - policy.contact_cost,
        reason=new.reason,
    )


def _campaign(responses: ir.Table, policy: ContactPolicy) -> ir.Table:
    """Contacts that response scores advise, for each kind of campaign."""
    advised = responses.filter(responses.contact, responses.uplift_group.fill_null("") != DO_NOT_DISTURB)
    is_measured = advised.uplift.notnull()
    # The whole uplift is due to the contact, of responses by themselves a share only.
    share = is_measured.ifelse(1.0, policy.take_rate)
    kind, answers = advised.campaign_kind, _percent(advised.response_probability)
    likely = answers + "% likely to answer a campaign of the kind " + kind
    likelier = "a campaign of the kind " + kind + " makes an answer " + _percent(advised.uplift) + " points likelier"
    return advised.select(
        "customer_id",
        action=ibis.literal("campaign"),
        detail=kind,
        expected_value=(advised.expected_profit + policy.campaign_cost) * share - policy.campaign_cost,
        reason=is_measured.ifelse(likelier, likely),
    )


def _percent(share: ir.FloatingValue) -> ir.StringValue:
    """A share from 0 to 1 in percent, with one decimal."""
    tenths = (share * 1000).round().cast("int64")
    return (tenths // 10).cast("string") + "." + (tenths % 10).cast("string")
