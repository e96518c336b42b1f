"""Who places no order in the next days: labels, the fixed training days, and scores with reasons.

Belongs here: what churn is, and scoring with a trained model. Not here: training (`churn_training.py`), the words of the
reasons (`churn_reasons.py`), features (`features.py`).
"""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import RISK_BANDS
from crm_assets.contracts.features import WINDOWS, windowed
from crm_assets.mining.as_of_days import days_table
from crm_assets.mining.calibration import calibrated
from crm_assets.mining.churn_reasons import label, reasons, theme
from crm_assets.mining.classifiers import HIDDEN, contributions, importance, raw_scores
from crm_assets.mining.explaining import lowered_by_theme
from crm_assets.mining.samples import bounded

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

_LONG_WINDOW_MEASURES = ("orders", "order_days", "lines", "quantity", "amount")
"""What windows of more than 90 days tell of, too, for shops where customers seldom order; these grow with a young history."""

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
    *(windowed(name, days) for name in _LONG_WINDOW_MEASURES for days in WINDOWS if days > 90),
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
"""Columns of `customer_features` the models read, no demographics."""

_FOR_PACE_ONLY = ("order_days", "tenure_days")
"""Grow as the history does, so learners see them only as a pace; the order process reads them as they are."""

_PAUSED = ("gap_mean", "gap_mean_3", "gap_mean_5", "gap_mean_10", "gap_longest", "gap_longest_recent")


@dataclass(frozen=True)
class ChurnModel:
    """A trained champion: numbers and text only, so that it can be stored without pickle.

    Attributes:
        model_id: Names the model in scores.
        champion: One of `classifiers.LEARNERS`, `bg_nbd` or `recency`.
        estimator: What the champion needs, as `classifiers` gives it.
        calibration: From raw score to probability, see `calibration.calibrated`.
        typical: Median of each feature over the training rows, quoted in reasons.
        card: Data window, training days, figures, features, versions, seed and limits.
        features: Columns the model reads, in order.
        reference: What features and scores looked like when it was trained, see `drift.reference_of`.
        encoding: How rows of a source become these features, where they are not columns of `customer_features`.
        active_days: Customers without an order in this many days are not scored: they are gone already or never came.
    """

    model_id: str
    champion: str
    estimator: dict[str, Any]
    calibration: dict[str, Any]
    typical: dict[str, float | None]
    card: dict[str, Any]
    features: tuple[str, ...] = field(default=CHURN_FEATURES)
    reference: dict[str, Any] = field(default_factory=dict)
    encoding: dict[str, Any] = field(default_factory=dict)
    active_days: int = ACTIVE_DAYS

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


def churn_training_days(month_start: date, first_day: date, horizon_days: int = HORIZON_DAYS) -> list[date]:
    """The training days of a month's churn model: those with as much history behind them as the label is long.

    On earlier ones little is known of each customer. Where those that remain do not span two labels, which comparing
    candidates in time needs, earlier ones count as well, as `training_days` gives them.
    """
    days = training_days(month_start, first_day, horizon_days)
    grown = [day for day in days if day >= first_day + timedelta(horizon_days)]
    return grown if grown and grown[-1] - grown[0] > timedelta(2 * horizon_days) else days


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
    grid = days_table(as_of_days)
    seen = customer_days.filter(customer_days.orders > 0).select("customer_id", "day").cross_join(grid)
    ahead = seen.day.delta(seen.as_of, unit="day")
    near = seen.mutate(ahead=ahead).filter(ahead > -active_days, ahead <= horizon_days)
    customers = near.group_by(["as_of", "customer_id"]).aggregate(
        active=near.count(where=near.ahead <= 0), later=near.count(where=near.ahead > 0)
    )
    active = customers.filter(customers.active > 0)
    return active.select("as_of", "customer_id", churned=active.later == 0).order_by(["as_of", "customer_id"])


def order_histories(features: ir.Table, as_of_days: Sequence[date], most: int, seed: int) -> ir.Table:
    """What the order process is fitted to: how often customers with alike histories stand in the features of some days.

    All customers who ever ordered count, not the active ones only, or it would learn that nobody leaves.

    Args:
        features: rows of `customer_features`.
        as_of_days: days to fit as of.
        most: most rows; beyond, customers are drawn.
        seed: of the draw.

    Returns:
        as_of, frequency (days with an order after the first one), recency (days from the first order to the last one), age
        (days from the first order to as_of), customers (how many), in this order.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("order_histories needs at least one as_of day")
    known = features.filter(features.as_of.isin(sorted(set(as_of_days))), features.order_days > 0)
    known = bounded(known, most, len(set(as_of_days)), seed)
    read = known.select(
        "as_of",
        frequency=known.order_days - 1,
        recency=known.tenure_days - known.recency_days,
        age=known.tenure_days,
    )
    key = ["as_of", "frequency", "recency", "age"]
    return read.group_by(key).agg(customers=read.count()).order_by(key)


def score_churn(model: ChurnModel, features: pd.DataFrame) -> pd.DataFrame:
    """Churn probability, risk band and reasons of every active customer.

    Args:
        model: a trained model; it says who is active.
        features: rows of `customer_features`, of one as_of day or several.

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
    active = features[features["recency_days"].notna() & (features["recency_days"] < model.active_days)]
    active = active.sort_values(["as_of", "customer_id"]).reset_index(drop=True)
    if active.empty:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    inputs = feature_matrix(active, model.features)

    def score(rows: pd.DataFrame) -> NDArray[np.float64]:
        return raw_scores(model.estimator, rows)

    raw = score(inputs)
    probability = calibrated(model.calibration, raw)
    moved = contributions(model.estimator, inputs, model.typical)
    lowered = lowered_by_theme(score, raw, inputs, model.typical, theme)
    return pd.DataFrame(
        {
            "as_of": active["as_of"],
            "customer_id": active["customer_id"],
            "churn_probability": probability,
            "risk_band": risk_bands(probability),
            "reasons": reasons(inputs, moved, lowered, model.typical),
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
    histories from giving extremes. Columns for the order process only have names that start with `_`.
    """
    columns = {name: pd.to_numeric(features[name]).astype("float64") for name in names}
    recency, tenure = columns["recency_days"], columns["tenure_days"] + 1
    related = {f"recency_over_{gap}": (recency + 1) / (columns[gap] + 3) for gap in _PAUSED}
    related["recency_beyond_gap_mean"] = (recency - columns["gap_mean"]) / (columns["gap_deviation"] + 3)
    related["order_days_pace"] = (columns["order_days"] + 0.5) / (tenure + 20) * 30
    related["order_days_pace_90d"] = (columns["order_days_90d"] + 0.3) / (tenure.clip(upper=90) + 8) * 30
    seen = {HIDDEN * (name in _FOR_PACE_ONLY) + name: column for name, column in columns.items()}
    return pd.DataFrame({**seen, **related}, index=features.index)


def feature_importance(model: ChurnModel) -> pd.DataFrame:
    """What a champion of trees looks at: label, importance (total gain). No rows for any other champion."""
    gain = importance(model.estimator)
    return pd.DataFrame(
        {"label": [label(name) for name in gain], "importance": [float(value) for value in gain.values()]}
    )
