"""Contracts that run on a day: what is known of each, whether it ended soon after, and how it was scored then.

Belongs here: tables in the engine. Not here: models on them (`subscription_churn.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.canonical import SUBSCRIPTIONS
from crm_assets.contracts.features import DEMOGRAPHICS
from crm_assets.contracts.layers import EXPORT_DATE, SOURCE, VALID_FROM, VALID_TO
from crm_assets.mining.as_of_days import alike_neighbours, union
from crm_assets.mining.cleaning import clean_dimension, valid_on
from crm_assets.mining.truth import NO_FULL_EXPORTS, FullExports

HORIZON_DAYS = 30
ORDER_DAYS = 90
"""Orders of a contract's customer are counted over this many days."""

MOST_DAYS = 12
STEP_DAYS = 30
MONTH_DAYS = 30.4375

NUMBERS = ("tenure_days", "monthly_fee", "paid", "contracts", "orders", "order_amount", "recency_days")
"""What is counted: days since the start, fee a month, fees so far, running contracts of the customer, and the orders."""

CATEGORIES = ("plan", *DEMOGRAPHICS)
"""What is named; the keys of `attributes` come on top."""

STATE = ("plan", "monthly_fee", "attributes")
"""What deliveries tell of a contract without saying since when."""

COLUMNS = ("as_of", "subscription_id", "customer_id", "ended", *NUMBERS, *CATEGORIES, "attributes")


def label_days(month_start: date, first_end: date, horizon_days: int = HORIZON_DAYS) -> list[date]:
    """As_of days whose labels may train the model of a month.

    Args:
        month_start: first day the model may score; labels must have ended before it.
        first_end: first day on which a contract is known to have ended. A source that tells ends of its last delivery only
            knows nothing of earlier days, on which all would look as if they had stayed.
        horizon_days: length of the label.

    Returns:
        The newest such day and those every 30 days before it, twelve at most, in order.
    """
    newest = month_start - timedelta(horizon_days + 1)
    days = [newest - timedelta(STEP_DAYS * number) for number in range(MOST_DAYS)]
    return sorted(day for day in days if day + timedelta(horizon_days) >= first_end)


def running_subscriptions(
    subscriptions: ir.Table,
    customers: ir.Table,
    customer_days: ir.Table,
    as_of_days: Sequence[date],
    horizon_days: int = HORIZON_DAYS,
    versions: ir.Table | None = None,
) -> ir.Table:
    """Contracts that run at the end of each as_of day.

    Args:
        subscriptions: clean subscriptions; `customer_id` may be the person's, `record_id` the record's.
        customers: versions of customers, by record.
        customer_days: as `mining.customer_days.customer_days` gives it, by person.
        as_of_days: last days seen.
        horizon_days: a contract that ends within so many days after the as_of day counts as ended.
        versions: versions of contracts by export date, as `contract_versions` gives them; without them plan, fee and
            attributes are as the newest delivery tells them.

    Returns:
        `COLUMNS`, by as_of and subscription_id: `ended` is the label; everything else is as of the day.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("running_subscriptions needs at least one as_of day")
    if "record_id" not in subscriptions.columns:
        subscriptions = subscriptions.mutate(record_id=subscriptions.customer_id)
    parts = []
    for day in sorted(set(as_of_days)):
        told = subscriptions if versions is None else _as_told(subscriptions, valid_on(versions, day))
        parts.append(_on(told, customers, customer_days, day, horizon_days))
    return union(parts).order_by(["as_of", "subscription_id"])


def contract_versions(validated: ir.Table, full_exports: FullExports = NO_FULL_EXPORTS) -> ir.Table:
    """What deliveries told of each contract, and from when: the first version is valid from the beginning.

    What a source writes into a contract when it ends is not in the versions before, so no model learns from it.

    Args:
        validated: validated subscriptions of every delivery.
        full_exports: exports from which a missing key counts as deleted.

    Returns:
        subscription_id, plan, monthly_fee, attributes, valid_from, valid_to.
    """
    rows = clean_dimension(validated, SUBSCRIPTIONS, full_exports)
    return rows.select("subscription_id", *STATE, VALID_FROM.name, VALID_TO.name)


def contract_outcomes(
    scores: ir.Table, subscriptions: ir.Table, validated: ir.Table, horizons: Mapping[date, int]
) -> ir.Table:
    """Published scores of contracts with what became of these.

    Only exports tell of an end, so a contract counts once its source has delivered an export of the last day of the
    horizon, or of a later day. One that had ended before its score, or had not begun, as is known by now, does not count.

    Args:
        scores: rows of the mart `subscription_churn_scores`; the customers are the persons of the day.
        subscriptions: clean subscriptions.
        validated: validated subscriptions of every delivery.
        horizons: length of the label, by the day of the scores; scores of other days do not count.

    Returns:
        as_of, subscription_id, customer_id, churn_probability, tenure_days, churned; by as_of and subscription_id.

    Raises:
        ValueError: without any day.
    """
    if not horizons:
        raise ValueError("contract_outcomes needs at least one day of scores")
    source, export = SOURCE.name, EXPORT_DATE.name
    known_until = validated.group_by(source).agg(until=validated[export].max())
    sources = validated.select("subscription_id", source).distinct().join(known_until, source)
    until = sources.group_by("subscription_id").agg(until=sources.until.max())
    known = subscriptions.select("subscription_id", "day", "ended_at").join(until, "subscription_id")
    scored = scores.select("as_of", "subscription_id", "customer_id", "churn_probability")
    parts = []
    for horizon_days, days in alike_neighbours(horizons):
        rows = scored.filter(scored.as_of.isin(days)).join(known, "subscription_id")
        rows = rows.filter(_runs(rows, rows.as_of), rows.until.delta(rows.as_of, unit="day") >= horizon_days)
        parts.append(
            rows.select(
                *scored.columns,
                tenure_days=rows.as_of.delta(rows.day, unit="day"),
                churned=_ends(rows, rows.as_of, horizon_days),
            )
        )
    return union(parts).order_by(["as_of", "subscription_id"])


def _runs(contracts: ir.Table, as_of: ir.DateValue) -> ir.BooleanValue:
    """Whether a contract runs at the end of a day."""
    ended_on = contracts.ended_at.date()
    return (contracts.day <= as_of) & (ended_on.isnull() | (ended_on > as_of))


def _ends(contracts: ir.Table, as_of: ir.DateValue, horizon_days: int) -> ir.BooleanValue:
    """Whether a contract that runs on a day ends within the horizon."""
    return (contracts.ended_at.date().delta(as_of, unit="day") <= horizon_days).fill_null(False)


def _as_told(subscriptions: ir.Table, told: ir.Table) -> ir.Table:
    """Contracts with plan, fee and attributes as they were told; those never told by then keep what they have."""
    known = told.select(_told="subscription_id", **{f"_{name}": name for name in STATE})
    both = subscriptions.left_join(known, subscriptions.subscription_id == known["_told"])
    state = {name: both["_told"].notnull().ifelse(both[f"_{name}"], both[name]) for name in STATE}
    return both.mutate(**state).select(*subscriptions.columns)


def _on(
    subscriptions: ir.Table, customers: ir.Table, customer_days: ir.Table, as_of: date, horizon_days: int
) -> ir.Table:
    day = ibis.literal(as_of)
    running = subscriptions.filter(_runs(subscriptions, day))
    tenure = day.delta(running.day, unit="day").cast("float64")
    fee = running.monthly_fee.cast("float64")
    rows = running.select(
        "subscription_id",
        "customer_id",
        "record_id",
        "plan",
        "attributes",
        ended=_ends(running, day, horizon_days),
        tenure_days=tenure,
        monthly_fee=fee,
        paid=fee * tenure / MONTH_DAYS,
    )
    contracts = rows.group_by("customer_id").agg(contracts=rows.count().cast("float64"))
    orders = _orders(customer_days, as_of)
    people = valid_on(customers, as_of).select(record_id="customer_id", **{name: name for name in DEMOGRAPHICS})
    wide = rows.left_join(contracts, "customer_id").drop("customer_id_right")
    wide = wide.left_join(orders, "customer_id").drop("customer_id_right")
    wide = wide.left_join(people, "record_id").drop("record_id_right")
    return wide.mutate(as_of=day).select(*COLUMNS)


def _orders(customer_days: ir.Table, as_of: date) -> ir.Table:
    """Orders of each customer lately, and days since the last one."""
    seen = customer_days.filter(customer_days.day <= as_of, customer_days.orders > 0)
    lately = seen.day > as_of - timedelta(ORDER_DAYS)
    summed = seen.group_by("customer_id").agg(
        orders=seen.orders.sum(where=lately).fill_null(0).cast("float64"),
        order_amount=seen.amount.sum(where=lately).cast("float64"),
        last=seen.day.max(),
    )
    recency = ibis.literal(as_of).delta(summed["last"], unit="day").cast("float64")
    return summed.mutate(recency_days=recency).drop("last")
