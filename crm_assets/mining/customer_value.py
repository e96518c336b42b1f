"""What each customer is expected to be worth: the value model of a month, and the rows of the mart.

Belongs here: the stored model, scoring with it, intervals. Not here: training and choosing (`value_training.py`), the
processes themselves (`bg_nbd.py`, `gamma_gamma.py`).

Every champion says what a customer will spend in the days a past can be held out for. The order process carries that on
to the horizon: later orders are fewer, as customers leave, and count less, being discounted. So `clv` is always
expected orders times expected order value, discounted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.value import CUSTOMER_VALUE
from crm_assets.mining.bg_nbd import BgNbd
from crm_assets.mining.gamma_gamma import GammaGamma

DAYS_OF_YEAR = 365.0
INTERVAL = 0.9
"""Share of the futures drawn for a customer that lie between `clv_low` and `clv_high`."""

_DRAWS = 100
_CUSTOMERS_AT_ONCE = 10_000

VALUE_FEATURES = (
    "recency_days",
    "tenure_days",
    "order_days",
    "amount",
    "gap_mean",
    "gap_median",
    "gap_deviation",
    "gap_mean_3",
    "gap_mean_10",
    "recency_over_median_gap",
    "order_days_30d",
    "order_days_60d",
    "order_days_90d",
    "amount_30d",
    "amount_60d",
    "amount_90d",
    "amount_slope_90d",
    "amount_change",
    "products_90d",
    "categories_90d",
    "discount_share_90d",
    "coupon_share_90d",
    "return_share_90d",
    "contacts_90d",
    "responses_90d",
    "weekend_share",
)
"""Columns of `customer_features` that LightGBM reads, no demographics."""

_AS_PACE = ("tenure_days", "order_days", "amount")
"""Grow as the history does, so the model sees them only as a pace."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ValueModel:
    """A trained value model: numbers and text only, so that it can be stored without pickle.

    Attributes:
        model_id: Names the model on its card.
        champion: `mbg_nbd`, `lightgbm` or `past_spend`.
        orders: The order process, MBG/NBD, which gives P(alive) whatever the champion.
        values: The model of order values.
        booster: Text of the LightGBM model, where it is champion; else empty.
        first_day: First day with an order, from which past spend is paced.
        holdout_days: Days ahead for which the champion predicts spend.
        horizon_days: Days ahead that a customer is valued for.
        discount_rate: Per year.
        seed: Of the futures drawn for intervals.
        card: Data window, figures, parameters, versions and limits.
    """

    model_id: str
    champion: str
    orders: BgNbd
    values: GammaGamma
    booster: str
    first_day: date
    holdout_days: int
    horizon_days: int
    discount_rate: float
    seed: int
    card: dict[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The model as plain dicts, lists, numbers and strings, for `skops.io.dump` or JSON."""
        return {
            **vars(self),
            "orders": self.orders.to_document(),
            "values": self.values.to_document(),
            "first_day": self.first_day.isoformat(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ValueModel":
        """The model that `to_document` wrote."""
        return cls(
            **{
                **document,
                "orders": BgNbd.from_document(document["orders"]),
                "values": GammaGamma.from_document(document["values"]),
                "first_day": date.fromisoformat(document["first_day"]),
            }
        )


def score_value(
    model: ValueModel, measures: pd.DataFrame, as_of: date, features: pd.DataFrame | None = None
) -> pd.DataFrame:
    """What each customer is expected to be worth, as of a day.

    Args:
        model: a trained model.
        measures: as `value_measures` gives them, of `as_of`.
        as_of: last day seen.
        features: customer_id and `VALUE_FEATURES` of that day; needed where LightGBM is champion.

    Returns:
        Rows of `contracts.value.CUSTOMER_VALUE`, by customer_id.

    Raises:
        ValueError: LightGBM is champion and a customer has no features.
    """
    rows = measures.sort_values("customer_id").reset_index(drop=True)
    if rows.empty:
        return pd.DataFrame(columns=list(CUSTOMER_VALUE.by_name))
    orders, count, age = model.orders, rows["frequency"].to_numpy(np.float64), rows["age"].to_numpy(np.float64)
    order_value = expected_order_value(model.values, rows)
    spend = predicted_spend(model, rows, as_of, order_value, features)
    in_holdout = orders.orders_if_alive(count, age, model.holdout_days)
    in_horizon = orders.orders_if_alive(count, age, model.horizon_days)
    rate = float(np.log1p(model.discount_rate)) / DAYS_OF_YEAR
    discounted = orders.orders_if_alive(count, age, model.horizon_days, rate)
    clv = spend * discounted / in_holdout
    low, high = _futures(model, rows, as_of)
    p_alive = orders.p_alive(count, rows["recency"], age)
    # Futures are drawn from the processes; another champion moves them as far as it moves the mean.
    process = p_alive * discounted * order_value
    moved = discounted / in_horizon * np.divide(clv, process, out=np.zeros_like(clv), where=process > 0)
    return pd.DataFrame(
        {
            "as_of": as_of,
            "customer_id": rows["customer_id"],
            "p_alive": p_alive,
            "expected_orders": spend * in_horizon / in_holdout / order_value,
            "expected_order_value": order_value,
            "clv": clv,
            # The mean of a skewed future may lie beyond its quantiles.
            "clv_low": np.minimum(low * moved, clv),
            "clv_high": np.maximum(high * moved, clv),
        }
    )


def expected_order_value(values: GammaGamma, measures: pd.DataFrame) -> Floats:
    """Amount expected on a day with an order of each customer, from all their orders, the first one included."""
    count = measures["frequency"].to_numpy(np.float64) + 1
    return values.expected_value(count, measures["amount"].to_numpy(np.float64) / count)


def predicted_spend(
    model: ValueModel,
    measures: pd.DataFrame,
    as_of: date,
    order_value: Floats,
    features: pd.DataFrame | None,
) -> Floats:
    """What the champion expects each customer to spend in the days that were held out, never less than nothing."""
    if model.champion == "past_spend":
        return past_pace(measures, model.first_day, as_of, model.holdout_days)
    if model.champion == "lightgbm":
        return boosted_spend(model.booster, aligned(features, measures))
    count, recency, age = (measures[name].to_numpy(np.float64) for name in ("frequency", "recency", "age"))
    return model.orders.expected_orders(count, recency, age, model.holdout_days) * order_value


def past_pace(measures: pd.DataFrame, first_day: date, as_of: date, days: int) -> Floats:
    """The baseline: customers go on spending as much a day as they did over the whole history."""
    history = (as_of - first_day).days + 1
    return np.maximum(measures["amount"].to_numpy(np.float64), 0.0) * (days / history)


def boosted_spend(booster: str, features: pd.DataFrame, threads: int = 1) -> Floats:
    """What a LightGBM model expects each customer to spend."""
    import lightgbm

    model = lightgbm.Booster(model_str=booster)
    return np.maximum(np.asarray(model.predict(value_matrix(features), num_threads=threads), np.float64), 0.0)


def aligned(features: pd.DataFrame | None, measures: pd.DataFrame) -> pd.DataFrame:
    """Features in the order of `measures`.

    Raises:
        ValueError: a customer has none.
    """
    if features is None:
        raise ValueError("the champion is lightgbm, which reads customer_features; pass them")
    rows = features.set_index("customer_id").reindex(measures["customer_id"])
    if unknown := int(rows["recency_days"].isna().sum()):
        raise ValueError(f"{unknown} customers have no features of this day; make customer_features anew")
    return rows.reset_index()


def value_matrix(features: pd.DataFrame) -> pd.DataFrame:
    """What LightGBM sees: `VALUE_FEATURES` as float64, totals per day of history, and the mean value of an order."""
    columns = {name: pd.to_numeric(features[name]).astype("float64") for name in VALUE_FEATURES}
    history = columns["tenure_days"] + 30
    seen = {name: column for name, column in columns.items() if name not in _AS_PACE}
    seen |= {f"{name}_pace": columns[name] / history for name in ("order_days", "amount")}
    seen["order_value"] = columns["amount"] / columns["order_days"]
    return pd.DataFrame(seen, index=features.index)


def _futures(model: ValueModel, measures: pd.DataFrame, as_of: date) -> tuple[Floats, Floats]:
    """Ends of the interval of each customer's spend within the horizon, undiscounted, from futures drawn at random.

    Each future draws whether the customer still is one, then the customer's own rate, chance of leaving and mean value,
    given the history; then orders until the horizon or until the customer leaves; then their values.
    """
    generator = np.random.default_rng([model.seed, as_of.toordinal()])
    ends = np.empty((2, len(measures)))
    tail = (1 - INTERVAL) / 2
    for start in range(0, len(measures), _CUSTOMERS_AT_ONCE):
        part = slice(start, start + _CUSTOMERS_AT_ONCE)
        spend = _drawn_spend(model, measures.iloc[part], generator)
        # Of so few futures the usual quantiles lie too far inside.
        ends[:, part] = np.quantile(spend, [tail, 1 - tail], axis=0, method="weibull")
    return ends[0], ends[1]


def _drawn_spend(model: ValueModel, measures: pd.DataFrame, generator: np.random.Generator) -> Floats:
    orders, values = model.orders, model.values
    x, recency, age, amount = (
        measures[name].to_numpy(np.float64) for name in ("frequency", "recency", "age", "amount")
    )
    size = (_DRAWS, len(x))
    alive = generator.random(size) < orders.p_alive(x, recency, age)
    rate = generator.standard_gamma(orders.r + x, size) / (orders.alpha + age)
    leaving = np.clip(generator.beta(orders.a, orders.b + x + orders.modified, size), 1e-9, 1.0)
    # Whoever leaves does so after an order: that order still counts.
    number = np.minimum(generator.poisson(rate * model.horizon_days), generator.geometric(leaving)) * alive
    spread = generator.standard_gamma(values.q + values.p * (x + 1), size) / (values.gamma + np.maximum(amount, 0.0))
    return np.asarray(generator.standard_gamma(values.p * number) / spread)
