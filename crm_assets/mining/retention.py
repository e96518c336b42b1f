"""Whom to contact so that they stay, in which order, and whom to leave alone so that the effect can be measured.

Belongs here: value at risk, the cut that pays, actions, the hold-out. Not here: probabilities (`churn.py`), values,
the effect (`retention_outcomes.py`).

Source of the profit of a contact: Neslin et al., Defection Detection (Journal of Marketing Research, 2006).
"""

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.retention import RETENTION_QUEUE
from crm_assets.mining.churn_reasons import by_theme

ACTION_OF_THEME = {
    "pause": "remind",
    "rhythm": "remind",
    "variety": "recommend",
    "orders": "next_order_offer",
    "spend": "next_order_offer",
    "offers": "coupon",
    "campaigns": "change_channel",
    "returns": "service_call",
    "tenure": "welcome",
}
"""What to do about each theme of reasons."""

OTHERWISE = "check_in"
"""What to do where the first reason is a habit, or nothing stands out."""

_DIGITS = 8
"""Hexadecimal digits of the digest that draw the hold-out."""


@dataclass(frozen=True)
class RetentionPolicy:
    """What a contact costs and brings, and how many there may be.

    Attributes:
        capacity: Most customers to be contacted on a day; None for no limit. Those held out do not count.
        contact_cost: What a contact costs, workspace currency.
        save_rate: Share of those about to leave who stay because of a contact, above 0.
        margin: Share of a customer's remaining value that is profit, above 0.
        holdout_share: Share of the queue that is not contacted, below 1.
        seed: Of the draw.
    """

    capacity: int | None
    contact_cost: float
    save_rate: float
    margin: float
    holdout_share: float
    seed: int

    def __post_init__(self) -> None:
        shares = 0 < self.save_rate <= 1 and 0 < self.margin <= 1 and 0 <= self.holdout_share < 1
        if not shares or self.contact_cost < 0 or (self.capacity is not None and self.capacity < 1):
            raise ValueError(
                f"a retention policy needs shares in their ranges, no negative cost and a capacity: {self}"
            )

    @property
    def least_value_at_risk(self) -> float:
        """Value at risk above which a contact brings more than it costs."""
        return self.contact_cost / (self.save_rate * self.margin)


def retention_queue(scores: ir.Table, values: ir.Table, policy: RetentionPolicy) -> ir.Table:
    """The customers whom it pays to contact on each day, the one with most value at risk first.

    A contact is expected to bring save rate times margin times value at risk. Whoever brings more than a contact costs
    is in the queue, until those to be contacted are as many as the capacity; so the cut is the one with most profit.

    Args:
        scores: as_of, customer_id, churn_probability and reasons, as in `churn_scores`.
        values: as_of, customer_id and clv, as in `customer_value`; customers without a value are left out.
        policy: What a contact costs and brings.

    Returns:
        Rows of `contracts.retention.RETENTION_QUEUE`, by as_of and rank; ties in value at risk are ranked by id.
    """
    key = ["as_of", "customer_id"]
    valued = scores.join(values.select(*key, "clv"), key)
    at_risk = valued.churn_probability * valued.clv
    valued = valued.mutate(
        value_at_risk=at_risk,
        expected_profit=at_risk * (policy.save_rate * policy.margin) - policy.contact_cost,
        is_holdout=is_held_out(valued.as_of, valued.customer_id, policy.holdout_share, policy.seed),
        reason=valued.reasons[0],
    )
    pays = valued.filter(valued.expected_profit > 0)
    order = [pays.value_at_risk.desc(), pays.customer_id]
    contacted = (~pays.is_holdout).cast("int64")
    ranked = pays.mutate(
        rank=ibis.row_number().over(ibis.window(group_by="as_of", order_by=order)) + 1,
        contacted=contacted.sum().over(ibis.rows_window(preceding=(None, 0), group_by="as_of", order_by=order)),
        action=action_of(pays.reason),
    )
    if policy.capacity is not None:
        # Held out are those who would have been contacted: who comes after the last contact would not.
        ranked = ranked.filter(ranked.contacted - (~ranked.is_holdout).cast("int64") < policy.capacity)
    columns = RETENTION_QUEUE.columns
    return ranked.select(**{column.name: ranked[column.name].cast(column.dtype) for column in columns}).order_by(
        ["as_of", "rank"]
    )


def is_held_out(as_of: ir.DateValue, customer_id: ir.StringValue, share: float, seed: int) -> ir.BooleanValue:
    """Whether a customer is held out in the month of a day, drawn by a digest and so the same everywhere."""
    month = as_of.strftime("%Y-%m")
    digest = (ibis.literal(f"{seed}/") + month + "/" + customer_id).hexdigest("sha256")
    # Digits of one length compare as the numbers they stand for.
    return digest.left(_DIGITS) < f"{int(share * 16**_DIGITS):0{_DIGITS}x}"


def action_of(reason: ir.StringValue) -> ir.StringValue:
    """What to do with a customer, by a reason's text."""
    return by_theme(reason, ACTION_OF_THEME, OTHERWISE)
