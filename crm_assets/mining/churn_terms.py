"""What counts as churn: after how many days without an order, and of whom.

Belongs here: the two lengths, as set or from the data's own gaps between orders. Not here: labels by them (`churn.py`),
the stages of customers (`lifecycle.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import ibis.expr.types as ir

from crm_assets.contracts.features import WINDOWS
from crm_assets.mining.churn import ACTIVE_DAYS, HORIZON_DAYS
from crm_assets.mining.lifecycle import AT_RISK_PERCENT, MINIMUM_GAPS, gap_counts, gap_quantile


@dataclass(frozen=True)
class ChurnTerms:
    """When a customer churned.

    Attributes:
        horizon_days: Days after the as_of day without an order that count as churn.
        active_days: Days up to the as_of day in which a customer must have ordered to be looked at.
        why: Where the lengths come from, in words.
    """

    horizon_days: int = HORIZON_DAYS
    active_days: int = ACTIVE_DAYS
    why: str = field(default="", compare=False)

    def on_card(self) -> dict[str, Any]:
        """What a model's card says of them, so that its scores are judged by what it meant."""
        return {
            "definition": f"no order in {self.horizon_days} days, among customers who ordered in the {self.active_days} "
            "days before",
            "horizon": f"{self.horizon_days} days: {self.why}",
            "horizon_days": self.horizon_days,
            "active_days": self.active_days,
        }

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> "ChurnTerms | None":
        """The terms that a model was trained with; None where its card does not say."""
        horizon_days, active_days = card.get("horizon_days"), card.get("active_days")
        if horizon_days is None or active_days is None:
            return None
        return cls(int(horizon_days), int(active_days), "as its card says")


DEFAULT_TERMS = ChurnTerms(why="the default")


def churn_terms(
    customer_days: ir.Table, last_day: date, horizon_days: int | None = None, active_days: int | None = None
) -> ChurnTerms:
    """The terms that hold after a day.

    Args:
        customer_days: day, customer_id and orders of persons, one row or several per day and customer.
        last_day: Last day seen.
        horizon_days: As set. Without it, the shortest of the windows of features, 7 to 365 days, that `AT_RISK_PERCENT` of
            the gaps between a customer's days with an order do not exceed; a window, so that it seldom changes from month
            to month. With fewer than `MINIMUM_GAPS` gaps, `HORIZON_DAYS`.
        active_days: As set; without it, twice the horizon.
    """
    why = "as set"
    if horizon_days is None:
        counts = gap_counts(customer_days, last_day)
        if sum(counts.values()) < MINIMUM_GAPS:
            horizon_days = HORIZON_DAYS
            why = f"the default, as there are fewer than {MINIMUM_GAPS} gaps between orders by {last_day}"
        else:
            gap = gap_quantile(counts, AT_RISK_PERCENT)
            horizon_days = next((window for window in WINDOWS if window >= gap), WINDOWS[-1])
            why = f"{AT_RISK_PERCENT}% of the gaps between orders by {last_day} were at most {gap} days"
    return ChurnTerms(horizon_days, active_days or 2 * horizon_days, why)
