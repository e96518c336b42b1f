"""What drives a model's predictions: how they move over the range that customers show of each sign.

Belongs here: partial effects of any model. Not here: the reasons of one customer (`churn_reasons.py`), which features a
score owes its height to (`explaining.py`).

Partial dependence (Friedman, Greedy Function Approximation, 2001): a sign of every customer is set to one level while all
else stays, and the predictions are averaged. Signs of one thing, such as windows of one measure, are set together, or the
others would go on saying what the one no longer says. They take the medians of the customers around that level of the
leading sign, so that no combination is made up that customers do not show (Apley and Zhu, Visualizing the Effects of
Predictor Variables, 2020, on why). What a model makes of a sign is no proof that changing the sign changes customers.
"""

import math
from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.calibration import calibrated
from crm_assets.mining.churn import ChurnModel, feature_matrix
from crm_assets.mining.churn_reasons import label, theme
from crm_assets.mining.classifiers import raw_scores, visible
from crm_assets.mining.explaining import put_back, themes_of
from crm_assets.mining.purchases import PURCHASE_FEATURES, PurchaseModel, expected_spend

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the customers who are below a level of the leading sign."""

AROUND = 0.05
"""Share of the customers on either side of a level whose medians stand for it."""

MOST_CUSTOMERS = 300
"""Customers that predictions are averaged over; more would move an average less than the levels do."""

Floats = NDArray[np.float64]


def churn_drivers(model: ChurnModel, features: pd.DataFrame, threads: int) -> pd.DataFrame:
    """Partial effects on the probability of churn.

    Args:
        model: A trained model.
        features: Rows of `customer_features` of active customers on one day, with the columns the model reads.
        threads: For LightGBM.

    Returns:
        As `partial_effects`.
    """
    inputs = feature_matrix(features, model.features)

    def score(rows: pd.DataFrame) -> Floats:
        return np.asarray(calibrated(model.calibration, raw_scores(model.estimator, rows, threads)), np.float64)

    read = inputs if "bg_nbd" in model.estimator else visible(inputs)
    return partial_effects(score, inputs, list(read.columns))


def spend_drivers(model: PurchaseModel, features: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Partial effects on the spend expected.

    Args:
        model: A trained model.
        features: `PURCHASE_FEATURES` of customers with an order, of one day.
        as_of: That day.

    Returns:
        As `partial_effects`.
    """
    inputs = features[list(PURCHASE_FEATURES)].astype("float64")

    def score(rows: pd.DataFrame) -> Floats:
        return expected_spend(model.spend, rows, model.first_day, as_of)

    return partial_effects(score, inputs, list(PURCHASE_FEATURES))


def partial_effects(score: Callable[[pd.DataFrame], Floats], inputs: pd.DataFrame, read: list[str]) -> pd.DataFrame:
    """How the mean prediction moves with each theme.

    Args:
        score: Predictions of rows.
        inputs: What the model reads, one row per customer, float64, NaN for null.
        read: Columns whose themes are looked at.

    Returns:
        One row per theme and level: rank (1 for the theme that moves predictions most), driver (the theme), feature (its
        leading sign: the one whose ranks go with the predictions most closely), label, level, value (of the leading
        sign), prediction (mean over all customers), effect (prediction less the mean prediction as customers are),
        customers. Themes that move nothing are left out; none without customers.
    """
    columns = ["rank", "driver", "feature", "label", "level", "value", "prediction", "effect", "customers"]
    found = []
    if len(inputs):
        predicted = score(inputs)
        with np.errstate(divide="ignore", invalid="ignore"):  # a sign that all share goes with nothing
            closeness = inputs[read].rank().corrwith(pd.Series(predicted, inputs.index).rank()).abs().fillna(0.0)
        for name in themes_of(read, theme):
            members = [column for column in read if theme(column) == name]
            leading = str(closeness[members].idxmax())
            if closeness[leading] > 0:
                rows = _effects(score, inputs, members, leading)
                found.append(rows.assign(driver=name, effect=rows["prediction"] - predicted.mean()))
    moving = [rows for rows in found if np.ptp(rows["prediction"]) > 0]
    moving.sort(key=lambda rows: (-np.ptp(rows["prediction"]), rows["driver"].iloc[0]))
    ranked = [rows.assign(rank=number) for number, rows in enumerate(moving, 1)]
    return pd.concat(ranked, ignore_index=True)[columns] if ranked else pd.DataFrame(columns=columns)


def _effects(
    score: Callable[[pd.DataFrame], Floats], inputs: pd.DataFrame, members: list[str], leading: str
) -> pd.DataFrame:
    """The mean prediction at each level of one theme."""
    known = inputs[inputs[leading].notna()].sort_values(leading, kind="stable")
    rows = []
    for level in LEVELS:
        middle, reach = level * (len(known) - 1), AROUND * len(known)
        first, last = min(math.ceil(middle - reach), round(middle)), max(math.floor(middle + reach), round(middle))
        around = known.iloc[max(first, 0) : last + 1]
        typical = {name: float(around[name].median()) for name in members}
        prediction = float(np.mean(score(put_back(inputs, typical, members))))
        rows.append((leading, label(leading), level, typical[leading], prediction, len(inputs)))
    return pd.DataFrame(rows, columns=["feature", "label", "level", "value", "prediction", "customers"])
