"""Decision trees that divide customers by what became of them, for rules people can read.

Belongs here: the labels of responses, the days that are learnt from and held out, fitting a tree and its figures. Not here:
what a rule is (`segment_rules.py`), labels of churn (`churn.py`) and of spend (`value_measures.py`).

Sources: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984); Wilson, Probable inference, the
law of succession, and statistical inference (1927), for the interval of a share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pandas as pd

from crm_assets.contracts.segments import CHURN, RESPONSE, VALUE
from crm_assets.mining.as_of_days import days_table
from crm_assets.mining.churn import training_days
from crm_assets.mining.segment_rules import Condition, Rule

NUMBERS = (
    "recency_days",
    "gap_median",
    "order_days_90d",
    "amount_90d",
    "categories_90d",
    "discount_share_90d",
    "coupon_share_90d",
    "promoted_share_90d",
    "return_share_90d",
    "contacts_180d",
    "responses_180d",
    "amount_change",
    "category_concentration",
    "weekend_share",
)
"""Features that rules may be about: those that people understand, over windows that a young history fills."""

WORDS = ("age_band", "income_band", "household_size", "marital_status", "region", "country", "top_category_1")
"""Features with words for values."""

HOLDOUT_DAYS = 2
"""As_of days, the newest with labels, on which rules are measured and not learnt."""

TRAINING_DAYS = 6
"""As_of days, at most, that rules are learnt from."""

CONTACT_DAYS = 30
"""A response is of a contact within so many days, answered within as many of it."""

MOST_RULES = 8
"""Rules of a target: more are not read."""

MOST_CONDITIONS = 4
"""Depth of a tree."""

LEAST_ROWS = 200
"""Rows a tree needs to learn from."""

LEAST_SHARE, LEAST_LEAF = 0.02, 25
"""Share and number of training rows that a rule covers at least."""

LEAST_LEVEL_SHARE, MOST_LEVELS = 0.02, 8
"""Values of words that a rule may ask for: those of so many rows, and no more of a feature."""

HIGHEST_SPEND = 0.99
"""Quantile at which spend is cut off for learning, so that no rule is about one customer."""

_Z = 1.959964


def rule_days(month: date, first_day: date, horizon_days: int) -> tuple[list[date], list[date]]:
    """As_of days that rules of a month are learnt from, and later ones they are measured on.

    Args:
        month: first day the rules may hold; all labels end before it.
        first_day: first day with an order.
        horizon_days: length of a label; those learnt from have ended by the first day held out.
    """
    days = training_days(month, first_day, horizon_days)
    held_out = days[-HOLDOUT_DAYS:]
    learnt = [day for day in days if held_out and day + timedelta(days=horizon_days) <= held_out[0]]
    return learnt[-TRAINING_DAYS:], held_out


def response_labels(contacts: ir.Table, as_of_days: Sequence[date], days: int = CONTACT_DAYS) -> ir.Table:
    """Whether each customer contacted soon after each as_of day answered.

    Args:
        contacts: campaign contacts: customer_id, day, is_control, responded_at.
        as_of_days: days to label; twice `days` after each must lie in the data.
        days: days after the as_of day in which a contact counts, and after the contact in which an answer does.

    Returns:
        as_of, customer_id, responded (boolean), by as_of and customer_id.

    Raises:
        ValueError: without any as_of day.
    """
    if not as_of_days:
        raise ValueError("response_labels needs at least one as_of day")
    grid = days_table(as_of_days)
    asked = contacts.filter(~contacts.is_control.fill_null(False), contacts.customer_id.notnull())
    answer = asked.responded_at.date().delta(asked.day, unit="day")
    asked = asked.select("customer_id", "day", answered=((answer >= 0) & (answer <= days)).fill_null(False))
    near = asked.cross_join(grid)
    ahead = near.day.delta(near.as_of, unit="day")
    near = near.filter(ahead > 0, ahead <= days)
    return near.group_by(["as_of", "customer_id"]).agg(responded=near.answered.any()).order_by(["as_of", "customer_id"])


def learn_rules(
    target: str, learnt: pd.DataFrame, held_out: pd.DataFrame, seed: int
) -> tuple[tuple[Rule, ...], str | None]:
    """Rules of a target, or what it needs.

    Args:
        target: one of `contracts.segments.RULE_TARGETS`.
        learnt: one row per customer and day: customer_id, as_of, `NUMBERS`, `WORDS` and `label` (a number).
        held_out: the same, of later days.
        seed: of ties between equally good splits.

    Returns:
        Rules of which each customer meets one, by rate, and None; or no rules and what is missing.
    """
    if len(learnt) < LEAST_ROWS:
        return (), f"needs {LEAST_ROWS} customers and days with a known outcome: {len(learnt)}"
    labels = learnt["label"].to_numpy(dtype="float64")
    if labels.min() == labels.max():
        return (), f"needs customers who differ in {target}: all {len(learnt)} are alike"
    learnt = learnt.sort_values(["as_of", "customer_id"], ignore_index=True)
    found = [Rule(0, conditions, {}) for conditions in _leaves(target, learnt, seed)]
    means = _Outcome(learnt), _Outcome(held_out)
    rules = [replace(rule, figures=_figures(rule, target, *means)) for rule in found]
    rules = sorted((rule for rule in rules if rule.figures["train_rows"]), key=lambda rule: (-_rate(rule), rule.text()))
    return tuple(replace(rule, rule_id=number) for number, rule in enumerate(rules, start=1)), None


class _Outcome:
    """What became of the customers of some days."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows
        self.labels = rows["label"].to_numpy(dtype="float64")
        self.mean = float(self.labels.mean()) if len(rows) else None


def _figures(rule: Rule, target: str, learnt: _Outcome, held_out: _Outcome) -> dict[str, Any]:
    inside, later = learnt.labels[rule.holds(learnt.rows)], held_out.labels[rule.holds(held_out.rows)]
    rate, later_rate = (round(float(part.mean()), 6) if len(part) else None for part in (inside, later))
    low, high = _interval(later, target != VALUE)
    return {
        "train_rows": len(inside),
        "train_rate": rate,
        "train_lift": _lift(rate, learnt.mean),
        "holdout_rows": len(later),
        "holdout_rate": later_rate,
        "holdout_low": low,
        "holdout_high": high,
        "holdout_lift": _lift(later_rate, held_out.mean),
    }


def _rate(rule: Rule) -> float:
    return float(rule.figures["train_rate"] or 0)


def _lift(rate: float | None, mean: float | None) -> float | None:
    return round(rate / mean, 6) if rate is not None and mean else None


def _interval(labels: npt.NDArray[np.float64], is_share: bool) -> tuple[float | None, float | None]:
    """A 95% interval of the mean: Wilson's of a share, the normal one of an amount."""
    from scipy.stats import binomtest

    count = len(labels)
    if not count or (count < 2 and not is_share):
        return None, None
    mean = float(labels.mean())
    if not is_share:
        half = _Z * float(labels.std(ddof=1)) / math.sqrt(count)
        return round(mean - half, 6), round(mean + half, 6)
    share = binomtest(int(labels.sum()), count).proportion_ci(method="wilson")
    return round(float(share.low), 6), round(float(share.high), 6)


def _leaves(target: str, rows: pd.DataFrame, seed: int) -> list[tuple[Condition, ...]]:
    """The conditions of each leaf of a tree fitted to the rows."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    columns = _columns(rows)
    matrix = np.column_stack([values for _, _, values in columns]) if columns else np.zeros((len(rows), 1))
    labels = rows["label"].to_numpy(dtype="float64")
    terms: dict[str, Any] = {
        "max_depth": MOST_CONDITIONS,
        "max_leaf_nodes": MOST_RULES,
        "min_samples_leaf": max(LEAST_LEAF, math.ceil(LEAST_SHARE * len(rows))),
        "random_state": seed,
    }
    if target == VALUE:
        tree = DecisionTreeRegressor(**terms).fit(matrix, np.minimum(labels, np.quantile(labels, HIGHEST_SPEND))).tree_
    else:
        tree = DecisionTreeClassifier(**terms).fit(matrix, labels > 0).tree_
    found: list[tuple[Condition, ...]] = []
    # Last in, first out, left before right: leaves come in the order of the tree.
    open_nodes: list[tuple[int, dict[str, Condition]]] = [(0, {})]
    while open_nodes:
        node, path = open_nodes.pop()
        if tree.children_left[node] < 0:
            found.append(tuple(path.values()))
            continue
        name, level, values = columns[tree.feature[node]]
        threshold, left = float(tree.threshold[node]), bool(tree.missing_go_to_left[node])
        sides = (
            _word_sides(path.get(name), name, level)
            if level is not None
            else _number_sides(
                path.get(name) or Condition(name, unknown=True, unknown_seen=bool(np.isnan(values).any())),
                _readable(threshold, values),
                left,
            )
        )
        for child, condition in zip((tree.children_right[node], tree.children_left[node]), sides[::-1], strict=True):
            open_nodes.append((int(child), {**path, name: condition}))
    return found


def _columns(rows: pd.DataFrame) -> list[tuple[str, str | None, npt.NDArray[np.float64]]]:
    """What a tree looks at: numbers, and whether a word is a certain one; columns without any difference left out."""
    columns: list[tuple[str, str | None, npt.NDArray[np.float64]]] = []
    for name in NUMBERS:
        values = rows[name].to_numpy(dtype="float64", na_value=np.nan)
        if len(np.unique(values)) > 1:
            columns.append((name, None, values))
    for name in WORDS:
        shares = rows[name].value_counts() / len(rows)
        frequent = sorted(shares.index[shares >= LEAST_LEVEL_SHARE], key=lambda level: (-shares[level], level))
        for level in frequent[:MOST_LEVELS]:
            values = (rows[name] == level).fillna(False).to_numpy(dtype="float64")
            if values.min() < values.max():
                columns.append((name, str(level), values))
    return columns


def _readable(threshold: float, values: npt.NDArray[np.float64]) -> float:
    """A threshold in three digits, or the whole number below it where all values are whole."""
    if not math.isfinite(threshold) or threshold == 0:
        return threshold
    known = values[~np.isnan(values)]
    if (known == np.floor(known)).all():
        return float(math.floor(threshold))
    return round(threshold, 2 - math.floor(math.log10(abs(threshold))))


def _number_sides(given: Condition, threshold: float, unknown_left: bool) -> tuple[Condition, Condition]:
    """What the left and the right side of a split ask of a number, beside what was asked before."""
    if math.isinf(threshold):
        # The split is between known and unknown.
        return replace(given, unknown=False), replace(given, known=False, above=None, at_most=None)
    at_most = threshold if given.at_most is None else min(given.at_most, threshold)
    above = threshold if given.above is None else max(given.above, threshold)
    return (
        replace(given, at_most=at_most, unknown=given.unknown and unknown_left),
        replace(given, above=above, unknown=given.unknown and not unknown_left),
    )


def _word_sides(before: Condition | None, name: str, level: str) -> tuple[Condition, Condition]:
    """What the left side (another word) and the right side (this word) of a split ask."""
    given = before or Condition(name)
    others = given.other_than if given.level is not None else (*given.other_than, level)
    return replace(given, other_than=others), replace(given, level=level, other_than=())


NEEDS: Mapping[str, str] = {
    VALUE: "needs spend whose days have passed before the month",
    CHURN: "needs active customers whose days have passed before the month",
    RESPONSE: "needs campaign contacts whose days have passed before the month",
}
"""What a target needs that has no day to learn from."""
