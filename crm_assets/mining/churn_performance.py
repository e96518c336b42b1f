"""How published churn scores turned out, once their horizon has passed.

Belongs here: comparing scores with what happened, beside a simple rule; what customers did. Not here: what became of
contracts (`subscriptions.py`), the figures themselves (`model_metrics.py`), or choosing a model (`churn_training.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_assets.contracts.churn import CHURN_PERFORMANCE
from crm_assets.mining.as_of_days import alike_neighbours
from crm_assets.mining.churn import churn_labels
from crm_assets.mining.churn_terms import ChurnTerms
from crm_assets.mining.model_metrics import figures
from crm_assets.mining.persons import ALONE, Persons

RANKING_METRICS = ("auc", "pr_auc", "lift_at_10")
"""The figures that a rule has; days are no probability."""

NEWEST_DAYS = 31
"""Newest days that are each judged; of earlier months it is the last day with scores."""


@dataclass(frozen=True)
class Judged:
    """Scores that are judged, and the rule they are held against.

    Attributes:
        scores: Their name as a candidate.
        rule: The rule's.
        column: The days that the rule ranks by.
        sign: 1 where many days speak for leaving, -1 where few do.
    """

    scores: str
    rule: str
    column: str
    sign: int


CUSTOMERS = Judged("churn_scores", "recency", "recency_days", 1)
CONTRACTS = Judged("subscription_churn_scores", "tenure", "tenure_days", -1)


def judged_days(horizons: Mapping[date, int], until: date) -> list[date]:
    """The days whose scores are judged, so that one more day of scores makes judging them take no longer.

    Args:
        horizons: Length of the label in days, by the day of the scores.
        until: Last day seen; days whose horizon ends later are left out.

    Returns:
        In order: the newest `NEWEST_DAYS`, and the last one of each month before.
    """
    ended = sorted(day for day, length in horizons.items() if day + timedelta(days=length) <= until)
    last_of_month = {(day.year, day.month): day for day in ended}
    return sorted({*last_of_month.values(), *ended[-NEWEST_DAYS:]})


def realised_outcomes(
    scores: ir.Table,
    customer_days: ir.Table,
    as_of: date,
    terms: Mapping[date, ChurnTerms],
    persons: Persons = ALONE,
) -> pd.DataFrame:
    """Published scores with what their customers did.

    Args:
        scores: Rows of the mart `churn_scores`; of customers without any, nothing is looked at.
        customer_days: As `mining.customer_days.customer_days` gives it.
        as_of: Last day seen; scores whose horizon ends later are left out.
        terms: What counted as churn, by the day of the scores; scores of other days are left out.
        persons: Who records stand for; the scores of a day are of the persons of that day.

    Returns:
        as_of, customer_id, churn_probability, recency_days, churned; by as_of and customer_id.
    """
    ended = {day: of_day for day, of_day in terms.items() if day + timedelta(days=of_day.horizon_days) <= as_of}
    if not ended:
        return pd.DataFrame(columns=["as_of", "customer_id", "churn_probability", "recency_days", "churned"])
    seen = customer_days.filter(customer_days.day <= as_of)
    scores = scores.filter(scores.as_of.isin(list(ended)))
    parts = []
    for of_days, days in alike_neighbours(ended):
        for group, rows in persons.customer_days_of(seen, days):
            parts.append(_outcomes(scores.filter(scores.as_of.isin(group)), rows, group, of_days))
    return pd.concat(parts, ignore_index=True)


def _outcomes(scores: ir.Table, customer_days: ir.Table, days: list[date], terms: ChurnTerms) -> pd.DataFrame:
    customer_days = customer_days.semi_join(scores, "customer_id")
    labels = churn_labels(customer_days, days, terms.horizon_days, terms.active_days)
    key = ["as_of", "customer_id"]
    labelled = scores.select(*key, "churn_probability").join(labels, key).select(*key, "churn_probability", "churned")
    orders = customer_days.filter(customer_days.orders > 0).select("customer_id", "day")
    joined = labelled.join(orders, "customer_id")
    past = joined.filter(joined.day <= joined.as_of)
    last = past.group_by(*key, "churn_probability", "churned").agg(last=past.day.max())
    rows = last.mutate(recency_days=last.as_of.delta(last["last"], unit="day")).drop("last")
    return rows.order_by(key).to_pandas()


def churn_performance(outcomes: pd.DataFrame, seed: int, judged: Judged = CUSTOMERS) -> pd.DataFrame:
    """Figures of the published scores and of the rule for each day.

    Args:
        outcomes: As `realised_outcomes` gives them, or `subscriptions.contract_outcomes`.
        seed: Of the bootstrap, which draws customers with all their contracts.
        judged: What is judged.

    Returns:
        Rows of `contracts.churn.CHURN_PERFORMANCE`; days on which all or none churned have no figures.
    """
    rows = []
    for as_of, day in outcomes.groupby("as_of"):
        churned = day["churned"].to_numpy(dtype=float)
        if not 0 < churned.sum() < len(churned):
            continue
        # The rule's score is scaled into 0 to 1 so that the same figures can be taken; ranks stay.
        share = day[judged.column].to_numpy(dtype=float) / (day[judged.column].max() + 1)
        by_rule = share if judged.sign > 0 else 1 - share
        candidates = {judged.scores: day["churn_probability"].to_numpy(dtype=float), judged.rule: by_rule}
        groups = None if day["customer_id"].is_unique else day["customer_id"].to_list()
        for candidate, probability in candidates.items():
            for metric, figure in figures(churned, probability, groups, seed=seed).items():
                if candidate == judged.rule and metric not in RANKING_METRICS:
                    continue
                rows.append(
                    {
                        "as_of": as_of,
                        "candidate": candidate,
                        "metric": metric,
                        "value": figure.value,
                        "low": figure.low,
                        "high": figure.high,
                        "customers": len(churned),
                        "churned": int(churned.sum()),
                    }
                )
    return pd.DataFrame(rows, columns=list(CHURN_PERFORMANCE.by_name))


@dataclass(frozen=True)
class Curves:
    """What is drawn of realised scores, all days together.

    Attributes:
        calibration: predicted, observed, customers: mean probability and share churned in each tenth of the scores.
        roc: false_positive_rate, true_positive_rate, candidate.
        gain: share_taken, share_found, candidate.
    """

    calibration: pd.DataFrame
    roc: pd.DataFrame
    gain: pd.DataFrame


def curves(outcomes: pd.DataFrame, judged: Judged = CUSTOMERS) -> Curves:
    """The curves of realised scores beside the rule.

    Args:
        outcomes: As for `churn_performance`, with both outcomes.
        judged: What is judged.
    """
    probability = outcomes["churn_probability"].astype("float64")
    churned = outcomes["churned"].astype("float64")
    tenth = pd.qcut(probability.rank(method="first"), 10, labels=False)
    calibration = pd.DataFrame({"predicted": probability, "observed": churned}).groupby(tenth).mean()
    calibration["customers"] = churned.groupby(tenth).size()
    roc, gain = [], []
    by_rule = judged.sign * outcomes[judged.column].astype("float64")
    for candidate, score in ((judged.scores, probability), (judged.rule, by_rule)):
        found = churned.to_numpy()[np.argsort(-score.to_numpy(), kind="stable")]
        true, false = found.cumsum() / found.sum(), (1 - found).cumsum() / (1 - found).sum()
        taken = np.arange(1, len(found) + 1) / len(found)
        roc.append(_curve(candidate, false_positive_rate=false, true_positive_rate=true))
        gain.append(_curve(candidate, share_taken=taken, share_found=true))
    return Curves(calibration.reset_index(drop=True), pd.concat(roc), pd.concat(gain))


def _curve(candidate: str, **points: np.ndarray) -> pd.DataFrame:
    from_zero = {name: np.concatenate([[0.0], values]) for name, values in points.items()}
    return pd.DataFrame(from_zero).assign(candidate=candidate)
