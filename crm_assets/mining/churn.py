"""Who places no order in the next days: labels, the fixed training days, and scores with reasons.

Belongs here: what churn is, and scoring with a trained model. Not here: training (`churn_training.py`), the words of the
reasons (`churn_reasons.py`), features (`features.py`).
"""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import RISK_BANDS
from crm_assets.contracts.features import WINDOWS, windowed
from crm_assets.mining.churn_reasons import label, reasons

HORIZON_DAYS = 30
"""A customer churned who places no order in this many days after the as_of day."""

ACTIVE_DAYS = 60
"""Only customers with an order in this many days up to the as_of day are labelled and scored."""

TRAINING_DAYS_OF_MONTH = (20, 31)
"""Training days of every month; 31 stands for the last day. Every model shares them, so their features are kept."""

BAND_ENDS = (0.10, 0.25, 0.50)
"""Probability each of `RISK_BANDS` ends below; the last one has no end."""

SCORE_COLUMNS = ("as_of", "customer_id", "churn_probability", "risk_band", "reasons", "model_id")

_WINDOW_MEASURES = (
    "orders",
    "order_days",
    "lines",
    "quantity",
    "amount",
    "products",
    "categories",
    "discount_share",
    "coupon_share",
    "promoted_share",
    "contacts",
    "responses",
)

CHURN_FEATURES = (
    "recency_days",
    "recency_over_median_gap",
    "gaps_over_recency",
    "gaps_over_recency_share",
    "gap_mean",
    "gap_median",
    "gap_deviation",
    "gap_longest",
    "gap_longest_recent",
    "gap_last",
    "gap_mean_3",
    "gap_mean_5",
    "gap_mean_10",
    "gaps_over_20",
    "gaps_over_30",
    *(windowed(name, days) for name in _WINDOW_MEASURES for days in WINDOWS if days <= 90),
    "amount_slope_30d",
    "amount_slope_90d",
    "amount_change",
    "orders_change",
    "category_concentration",
    "top_category_1_share",
    "weekend_share",
    "favourite_weekday_share",
    "night_share",
    "morning_share",
    "afternoon_share",
    "evening_share",
    "order_days",
    "tenure_days",
)
"""Columns of `customer_features` the models read, no demographics. Longer windows grow with a young history."""

_FOR_PACE_ONLY = ("order_days", "tenure_days")
"""Grow as the history does, so models see them only as a pace."""

_PAUSED = ("gap_mean", "gap_mean_3", "gap_mean_5", "gap_mean_10", "gap_longest", "gap_longest_recent")


@dataclass(frozen=True)
class ChurnModel:
    """A trained champion: numbers and text only, so that it can be stored without pickle.

    Attributes:
        model_id: Names the model in scores.
        champion: `lightgbm`, `logistic` or `recency`.
        estimator: What the champion needs: booster texts, coefficients, or nothing.
        calibration: From raw score to probability, see `calibrated`.
        typical: Median of each feature over the training rows, quoted in reasons.
        card: Data window, training days, figures, features, versions, seed and limits.
        features: Columns the model reads, in order.
    """

    model_id: str
    champion: str
    estimator: dict[str, Any]
    calibration: dict[str, Any]
    typical: dict[str, float | None]
    card: dict[str, Any]
    features: tuple[str, ...] = field(default=CHURN_FEATURES)

    def to_document(self) -> dict[str, Any]:
        """The model as plain dicts, lists, numbers and strings, for `skops.io.dump` or JSON."""
        return {**asdict(self), "features": list(self.features)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ChurnModel":
        """The model that `to_document` wrote."""
        return cls(**{**document, "features": tuple(document["features"])})


def training_days(
    month_start: date,
    first_day: date,
    horizon_days: int = HORIZON_DAYS,
    warm_up_days: int = 30,
    months: int = 24,
) -> list[date]:
    """As_of days whose labels may train the model of a month.

    Args:
        month_start: first day the model may score; only days before it may be used.
        first_day: first day with an order.
        horizon_days: length of the label; it must have ended before `month_start`.
        warm_up_days: history a training day needs behind it.
        months: how far back training days go.

    Returns:
        The 20th and the last day of every month that qualify, in order. Empty for a young history.
    """
    earliest = max(first_day + timedelta(warm_up_days), month_start - timedelta(round(months * 30.44)))
    latest = month_start - timedelta(horizon_days + 1)
    days: list[date] = []
    month = earliest.replace(day=1)
    while month <= latest:
        length = monthrange(month.year, month.month)[1]
        days += [month.replace(day=min(day, length)) for day in TRAINING_DAYS_OF_MONTH]
        month += timedelta(length)
    return [day for day in days if earliest <= day <= latest]


def churn_labels(
    customer_days: ir.Table,
    as_of_days: Sequence[date],
    horizon_days: int = HORIZON_DAYS,
    active_days: int = ACTIVE_DAYS,
) -> ir.Table:
    """Whether each active customer placed no order in the days after each as_of day.

    The caller sees to it that the whole horizon lies in the data: `training_days` gives such days.

    Args:
        customer_days: as `mining.customer_days.customer_days` gives it.
        as_of_days: days to label.
        horizon_days: days after the as_of day in which an order keeps a customer.
        active_days: days up to and including the as_of day in which a customer must have ordered.

    Returns:
        as_of, customer_id, churned (boolean), ordered by as_of and customer_id.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("churn_labels needs at least one as_of day")
    grid = ibis.array([ibis.literal(day) for day in sorted(set(as_of_days))]).unnest().name("as_of").as_table()
    seen = customer_days.filter(customer_days.orders > 0).select("customer_id", "day").cross_join(grid)
    ahead = seen.day.delta(seen.as_of, unit="day")
    near = seen.mutate(ahead=ahead).filter(ahead > -active_days, ahead <= horizon_days)
    customers = near.group_by(["as_of", "customer_id"]).aggregate(
        active=near.count(where=near.ahead <= 0), later=near.count(where=near.ahead > 0)
    )
    active = customers.filter(customers.active > 0)
    return active.select("as_of", "customer_id", churned=active.later == 0).order_by(["as_of", "customer_id"])


def score_churn(
    model: ChurnModel, features: pd.DataFrame, active_days: int = ACTIVE_DAYS, threads: int = 2
) -> pd.DataFrame:
    """Churn probability, risk band and reasons of every active customer.

    Args:
        model: a trained model.
        features: rows of `customer_features`, of one as_of day or several.
        active_days: customers without an order in this many days are left out: they are gone already or never came.
        threads: for LightGBM.

    Returns:
        as_of, customer_id, churn_probability (0 to 1), risk_band, reasons (one to three texts, strongest first),
        model_id; ordered by as_of and customer_id. Empty without active customers.

    Raises:
        ValueError: when a feature the model reads is missing.
    """
    missing = [name for name in model.features if name not in features.columns]
    if missing:
        raise ValueError(
            f"model {model.model_id} reads {missing[:5]}, which the features lack; rebuild customer_features"
        )
    active = features[features["recency_days"].notna() & (features["recency_days"] < active_days)]
    active = active.sort_values(["as_of", "customer_id"]).reset_index(drop=True)
    if active.empty:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    inputs = feature_matrix(active, model.features)
    probability = calibrated(model.calibration, raw_scores(model.champion, model.estimator, inputs, threads))
    return pd.DataFrame(
        {
            "as_of": active["as_of"],
            "customer_id": active["customer_id"],
            "churn_probability": probability,
            "risk_band": risk_bands(probability),
            "reasons": reasons(inputs, contributions(model, inputs, threads), model.typical),
            "model_id": model.model_id,
        }
    )


def risk_bands(probability: NDArray[np.float64]) -> list[str]:
    """Name of the band of `RISK_BANDS` each probability falls into."""
    return [RISK_BANDS[number] for number in np.digitize(probability, BAND_ENDS)]


def feature_matrix(features: pd.DataFrame, names: Sequence[str] = CHURN_FEATURES) -> pd.DataFrame:
    """What the models see: the named columns as float64, nulls as NaN, and the present pause and pace set in relation.

    A pause counts by how long the customer usually pauses: days since the last order over each usual gap, and beyond the
    mean gap in deviations. Pace is days with an order per 30 days of history. Added constants keep short gaps and short
    histories from giving extremes.
    """
    columns = {name: pd.to_numeric(features[name]).astype("float64") for name in names}
    recency, tenure = columns["recency_days"], columns["tenure_days"] + 1
    related = {f"recency_over_{gap}": (recency + 1) / (columns[gap] + 3) for gap in _PAUSED}
    related["recency_beyond_gap_mean"] = (recency - columns["gap_mean"]) / (columns["gap_deviation"] + 3)
    related["order_days_pace"] = (columns["order_days"] + 0.5) / (tenure + 20) * 30
    related["order_days_pace_90d"] = (columns["order_days_90d"] + 0.3) / (tenure.clip(upper=90) + 8) * 30
    seen = {name: column for name, column in columns.items() if name not in _FOR_PACE_ONLY}
    return pd.DataFrame({**seen, **related}, index=features.index)


def raw_scores(champion: str, estimator: Mapping[str, Any], inputs: pd.DataFrame, threads: int) -> NDArray[np.float64]:
    """Uncalibrated scores, higher for more likely churn: log-odds, or days since the last order for the rule."""
    if champion == "recency":
        return inputs["recency_days"].to_numpy()
    if champion == "logistic":
        scaled = logistic_inputs(estimator, inputs)
        return np.asarray(scaled @ np.asarray(estimator["coefficients"]) + estimator["intercept"])
    count = useful_threads(len(inputs), threads)
    raw = [booster.predict(inputs, raw_score=True, num_threads=count) for booster in _boosters(estimator)]
    return np.asarray(np.mean(raw, axis=0))


def contributions(model: ChurnModel, inputs: pd.DataFrame, threads: int) -> NDArray[np.float64]:
    """How far each feature moves each customer's log-odds of churn: shape (customers, features).

    SHAP values for LightGBM (Lundberg, Erion and Lee, 2018: TreeSHAP), coefficient times standardised value for logistic
    regression, days beyond the typical recency for the rule.
    """
    if model.champion == "recency":
        beyond = inputs["recency_days"].to_numpy() - (model.typical["recency_days"] or 0.0)
        return np.outer(beyond, inputs.columns == "recency_days")
    if model.champion == "logistic":
        return logistic_inputs(model.estimator, inputs) * np.asarray(model.estimator["coefficients"])
    count = useful_threads(len(inputs), threads)
    parts = [booster.predict(inputs, pred_contrib=True, num_threads=count) for booster in _boosters(model.estimator)]
    return np.asarray(np.mean(parts, axis=0))[:, :-1]


def logistic_inputs(estimator: Mapping[str, Any], inputs: pd.DataFrame) -> NDArray[np.float64]:
    """Features on a log scale where they only grow, nulls as the median, standardised."""
    values = signed_log(inputs)
    values = np.where(np.isnan(values), np.asarray(estimator["fill"]), values)
    return np.asarray((values - np.asarray(estimator["mean"])) / np.asarray(estimator["scale"]))


def signed_log(inputs: pd.DataFrame) -> NDArray[np.float64]:
    """log(1 + |x|) with the sign of x: counts and amounts differ by factors, not by steps."""
    values = inputs.to_numpy()
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def calibrated(calibration: Mapping[str, Any], raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities from raw scores: a logistic curve (Platt, 1999) or steps joined by lines (isotonic)."""
    if calibration["kind"] == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-(calibration["slope"] * raw + calibration["intercept"]))))
    return np.asarray(np.interp(raw, calibration["raw"], calibration["probability"]))


def useful_threads(rows: int, threads: int) -> int:
    """One thread per 5,000 rows: on fewer, threads wait for each other longer than they work."""
    return max(1, min(threads, rows // 5_000))


def feature_importance(model: ChurnModel) -> pd.DataFrame:
    """What a LightGBM champion looks at: label, importance (total gain). No rows for any other champion."""
    if model.champion == "lightgbm":
        boosters = _boosters(model.estimator)
        gain = np.sum([booster.feature_importance("gain") for booster in boosters], axis=0)
        labels = [label(name) for name in boosters[0].feature_name()]
        return pd.DataFrame({"label": labels, "importance": gain.astype("float64")})
    return pd.DataFrame({"label": [], "importance": []})


def _boosters(estimator: Mapping[str, Any]) -> list[Any]:
    import lightgbm

    return [lightgbm.Booster(model_str=text) for text in estimator["boosters"]]
