"""How soon customers order again, those counted too who were not seen long enough to tell.

Belongs here: repeat-rate curves and the distribution of gaps between orders. Not here: which months customers came back
in (`behaviour_cohorts.py`), when a customer will order next (`purchases.py`).

Curves are one minus the product-limit estimate of Kaplan and Meier (Nonparametric estimation from incomplete
observations, 1958): who was seen for n days only counts as at risk for n days. Intervals are by Greenwood's variance on
the log-minus-log scale (Kalbfleisch and Prentice, 1980), so they stay within 0 and 1. Nobody places a later order before
an earlier one, but of few customers, who are at risk of the two for unequal times, the estimates can say so; the curve of
a later order is then drawn at that of the earlier one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crm_assets.contracts.behaviour import BEHAVIOUR_GAPS, BEHAVIOUR_REPEATS
from crm_assets.contracts.model import Table

ORDER_NUMBERS = (2, 3, 4, 5, 10)
"""Orders whose curves are drawn."""

_NORMAL_975 = 1.959963984540054

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Curve:
    """A product-limit estimate, one entry per day from day 0.

    Attributes:
        at_risk: Seen so long without the event before.
        events: Of these, with the event on the day.
        share: With the event by the day.
        low: Lower end of its 95% interval.
        high: Upper end of it.
    """

    at_risk: Counts
    events: Counts
    share: Floats
    low: Floats
    high: Floats


def repeat_curves(customer_days: ir.Table, as_of: date, order_numbers: Sequence[int] = ORDER_NUMBERS) -> pd.DataFrame:
    """Share of customers who placed their n-th order within so many days of the first.

    Args:
        customer_days: day, customer_id and orders, one row or several per day and customer.
        as_of: last day seen; later days are ignored.
        order_numbers: which orders, each at least 2.

    Returns:
        Rows of `contracts.behaviour.BEHAVIOUR_REPEATS`, by its key; days up to the longest time a customer was seen.
    """
    days = _numbered(customer_days, as_of, max(order_numbers))
    since = days.day.delta(days.first_on, unit="day")
    placed = days.mutate(days=since).group_by("number", "days").agg(customers=ibis._.count())
    last = days.group_by("customer_id", "first_on").agg(number=days.number.max())
    seen = last.mutate(days=ibis.literal(as_of).delta(last.first_on, unit="day"))
    followed = seen.group_by("number", "days").agg(customers=ibis._.count())
    placed_on, seen_for = placed.to_pandas(), followed.to_pandas()
    if seen_for.empty:
        return _no_rows(BEHAVIOUR_REPEATS)
    length = int(seen_for["days"].max()) + 1
    curves, before = [], None
    for number in sorted(set(order_numbers)):
        # Who has placed the order counts until that day, everyone else for as long as seen.
        events = _by_day(placed_on[placed_on["number"] == number], length, "customers")
        censored = _by_day(seen_for[seen_for["number"] < number], length, "customers")
        curve = product_limit(events, censored)
        before = _at_most(curve, before) if before else curve
        curves.append(_rows(number, before))
    return pd.concat(curves, ignore_index=True)


def order_gaps(customer_days: ir.Table, as_of: date) -> pd.DataFrame:
    """How many days pass between one order of a customer and the next.

    Args:
        customer_days: day, customer_id and orders, one row or several per day and customer.
        as_of: last day seen; later days are ignored.

    Returns:
        Rows of `contracts.behaviour.BEHAVIOUR_GAPS`, by days, from 0 to the longest gap.
    """
    days = _ordered(customer_days, as_of)
    following = days.day.lead().over(ibis.window(group_by="customer_id", order_by="day"))
    ended = days.mutate(is_open=following.isnull(), until=following.fill_null(as_of))
    gaps = ended.mutate(days=ended.until.delta(ended.day, unit="day"))
    counts = gaps.group_by("is_open", "days").agg(gaps=ibis._.count()).to_pandas()
    if counts.empty:
        return _no_rows(BEHAVIOUR_GAPS)
    length = int(counts["days"].max()) + 1
    is_open = counts["is_open"].to_numpy(bool)
    closed, still = (_by_day(counts[chosen], length, "gaps") for chosen in (~is_open, is_open))
    total = max(int(closed.sum()), 1)
    curve = product_limit(closed, still)
    return pd.DataFrame(
        {
            "days": np.arange(length),
            "gaps": closed,
            "share": closed / total,
            "cumulative_share": np.cumsum(closed) / total,
            "open_gaps": still,
            "returned_share": curve.share,
        }
    )


def _at_most(curve: Curve, other: Curve) -> Curve:
    """The curve and its interval, drawn at those of the other one where they lie above."""
    bounded = {name: np.minimum(getattr(curve, name), getattr(other, name)) for name in ("share", "low", "high")}
    return replace(curve, **bounded)


def product_limit(events: ArrayLike, censored: ArrayLike) -> Curve:
    """The product-limit estimate from counts by day.

    Args:
        events: number of events on each day, from day 0.
        censored: number not seen any longer than each day; who leaves on a day is at risk on it.

    Returns:
        The curve, of the same length.
    """
    happened, gone = np.asarray(events, np.int64), np.asarray(censored, np.int64)
    left = np.cumsum((happened + gone)[::-1])[::-1]
    risk = np.maximum(left, 1)
    survival = np.cumprod(1 - happened / risk)
    # Where all have had the event nothing is left to vary.
    rest = np.where(left > happened, risk * (left - happened), np.inf)
    variance = np.cumsum(happened / rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.exp(_NORMAL_975 * np.sqrt(variance) / np.abs(np.log(survival)))
        low, high = 1 - survival ** (1 / spread), 1 - survival**spread
    inside = (survival > 0) & (survival < 1)
    share = np.asarray(1 - survival, np.float64)
    ends = (np.where(inside, end, share).astype(np.float64) for end in (low, high))
    return Curve(left, happened, share, *ends)


def _ordered(customer_days: ir.Table, as_of: date) -> ir.Table:
    """Each customer's days with an order."""
    bought = customer_days.filter(customer_days.orders > 0, customer_days.day <= as_of)
    return bought.filter(bought.customer_id.notnull()).select("customer_id", "day").distinct()


def _numbered(customer_days: ir.Table, as_of: date, most: int) -> ir.Table:
    """Days with an order, numbered from 1, with the first one."""
    days = _ordered(customer_days, as_of)
    in_order = ibis.window(group_by="customer_id", order_by="day")
    numbered = days.mutate(
        number=ibis.row_number().over(in_order) + 1,
        first_on=days.day.min().over(ibis.window(group_by="customer_id")),
    )
    return numbered.filter(numbered.number <= most)


def _rows(number: int, curve: Curve) -> pd.DataFrame:
    """Rows of the curve of an order, from the day after the first order."""
    rows = pd.DataFrame(
        {
            "order_number": number,
            "days": np.arange(len(curve.share)),
            "at_risk": curve.at_risk,
            "ordered": curve.events,
            "share": curve.share,
            "low": curve.low,
            "high": curve.high,
        }
    )
    return rows[1:]


def _by_day(counts: pd.DataFrame, length: int, column: str) -> Counts:
    """Counts of each day from day 0."""
    sums = np.zeros(length, np.int64)
    np.add.at(sums, counts["days"].to_numpy(np.int64), counts[column].to_numpy(np.int64))
    return sums


def _no_rows(contract: Table) -> pd.DataFrame:
    return pd.DataFrame(columns=list(contract.by_name))
