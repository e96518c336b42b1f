"""Where each customer stands between first contact and last order, day by day.

Belongs here: the stages and their rules from the data's own gaps between orders. Not here: the probability of leaving
(`churn.py`), the names of RFM cells (`rfm.py`).

Rules are quantiles of the gaps between days with an order, of all customers together. A customer's own usual gap was
tried in their place and tells worse who orders again (`benchmarks/lifecycle.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import VALID_FROM, VALID_TO
from crm_assets.contracts.lifecycle import (
    ACTIVE,
    AT_RISK,
    LAPSED,
    LIFECYCLE,
    LIFECYCLE_TRANSITIONS,
    NEW,
    PROSPECT,
    UNKNOWN,
    WON_BACK,
)
from crm_assets.mining.as_of_days import days_table

AT_RISK_PERCENT = 95
"""A customer absent for longer than this percentage of all gaps is at risk."""

LAPSED_PERCENT = 99
"""A customer absent for longer than this percentage of all gaps has lapsed."""

MINIMUM_GAPS = 100
"""With fewer gaps the 99th percentile would be the longest one, that is a single customer's."""

STATED_PERCENTS = (10, 25, 50, 75, 90, AT_RISK_PERCENT, LAPSED_PERCENT)
"""Quantiles of the gaps that the card states."""

_KEY = ["as_of", "customer_id"]


@dataclass(frozen=True)
class LifecycleRules:
    """When a customer who does not order changes stage.

    Attributes:
        at_risk_after: Longest absence, in days, that is not yet a risk; also how long a customer is new or won back.
        lapsed_after: Longest absence, in days, after which a customer has not yet lapsed; at least `at_risk_after`.
    """

    at_risk_after: int
    lapsed_after: int

    def __post_init__(self) -> None:
        if not 1 <= self.at_risk_after <= self.lapsed_after:
            raise ValueError(f"lifecycle rules need 1 <= at_risk_after <= lapsed_after, not {self}")

    def to_document(self) -> dict[str, int]:
        """The rules as plain values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "LifecycleRules":
        """The rules that `to_document` wrote."""
        return cls(**document)

    def in_words(self) -> dict[str, str]:
        """What each stage means, by stage."""
        fresh = f"at most {self.at_risk_after} days ago"
        return {
            PROSPECT: "known, and no order so far",
            NEW: f"first order {fresh}",
            WON_BACK: f"ordered again, {fresh}, after more than {self.lapsed_after} days without an order",
            ACTIVE: f"last order {fresh}, and neither new nor won back",
            AT_RISK: f"last order more than {self.at_risk_after} and at most {self.lapsed_after} days ago",
            LAPSED: f"last order more than {self.lapsed_after} days ago",
        }


@dataclass(frozen=True)
class FittedRules:
    """Rules of a month, with what a person wants to know of them.

    Attributes:
        rules: None where there are too few gaps.
        card: The rules in words, and the quantiles and rows they rest on, or what is missing.
    """

    rules: LifecycleRules | None
    card: Mapping[str, Any]


def fit_lifecycle_rules(customer_days: ir.Table, last_day: date) -> FittedRules:
    """The rules that hold after a day, from the gaps that had ended by it.

    Args:
        customer_days: day, customer_id and orders, one row or several per day and customer.
        last_day: Last day seen.
    """
    counts = gap_counts(customer_days, last_day)
    measured = _gaps(customer_days, last_day)
    per_customer = measured.group_by("customer_id").agg(gaps=measured.gap.count(), first=measured.day.min())
    rest = per_customer.agg(
        customers=per_customer.count(),
        customers_with_a_gap=(per_customer.gaps > 0).sum(),
        first_day=per_customer["first"].min(),
    )
    basis = {"gaps": sum(counts.values()), **rest.to_pyarrow().to_pylist()[0], "last_day": last_day}
    basis["customers_with_a_gap"] = basis["customers_with_a_gap"] or 0
    card = {"model": "lifecycle_rules", **{name: str(v) if "day" in name else v for name, v in basis.items()}}
    if basis["gaps"] < MINIMUM_GAPS:
        needs = f"needs {MINIMUM_GAPS} gaps between days with an order by {last_day}: {basis['gaps']}"
        return FittedRules(None, card | {"needs": needs})
    quantiles = {percent: gap_quantile(counts, percent) for percent in STATED_PERCENTS}
    rules = LifecycleRules(quantiles[AT_RISK_PERCENT], quantiles[LAPSED_PERCENT])
    return FittedRules(
        rules,
        card
        | {
            **rules.to_document(),
            "rules": rules.in_words(),
            "gap_days_by_percent": {str(percent): days for percent, days in quantiles.items()},
            "why": f"{AT_RISK_PERCENT}% of the gaps between a customer's days with an order were at most "
            f"{rules.at_risk_after} days, {LAPSED_PERCENT}% at most {rules.lapsed_after}; all customers' gaps count "
            "alike, since a customer's own usual gap tells worse who orders again",
            "limits": "only gaps that had ended are known: no rule can be longer than the history, and who never came "
            "back gives no gap, so rules of a young history are short",
        },
    )


def gap_counts(customer_days: ir.Table, last_day: date) -> dict[int, int]:
    """How many gaps between a customer's days with an order had ended by a day, by their length in days.

    Args:
        customer_days: day, customer_id and orders, one row or several per day and customer.
        last_day: Last day seen.
    """
    measured = _gaps(customer_days, last_day)
    gaps = measured.filter(measured.gap.notnull()).group_by("gap").agg(gaps=ibis._.count()).order_by("gap")
    return {row["gap"]: row["gaps"] for row in gaps.to_pyarrow().to_pylist()}


def _gaps(customer_days: ir.Table, last_day: date) -> ir.Table:
    """Days with an order, each with the days since the customer's one before."""
    seen = _ordered(customer_days).filter(lambda days: days.day <= last_day).distinct()
    previous = seen.day.lag().over(ibis.window(group_by="customer_id", order_by="day"))
    return seen.mutate(gap=seen.day.delta(previous, unit="day"))


def gap_quantile(counts: Mapping[int, int], percent: int) -> int:
    """The shortest gap that at least `percent` of all gaps do not exceed.

    Args:
        counts: Number of gaps by their length; not empty.
        percent: From 1 to 100.
    """
    reached, total = 0, sum(counts.values())
    for gap in sorted(counts):
        reached += counts[gap]
        if reached * 100 >= total * percent:
            return gap
    raise ValueError("a quantile needs at least one gap")


def known_spans(customers: ir.Table, contacts: ir.Table, customer_days: ir.Table) -> ir.Table:
    """When each record is known without having ordered.

    Args:
        customers: Customer versions; one who signed up later than a version begins is known from that day on.
        contacts: Campaign contacts, with the day of contact as `day`, those held out included.
        customer_days: Of which days with returns only are used.

    Returns:
        customer_id, since (first day), until (first day no longer, null for none); spans may overlap.
    """
    first = customers[VALID_FROM.name]
    filed = customers.select(
        "customer_id",
        since=ibis.greatest(first, customers.signup_at.date().fill_null(first)),
        until=customers[VALID_TO.name],
    )
    returned = customer_days.filter(customer_days.orders == 0)
    seen = [rows.select("customer_id", since=rows.day, until=ibis.null("date")) for rows in (contacts, returned)]
    spans = filed.union(*seen)
    return spans.filter(spans.customer_id.notnull())


def lifecycle(customer_days: ir.Table, known: ir.Table, as_of_days: Sequence[date], rules: LifecycleRules) -> ir.Table:
    """The stage of each customer known by each day, and that of the day before.

    All days together take one pass: of the days with an order that are too old to matter, only the first and the last
    are kept, and each of the others stands for the days until the next.

    Args:
        customer_days: day, customer_id (no nulls) and orders, one row or several per day and customer.
        known: As `known_spans` gives it, by the same customers.
        as_of_days: Last days seen, one or many.
        rules: Of the month of these days.

    Returns:
        Rows of `contracts.lifecycle.LIFECYCLE`, by as_of and customer_id.

    Raises:
        ValueError: Without any as_of day.
    """
    if not as_of_days:
        raise ValueError("lifecycle needs at least one as_of day")
    wanted = sorted(set(as_of_days))
    grid = days_table(wanted)
    ordered = _orders(customer_days, wanted[0], wanted[-1], rules).cross_join(grid)
    ended = ordered.next_day.notnull() & (ordered.next_day <= ordered.as_of)
    ordered = ordered.filter((ordered.day <= ordered.as_of) & ~ended)
    spans = known.cross_join(grid)
    ongoing = spans.until.isnull()
    spans = spans.mutate(
        today=(spans.since <= spans.as_of) & (ongoing | (spans.until > spans.as_of)),
        day_before=(spans.since < spans.as_of) & (ongoing | (spans.until >= spans.as_of)),
    )
    people = spans.filter(spans.today).group_by(_KEY).agg(ibis._.count().name("spans"))
    people_before = spans.filter(spans.day_before).select(*_KEY).distinct().mutate(was_known=True)
    joined = people.outer_join(ordered, _KEY)
    joined = joined.mutate(**{name: ibis.coalesce(joined[name], joined[f"{name}_right"]) for name in _KEY})
    joined = joined.left_join(people_before, _KEY, rname="{name}_before")
    return _rows(joined, rules).order_by(_KEY)


def transitions(stages: ir.Table) -> ir.Table:
    """How many customers went from which stage to which.

    Args:
        stages: Rows of `contracts.lifecycle.LIFECYCLE`, of any days.

    Returns:
        Rows of `contracts.lifecycle.LIFECYCLE_TRANSITIONS`, by its key.
    """
    moved = stages.mutate(previous_stage=stages.previous_stage.fill_null(UNKNOWN))
    key = list(LIFECYCLE_TRANSITIONS.key)
    return moved.group_by(key).agg(customers=ibis._.count()).order_by(key)


def _ordered(customer_days: ir.Table) -> ir.Table:
    return customer_days.filter(customer_days.orders > 0).select("customer_id", "day")


def _orders(customer_days: ir.Table, first: date, last: date, rules: LifecycleRules) -> ir.Table:
    """Days with an order, each with the one before and after it and the last return from a lapse.

    Days before any that a rule looks at from `first` on are one row, named by the last of them.
    """
    matters = first - timedelta(days=rules.at_risk_after + 1)
    seen = _ordered(customer_days)
    seen = seen.filter(seen.day <= last)
    bucket = (seen.day < matters).ifelse(ibis.null("date"), seen.day)
    days = seen.group_by("customer_id", bucket=bucket).agg(first_on=seen.day.min(), day=seen.day.max())
    in_order = ibis.window(group_by="customer_id", order_by="day")
    days = days.select(
        "customer_id",
        "day",
        started_on=days.first_on.min().over(ibis.window(group_by="customer_id")),
        day_before=days.day.lag().over(in_order),
        next_day=days.day.lead().over(in_order),
    )
    lapsed = days.day.delta(days.day_before, unit="day") > rules.lapsed_after
    returned = lapsed.ifelse(days.day, ibis.null("date"))
    return days.mutate(
        returned_on=returned.max().over(ibis.rows_window(preceding=(None, 0), group_by="customer_id", order_by="day")),
        returned_before=returned.max().over(
            ibis.rows_window(preceding=(None, 1), group_by="customer_id", order_by="day")
        ),
    )


def _rows(joined: ir.Table, rules: LifecycleRules) -> ir.Table:
    """The columns of the contract from what is known of each customer and day."""
    recency = joined.as_of.delta(joined.day, unit="day")
    stage = _stage(joined.as_of, joined.started_on, joined.day, joined.returned_on, 0, rules)
    # Who ordered on the day stood, the day before, where the order before that one left off.
    is_today = joined.day == joined.as_of
    before = _stage(
        joined.as_of,
        joined.started_on,
        is_today.ifelse(joined.day_before, joined.day),
        is_today.ifelse(joined.returned_before, joined.returned_on),
        1,
        rules,
    )
    was_prospect = joined.was_known.fill_null(False).ifelse(PROSPECT, ibis.null("string"))
    columns = {
        "as_of": joined.as_of,
        "customer_id": joined.customer_id,
        "stage": stage.fill_null(PROSPECT),
        "previous_stage": before.fill_null(was_prospect),
        "recency_days": recency,
        "limit_days": ibis.cases(
            (recency <= rules.at_risk_after, rules.at_risk_after),
            (recency <= rules.lapsed_after, rules.lapsed_after),
            else_=ibis.null("int64"),
        ),
    }
    return joined.select(**{column.name: columns[column.name].cast(column.dtype) for column in LIFECYCLE.columns})


def _stage(
    as_of: ir.DateValue,
    started_on: ir.DateValue,
    ordered_on: ir.DateValue,
    returned_on: ir.DateValue,
    days_before: int,
    rules: LifecycleRules,
) -> ir.StringValue:
    """The stage of who ordered, some days before `as_of`; null where there was no order."""

    def age(day: ir.DateValue) -> ir.IntegerValue:
        return as_of.delta(day, unit="day") - days_before

    return ibis.cases(
        (ordered_on.isnull(), ibis.null("string")),
        (age(ordered_on) > rules.lapsed_after, LAPSED),
        (age(ordered_on) > rules.at_risk_after, AT_RISK),
        (age(started_on) <= rules.at_risk_after, NEW),
        (age(returned_on) <= rules.at_risk_after, WON_BACK),
        else_=ACTIVE,
    )
