"""What a retention queue brought, once the horizon after it has passed.

Belongs here: what customers of a queue did, and the difference between those to be contacted and those held out.
Not here: the queue (`retention.py`).

Customers count by what the queue said, not by whether a contact took place, since who can be reached is no random draw.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.retention import MEASURES, RETENTION_OUTCOMES
from crm_assets.mining.as_of_days import alike_neighbours
from crm_assets.mining.persons import ALONE, Persons

RESAMPLES = 1_000
"""Resamples of the bootstrap."""

_CELLS = 4_000_000
"""Weights drawn at once, so that memory does not grow with the queue."""

_COLUMNS = ("as_of", "customer_id", "is_holdout", *MEASURES)


def queue_outcomes(
    queue: ir.Table, customer_days: ir.Table, as_of: date, horizons: Mapping[date, int], persons: Persons = ALONE
) -> pd.DataFrame:
    """What the customers of each queue did within the horizon after its day.

    Args:
        queue: Rows of the mart `retention_queue`.
        customer_days: As `mining.customer_days.customer_days` gives it.
        as_of: Last day seen; queues whose horizon ends later are left out.
        horizons: Days after the queue's that are looked at, by its day.
        persons: Who records stand for; the queue of a day is of the persons of that day.

    Returns:
        as_of, customer_id, is_holdout, orders, spend (net of returns); by as_of and customer_id.
    """
    ended = {day: length for day, length in horizons.items() if day + timedelta(days=length) <= as_of}
    if not ended:
        return pd.DataFrame(columns=list(_COLUMNS))
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
    return (
        rows.select(
            *key,
            "is_holdout",
            orders=rows.orders.fill_null(0).cast("int64"),
            spend=rows.spend.cast("float64").fill_null(0.0),
        )
        .order_by(key)
        .to_pandas()
    )


def retention_outcomes(outcomes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The effect of the queue of each day, with its interval.

    Args:
        outcomes: As `queue_outcomes` gives them.
        seed: Of the bootstrap.

    Returns:
        Rows of `contracts.retention.RETENTION_OUTCOMES`, by as_of and measure.
    """
    rows = []
    for as_of, day in outcomes.groupby("as_of", sort=True):
        held_out = day["is_holdout"].to_numpy(dtype=bool)
        for measure in MEASURES:
            values = day[measure].to_numpy(dtype=float)
            rows.append({"as_of": as_of, "measure": measure, **effect(values[~held_out], values[held_out], seed)})
    return pd.DataFrame(rows, columns=list(RETENTION_OUTCOMES.by_name))


def effect(contacted: NDArray[np.float64], held_out: NDArray[np.float64], seed: int) -> dict[str, float | int | None]:
    """Difference of two means, with the interval of 95% of its resamples; each side is resampled by itself."""
    means = [float(side.mean()) if len(side) else None for side in (contacted, held_out)]
    low = high = None
    if min(len(contacted), len(held_out)) > 1:
        generator = np.random.default_rng(seed)
        differences = _resampled_means(contacted, generator) - _resampled_means(held_out, generator)
        low, high = (float(end) for end in np.quantile(differences, [0.025, 0.975]))
    return {
        "contacted": len(contacted),
        "held_out": len(held_out),
        "mean_contacted": means[0],
        "mean_held_out": means[1],
        "effect": None if means[0] is None or means[1] is None else means[0] - means[1],
        "low": low,
        "high": high,
    }


def _resampled_means(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Means of resamples: how often each distinct value is drawn is all that matters."""
    distinct, counts = np.unique(values, return_counts=True)
    at_once, parts = max(1, _CELLS // len(distinct)), []
    for first in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - first)
        drawn = generator.multinomial(len(values), counts / len(values), size=size)
        parts.append((drawn * distinct).sum(axis=1) / len(values))
    return np.concatenate(parts)
