"""Why a customer is likely to leave or stay, in plain words.

Belongs here: turning contributions of features into sentences. Not here: computing the contributions (`churn.py`).

Windows of one measure say nearly the same, so they are weighed together, as a theme: a theme counts by how far the score
falls when all its features are put back to the typical customer's (`explaining.py`). A reason is the strongest feature of
a theme that raises churn, and no theme is named twice. Models weigh features together, so a feature may raise churn while
its own value looks harmless; it is not quoted then, as its sentence would contradict the score.
"""

from collections.abc import Mapping
from functools import cache

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.features import FEATURE_LABELS
from crm_assets.mining.explaining import themes_of

REASON_COUNT = 3
"""Most reasons given per customer."""

NOTHING = "Nothing stands out; no single sign points to leaving"
"""The only reason of a customer without any."""

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

_HARMLESS_ABOVE = ("orders", "spend")
_HARMLESS_BELOW = ("rhythm", "pause")
_UNQUOTED = ("category_concentration", "gap_deviation")
"""Features whose figure says nothing to most people."""

_PAUSED, _NOT_PAUSED, _FALLING = "No order for", "Ordered on the day itself", "Spend has been falling"
"""How reasons open that do not open with the feature's label."""

FILLING = 1e-6
"""Weight of what raises churn for the model but does not read so, such as an ordinary value of a habit."""

_LABELS = {
    **FEATURE_LABELS,
    "order_days_pace": "days with an order per 30 days so far",
    "order_days_pace_90d": "days with an order per 30 days in the last 90 days",
    "favourite_weekday_share": "share of orders on the favourite weekday",
    "top_category_1_share": "share of spend on the favourite category",
    "gap_longest_recent": "longest of the latest pauses between orders, in days",
    "orders_change": "orders of the last 30 days as a share of the usual in the last 90",
    "amount_change": "spend of the last 30 days as a share of the usual in the last 90",
}


_PAUSE = ("recency_days", "gap_median")


@cache
def label(feature: str) -> str:
    """A feature in plain words."""
    feature = feature.removeprefix("_")
    return _LABELS.get(feature, feature.replace("_", " "))


@cache
def theme(feature: str) -> str:
    """The theme a feature speaks of."""
    feature = feature.removeprefix("_")
    return next((name for name, starts in _THEMES.items() if feature.startswith(starts)), "habit")


def reasons(
    inputs: pd.DataFrame,
    contributions: NDArray[np.float64],
    lowered: NDArray[np.float64],
    typical: Mapping[str, float | None],
) -> list[list[str]]:
    """The reasons of each customer, the one that raises churn most first.

    Args:
        inputs: the features the model read, one row per customer, NaN for null.
        contributions: what each of them adds to the score, same shape; says which feature of a theme is quoted.
        lowered: how far the score falls without each theme, as `explaining.lowered_by_theme` gives it.
        typical: median of each feature, quoted for comparison.

    Returns:
        `REASON_COUNT` texts per customer, fewer where fewer themes raise churn; only `NOTHING` where none does.
    """
    if inputs.empty:
        return []
    columns = list(inputs.columns)
    themes = [theme(name) for name in columns]
    names = themes_of(columns, theme)
    member = np.array([[themed == name for name in names] for themed in themes])
    # What reads as a sign of leaving comes first; what only the model takes for one fills up.
    known = ~np.isnan(inputs.to_numpy()) & ~np.isin(columns, _UNQUOTED)
    raising = np.where(_quotable(inputs, typical), contributions, np.where(known, contributions * FILLING, 0.0))
    best = np.stack([np.where(member[:, number], raising, 0.0).argmax(axis=1) for number in range(len(names))], axis=1)
    named = np.take_along_axis(raising, best, axis=1) > 0
    quoted = np.take_along_axis(_quotable(inputs, typical), best, axis=1)
    weight = np.where(named & (lowered > 0), lowered * np.where(quoted, 1.0, FILLING), 0.0)
    order = np.argsort(-weight, axis=1, kind="stable")[:, :REASON_COUNT]
    features, chosen = np.take_along_axis(best, order, axis=1), np.take_along_axis(weight, order, axis=1) > 0
    told = np.full(features.shape, None, dtype=object)
    for feature in np.unique(features[chosen]):
        here = chosen & (features == feature)
        told[here] = _sentences(columns[feature], inputs.iloc[here.nonzero()[0]], typical)
    return [[text for text in row if text is not None] or [NOTHING] for row in told.tolist()]


def _sentences(feature: str, inputs: pd.DataFrame, typical: Mapping[str, float | None]) -> NDArray[np.object_]:
    """One feature of some customers in words; each sentence is made once."""
    # What it may quote: the feature itself, or the pause and the gap it is told beside.
    quoted = list(_PAUSE) if theme(feature) == "pause" else [feature]
    place, distinct = pd.MultiIndex.from_frame(inputs.reindex(columns=quoted)).factorize()
    texts = [sentence(feature, dict(zip(quoted, values, strict=True)), typical) for values in distinct]
    return np.array(texts, dtype=object)[place]


def _quotable(inputs: pd.DataFrame, typical: Mapping[str, float | None]) -> NDArray[np.bool_]:
    """Where a value differs from the typical one, and not in the direction that looks harmless."""
    usual = np.array([np.nan if (value := typical.get(name)) is None else value for name in inputs.columns])
    values = inputs.to_numpy()
    result = ~np.isnan(values)
    for number, name in enumerate(inputs.columns):
        column = values[:, number]
        if theme(name) == "pause":
            # The sentence is about the pause itself, whichever of its features is the strongest.
            gap = inputs["gap_median"].fillna(-1).to_numpy()
            result[:, number] = inputs["recency_days"].to_numpy() > np.minimum(
                gap, _finite(typical.get("recency_days"))
            )
        elif name in _UNQUOTED:
            result[:, number] = False
        elif name.startswith("amount_slope"):
            result[:, number] &= column < min(0.0, _finite(usual[number]))
        elif not np.isnan(usual[number]):
            result[:, number] &= np.abs(column - usual[number]) >= (0.05 if "share" in name else 0.1)
            if theme(name) in _HARMLESS_ABOVE or name.startswith(("products", "categories")):
                result[:, number] &= column < usual[number]
            elif theme(name) in _HARMLESS_BELOW:
                result[:, number] &= column > usual[number]
    return result


def _finite(value: float | None) -> float:
    return float("inf") if value is None or np.isnan(value) else value


def sentence(feature: str, values: Mapping[str, float], typical: Mapping[str, float | None]) -> str:
    """One feature of one customer in words, such as `Orders in the last 30 days: 1; typical is 4`."""
    if theme(feature) == "pause":
        return _pause(values, typical.get("recency_days"))
    words = label(feature)
    if feature.startswith("amount_slope"):
        return f"{_FALLING} {words.removeprefix('trend of daily spend ')}"
    text = f"{words[0].upper()}{words[1:]}: {_number(feature, values[feature])}"
    usual = typical.get(feature)
    return text if usual is None else f"{text}; typical is {_number(feature, usual)}"


def by_theme(reason: ir.StringValue, values: Mapping[str, str], otherwise: str) -> ir.StringValue:
    """The value that stands for the theme of a reason, which is found from its text.

    Args:
        reason: a text that `reasons` gave.
        values: by theme.
        otherwise: value of themes without one, and where nothing stands out.
    """
    opening = reason.split(": ")[0].lower()
    labels: dict[str, list[str]] = {}
    for feature, words in _LABELS.items():
        labels.setdefault(values.get(theme(feature), otherwise), []).append(words.lower())
    paused = reason.startswith(_PAUSED) | reason.startswith(_NOT_PAUSED)
    return ibis.cases(
        (paused, values.get("pause", otherwise)),
        (reason.startswith(_FALLING), values.get("spend", otherwise)),
        *[(opening.isin(words), value) for value, words in labels.items()],
        else_=otherwise,
    )


def _pause(values: Mapping[str, float], typical: float | None) -> str:
    recency = int(values["recency_days"])
    gap = values.get("gap_median")
    last = f"{_PAUSED} {_days(recency)}" if recency else _NOT_PAUSED
    if gap is None or np.isnan(gap):
        return f"{last}; only one day with an order so far"
    if recency > gap or typical is None:
        return f"{last}; this customer's usual gap is {_days(gap)}"
    return f"{last}; typical is {_days(typical)}"


def _days(value: float) -> str:
    return f"{value:g} day" if value == 1 else f"{value:g} days"


def _number(feature: str, value: float) -> str:
    if np.isnan(value):
        return "none"
    if "share" in feature or feature.endswith("_change"):
        return f"{value:.0%}"
    if feature.startswith("amount"):
        return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.2f}"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.1f}"
