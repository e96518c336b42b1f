"""Why a customer is likely to leave or stay, in plain words.

Belongs here: turning contributions of features into sentences. Not here: computing the contributions (`churn.py`).

Windows of one measure say nearly the same, so contributions are added up by theme first: a reason is the strongest
feature of a theme, and no theme is named twice.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.features import FEATURE_LABELS

REASON_COUNT = 3
"""Reasons given per customer."""

_THEMES = {
    "pause": ("recency", "gaps_over_recency"),
    "rhythm": ("gap",),
    "variety": ("products", "categories", "category", "top_category"),
    "orders": ("orders", "order_days"),
    "spend": ("amount", "quantity", "lines"),
    "offers": ("discount", "coupon", "promoted"),
    "campaigns": ("contacts", "responses"),
    "returns": ("return",),
    "tenure": ("tenure", "signup"),
}
"""Themes by how their features' names start; anything else is a habit."""


def theme(feature: str) -> str:
    """The theme a feature speaks of."""
    return next((name for name, starts in _THEMES.items() if feature.startswith(starts)), "habit")


def reasons(
    inputs: pd.DataFrame, contributions: NDArray[np.float64], typical: Mapping[str, float | None]
) -> list[list[str]]:
    """The strongest reasons of each customer, the one that raises churn most first.

    Args:
        inputs: the features the model read, one row per customer, NaN for null.
        contributions: what each of them adds to the log-odds of churn, same shape.
        typical: median of each feature, quoted for comparison.

    Returns:
        `REASON_COUNT` texts per customer.
    """
    if inputs.empty:
        return []
    themes = [theme(name) for name in inputs.columns]
    names = list(dict.fromkeys(themes))
    member = np.array([[themed == name for name in names] for themed in themes], dtype=float)
    strongest_themes = np.argsort(-(contributions @ member), axis=1, kind="stable")[:, :REASON_COUNT]
    best = {
        number: np.argmax(np.where(member[:, number] > 0, contributions, -np.inf), axis=1)
        for number in range(len(names))
    }
    rows = inputs.to_dict("records")
    columns = list(inputs.columns)
    return [
        [sentence(columns[best[number][row]], values, typical) for number in strongest_themes[row]]
        for row, values in enumerate(rows)
    ]


def sentence(feature: str, values: Mapping[str, float], typical: Mapping[str, float | None]) -> str:
    """One feature of one customer in words, such as `Orders in the last 30 days: 1; typical is 4`."""
    if theme(feature) == "pause":
        return _pause(values)
    label = FEATURE_LABELS.get(feature, feature.replace("_", " "))
    text = f"{label[0].upper()}{label[1:]}: {_number(feature, values[feature])}"
    usual = typical.get(feature)
    return text if usual is None else f"{text}; typical is {_number(feature, usual)}"


def _pause(values: Mapping[str, float]) -> str:
    recency = int(values["recency_days"])
    usual = values.get("gap_median")
    last = f"No order for {_days(recency)}" if recency else "Ordered on the day itself"
    if usual is None or np.isnan(usual):
        return f"{last}; only one day with an order so far"
    return f"{last}; the usual gap is {_days(usual)}"


def _days(value: float) -> str:
    return f"{value:g} day" if value == 1 else f"{value:g} days"


def _number(feature: str, value: float) -> str:
    if np.isnan(value):
        return "none"
    if "share" in feature:
        return f"{value:.0%}"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.2f}"
