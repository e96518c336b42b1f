"""What a retention queue brought, once the horizon after it has passed.

Belongs here: what customers of a queue did, and the difference between those to be contacted and those held out.
Not here: the queue (`retention.py`).

Customers count by what the queue said, not by whether a contact took place, since who can be reached is no random draw.
Queues of all days are added up in the engine, exactly, so that no row of a customer leaves it.
Source of the interval: Welch, The generalization of Student's problem when several different population variances are
involved (Biometrika, 1947).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from math import sqrt

import ibis.expr.types as ir
import pandas as pd

from crm_assets.contracts.model import MONEY
from crm_assets.contracts.retention import MEASURES, RETENTION_OUTCOMES
from crm_assets.mining.as_of_days import alike_neighbours
from crm_assets.mining.persons import ALONE, Persons

CONFIDENCE = 0.95

_SUMS = ("customers", *MEASURES, *(f"{name}_squares" for name in MEASURES))


@dataclass(frozen=True)
class Side:
    """What the customers of one side did, added up.

    Attributes:
        customers: Their number.
        total: Sum of a measure.
        squares: Sum of its squares.
    """

    customers: int
    total: Fraction
    squares: Fraction

    @property
    def mean(self) -> Fraction | None:
        """Null without customers."""
        return self.total / self.customers if self.customers else None

    @property
    def variance_of_mean(self) -> float:
        """Of two customers or more."""
        variance = (self.squares - self.total * self.total / self.customers) / (self.customers - 1)
        return float(variance / self.customers)


def queue_outcomes(
    queue: ir.Table, customer_days: ir.Table, as_of: date, horizons: Mapping[date, int], persons: Persons = ALONE
) -> pd.DataFrame:
    """What the customers of each queue did within the horizon after its day, added up.

    Args:
        queue: Rows of the mart `retention_queue`.
        customer_days: As `mining.customer_days.customer_days` gives it.
        as_of: Last day seen; queues whose horizon ends later are left out.
        horizons: Days after the queue's that are looked at, by its day.
        persons: Who records stand for; the queue of a day is of the persons of that day.

    Returns:
        as_of, is_holdout, customers, and the sums of orders and of spend (net of returns) and of their squares; by as_of
        and is_holdout.
    """
    ended = {day: length for day, length in horizons.items() if day + timedelta(days=length) <= as_of}
    if not ended:
        return pd.DataFrame(columns=["as_of", "is_holdout", *_SUMS])
    # Nothing before the first queue is looked at.
    seen = customer_days.filter((customer_days.day > min(ended)) & (customer_days.day <= as_of))
    seen = seen.select("day", "customer_id", "orders", "amount")
    parts = [
        _outcomes(queue.filter(queue.as_of.isin(group)), persons.rows(seen, group[0]), length)
        for length, days in alike_neighbours(ended)
        for group in persons.groups(days)
    ]
    return pd.concat(parts, ignore_index=True)


def _outcomes(queue: ir.Table, customer_days: ir.Table, horizon_days: int) -> pd.DataFrame:
    key = ["as_of", "customer_id"]
    queued = queue.select(*key, "is_holdout")
    joined = queued.join(customer_days, "customer_id")
    age = joined.day.delta(joined.as_of, unit="day")
    within = joined.filter((age > 0) & (age <= horizon_days))
    done = within.group_by(key).agg(orders=within.orders.sum(), spend=within.amount.sum())
    rows = queued.left_join(done, key)
    rows = rows.select(
        "as_of",
        "is_holdout",
        orders=rows.orders.fill_null(0).cast("int64"),
        spend=rows.spend.cast(MONEY).fill_null(Decimal(0)),
    )
    sums = rows.group_by("as_of", "is_holdout").agg(
        customers=rows.count(),
        **{name: rows[name].sum() for name in MEASURES},
        **{f"{name}_squares": (rows[name] * rows[name]).sum() for name in MEASURES},
    )
    return sums.select("as_of", "is_holdout", *_SUMS).order_by("as_of", "is_holdout").to_pandas()


def retention_outcomes(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The effect of the queue of each day, with its interval.

    Args:
        outcomes: As `queue_outcomes` gives them.

    Returns:
        Rows of `contracts.retention.RETENTION_OUTCOMES`, by as_of and measure.
    """
    rows = []
    for as_of, sides in outcomes.groupby("as_of", sort=True):
        for measure in MEASURES:
            contacted, held_out = (_side(sides[sides["is_holdout"] == held], measure) for held in (False, True))
            rows.append({"as_of": as_of, "measure": measure, **effect(contacted, held_out)})
    return pd.DataFrame(rows, columns=list(RETENTION_OUTCOMES.by_name))


def _side(sums: pd.DataFrame, measure: str) -> Side:
    if sums.empty:
        return Side(0, Fraction(0), Fraction(0))
    row = sums.iloc[0]
    return Side(int(row["customers"]), Fraction(row[measure]), Fraction(row[f"{measure}_squares"]))


def effect(contacted: Side, held_out: Side) -> dict[str, float | int | None]:
    """Difference of two means, with its interval of 95% by Welch; none with fewer than two customers a side."""
    from scipy.stats import t

    means, difference, low, high = (contacted.mean, held_out.mean), None, None, None
    if means[0] is not None and means[1] is not None:
        difference = float(means[0] - means[1])
    if difference is not None and min(contacted.customers, held_out.customers) > 1:
        spread = contacted.variance_of_mean + held_out.variance_of_mean
        half = 0.0
        if spread:
            parts = [side.variance_of_mean**2 / (side.customers - 1) for side in (contacted, held_out)]
            half = float(t.ppf((1 + CONFIDENCE) / 2, spread**2 / sum(parts))) * sqrt(spread)
        low, high = difference - half, difference + half
    return {
        "contacted": contacted.customers,
        "held_out": held_out.customers,
        "mean_contacted": None if means[0] is None else float(means[0]),
        "mean_held_out": None if means[1] is None else float(means[1]),
        "effect": difference,
        "low": low,
        "high": high,
    }
