"""Whether and when customers order next and what they will spend: the model of a month, and the rows of the mart.

Belongs here: what is predicted from which features, and scoring. Not here: training and choosing
(`purchase_training.py`), value over a year (`customer_value.py`).

The three probabilities of an order are points of one curve; between them the chance of an order stays the same from day
to day. The next order's day is where that curve reaches a half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.purchases import BEHAVIOUR_PREDICTIONS, HORIZONS
from crm_assets.mining.as_of_days import days_table
from crm_assets.mining.bg_nbd import BgNbd
from crm_assets.mining.linear_models import linear_predictor, logistic_chance
from crm_assets.mining.scaling import signed_log

FREQUENCY, PROCESS, LOGISTIC = "frequency", "mbg_nbd", "logistic"
PAST_SPEND, REGRESSION = "past_spend", "tweedie"
CURVE, USUAL_GAP = "curve", "usual_gap"

SPEND_DAYS = HORIZONS[-1]

PURCHASE_FEATURES = (
    "recency_days",
    "tenure_days",
    "order_days",
    "amount",
    "gap_mean",
    "gap_median",
    "gap_deviation",
    "gap_longest",
    "gap_mean_3",
    "gap_mean_10",
    "recency_over_median_gap",
    *(f"order_days_{days}d" for days in (7, 14, 30, 60, 90)),
    *(f"amount_{days}d" for days in (30, 60, 90)),
    "weekend_share",
)
"""Columns of `customer_features` that the models read, no demographics."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PurchaseModel:
    """A trained model: numbers and text only, so that it can be stored without pickle.

    Attributes:
        model_id: Names the model in the mart.
        purchase: By days ahead, as text: the `champion` and its `estimator`.
        spend: The same of spend.
        next_order: Which way of naming the day of the next order is champion.
        first_day: First day with an order, from which past spend is paced.
        card: Data window, figures, features and limits.
    """

    model_id: str
    purchase: dict[str, dict[str, Any]]
    spend: dict[str, Any]
    next_order: str
    first_day: date
    card: dict[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The model as plain values."""
        return {**asdict(self), "first_day": self.first_day.isoformat()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "PurchaseModel":
        """The model that `to_document` wrote."""
        return cls(**{**document, "first_day": date.fromisoformat(document["first_day"])})


def next_orders(customer_days: ir.Table, as_of_days: Sequence[date], days: int = SPEND_DAYS) -> ir.Table:
    """When each customer ordered next after each day, and what was spent meanwhile, where there was anything.

    The caller sees to it that these days lie in the data.

    Args:
        customer_days: as `mining.customer_days.customer_days` gives it.
        as_of_days: days to look ahead from.
        days: how far.

    Returns:
        as_of, customer_id, days_until (to the first day with an order; null without), spend (float64), by as_of and
        customer_id.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("next_orders needs at least one as_of day")
    grid = days_table(as_of_days)
    seen = customer_days.select("customer_id", "day", "orders", "amount").cross_join(grid)
    seen = seen.mutate(ahead=seen.day.delta(seen.as_of, unit="day"))
    near = seen.filter(seen.ahead > 0, seen.ahead <= days, seen.customer_id.notnull())
    sums = near.group_by("as_of", "customer_id").agg(
        days_until=near.ahead.min(where=near.orders > 0).cast("int64"), spend=near.amount.sum()
    )
    return sums.mutate(spend=sums.spend.cast("float64")).order_by("as_of", "customer_id")


def predict_purchases(model: PurchaseModel, features: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Predictions of each customer who ordered by a day.

    Args:
        model: a trained model.
        features: customer_id and `PURCHASE_FEATURES` of that day.
        as_of: last day seen.

    Returns:
        Rows of `contracts.purchases.BEHAVIOUR_PREDICTIONS`, by customer_id.
    """
    rows = features[features["recency_days"].notna()].sort_values("customer_id", ignore_index=True)
    if rows.empty:
        return pd.DataFrame(columns=list(BEHAVIOUR_PREDICTIONS.by_name))
    curve = purchase_curve(model.purchase, rows)
    quantiles = {name: days_until(curve, share) for name, share in (("low", 0.1), ("on", 0.5), ("high", 0.9))}
    if model.next_order == USUAL_GAP:
        quantiles["on"] = usual_gap(rows)
    days = {f"next_order_{name}": _dates(as_of, values) for name, values in quantiles.items()}
    frame = pd.DataFrame(
        {
            "as_of": as_of,
            "customer_id": rows["customer_id"],
            **{f"p_order_{days_}d": curve[:, number] for number, days_ in enumerate(HORIZONS)},
            f"expected_spend_{SPEND_DAYS}d": expected_spend(model.spend, rows, model.first_day, as_of),
            **days,
            "model_id": model.model_id,
        }
    )
    return frame[list(BEHAVIOUR_PREDICTIONS.by_name)]


def purchase_curve(models: Mapping[str, Mapping[str, Any]], features: pd.DataFrame) -> Floats:
    """Probability of an order within each of `HORIZONS`, never less for a longer one: shape (customers, horizons)."""
    chances = [
        probability(models[str(days)]["champion"], models[str(days)]["estimator"], features, days) for days in HORIZONS
    ]
    return np.maximum.accumulate(np.column_stack(chances), axis=1)


def probability(candidate: str, estimator: Mapping[str, Any], features: pd.DataFrame, days: int) -> Floats:
    """Probability of an order within some days, by a candidate."""
    if candidate == FREQUENCY:
        return np.asarray(1 - np.exp(-days * pace(features)), np.float64)
    if candidate == PROCESS:
        process = BgNbd.from_document(estimator)
        frequency, recency, age = history(features)
        none = ((process.alpha + age) / (process.alpha + age + days)) ** (process.r + frequency)
        return np.asarray(process.p_alive(frequency, recency, age) * (1 - none), np.float64)
    return logistic_chance(estimator, purchase_inputs(features))


def expected_spend(model: Mapping[str, Any], features: pd.DataFrame, first_day: date, as_of: date) -> Floats:
    """Spend expected within `SPEND_DAYS`, never less than nothing."""
    if model["champion"] == PAST_SPEND:
        amount = np.maximum(features["amount"].to_numpy(np.float64), 0.0)
        return np.asarray(amount * (SPEND_DAYS / ((as_of - first_day).days + 1)), np.float64)
    # As much as the largest spender of the training rows at most: beyond what was seen a power has no hold.
    predicted = np.exp(linear_predictor(model["estimator"], purchase_inputs(features)))
    return np.asarray(np.minimum(predicted, model["estimator"]["most"]), np.float64)


def pace(features: pd.DataFrame) -> Floats:
    """Days with an order per day of the customer's own history: the personal frequency."""
    ordered, tenure = (features[name].to_numpy(np.float64) for name in ("order_days", "tenure_days"))
    return np.asarray(ordered / (tenure + 1), np.float64)


def history(features: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Frequency, recency and age as the order process takes them."""
    ordered, tenure, pause = (
        features[name].to_numpy(np.float64) for name in ("order_days", "tenure_days", "recency_days")
    )
    return ordered - 1, tenure - pause, tenure


def usual_gap(features: pd.DataFrame) -> Floats:
    """Days until the next order, if the customer's usual gap holds: tomorrow where it has passed; null without a gap."""
    left = features["gap_median"].to_numpy(np.float64) - features["recency_days"].to_numpy(np.float64)
    return np.maximum(np.ceil(left), 1.0)


def purchase_inputs(features: pd.DataFrame) -> Floats:
    """What the linear models see: features on a log scale, and the present pause and pace in relation; NaN for null."""
    columns = {name: pd.to_numeric(features[name]).astype("float64") for name in PURCHASE_FEATURES}
    values = {name: signed_log(column.to_numpy(np.float64)) for name, column in columns.items()}
    pause = columns["recency_days"] + 1
    for gap in ("gap_mean", "gap_median", "gap_longest", "gap_mean_3", "gap_mean_10"):
        values[f"pause_over_{gap}"] = np.log(pause / (columns[gap] + 3))
    values["pace"] = np.log((columns["order_days"] + 0.5) / (columns["tenure_days"] + 21))
    values["pace_90d"] = np.log((columns["order_days_90d"] + 0.3) / (columns["tenure_days"].clip(upper=90) + 9))
    return np.column_stack([np.asarray(value, np.float64) for value in values.values()])


def days_until(curve: Floats, share: float) -> Floats:
    """Days by which a share of such customers has ordered, whole; NaN beyond the longest horizon.

    Args:
        curve: as `purchase_curve` gives it.
        share: between 0 and 1.
    """
    knots = np.array([0, *HORIZONS], np.float64)
    hazard = -np.log1p(-np.clip(np.column_stack([np.zeros(len(curve)), curve]), 0.0, 1 - 1e-12))
    wanted = -np.log1p(-share)
    found = np.full(len(curve), np.nan)
    for number in range(len(HORIZONS) - 1, -1, -1):
        start, end = hazard[:, number], hazard[:, number + 1]
        inside = (end >= wanted) & (end > start)
        part = np.divide(wanted - start, end - start, out=np.zeros(len(curve)), where=inside)
        found = np.where(inside & (start < wanted), knots[number] + part * (knots[number + 1] - knots[number]), found)
    return np.maximum(np.ceil(found - 1e-9), 1.0)


def _dates(as_of: date, days: Floats) -> pd.Series:
    distinct, place = np.unique(days, return_inverse=True)
    dates = [None if np.isnan(count) else as_of + timedelta(days=int(count)) for count in distinct]
    return pd.Series(np.array(dates, dtype=object)[place])
