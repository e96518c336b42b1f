"""A grade that people know: A, B or C, by the rule of Dynamics 365 Customer Insights.

Belongs here: the grade. Not here: the figures a champion is chosen by (`model_metrics.py`).

The rule, from Microsoft's page Predict transaction churn
(https://learn.microsoft.com/en-us/dynamics365/customer-insights/predict-transactional-churn): A where at least 50% of all
predictions are right and those on customers who churned are better than the baseline by at least 10%; B where they are
better by less; C where fewer than 50% are right or those on churned customers are worse than the baseline. The baseline
halves the time window until it is one month or less, takes whoever did not purchase within each of these fractions for
churned, and uses the fraction that predicts best.

The page leaves two things open. Best is taken as the greatest sum of the shares of churned and of staying customers
predicted right (Youden, 1950). The model calls as many customers churned as the baseline does, so that neither gains by
calling more; without a baseline of purchases, as for contracts, as many as it expects to churn, and it is held against
the share who churn, as the page does for subscriptions.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SOURCE = "https://learn.microsoft.com/en-us/dynamics365/customer-insights/predict-transactional-churn"
_MONTH_DAYS = 30
_BETTER = 1.1


@dataclass(frozen=True)
class Grade:
    """A grade and what it rests on.

    Attributes:
        grade: A, B or C.
        right: Share of all predictions that are right.
        right_on_churned: Share of churned customers whom the model calls churned.
        baseline: The same of the baseline.
        baseline_days: Days without a purchase that the baseline calls churned; None for contracts.
        called: How many customers are called churned.
    """

    grade: str
    right: float
    right_on_churned: float
    baseline: float
    baseline_days: int | None
    called: int

    def card(self) -> dict[str, Any]:
        """What the card shows, with the source of the rule."""
        return {**asdict(self), "rule": SOURCE}


def grade(churned: Floats, probability: Floats, recency_days: Floats | None, horizon_days: int) -> Grade:
    """Grade probabilities of held-out customers.

    Args:
        churned: 0 or 1 of each; both occur.
        probability: of churn.
        recency_days: days since the last purchase of each; None for contracts.
        horizon_days: the time window.
    """
    limit, baseline = None, float(churned.mean())
    called = round(float(probability.sum()))
    if recency_days is not None:
        limit = max(_fractions(horizon_days), key=lambda days: _youden(churned, recency_days >= days))
        called = int((recency_days >= limit).sum())
        baseline = _share(churned, recency_days >= limit)
    taken = np.zeros(len(churned), dtype=bool)
    taken[np.argsort(-probability, kind="stable")[:called]] = True
    right = float((taken == (churned > 0)).mean())
    found = _share(churned, taken)
    letter = "C" if right < 0.5 or found < baseline else "A" if found >= _BETTER * baseline else "B"
    return Grade(letter, right, found, baseline, limit, called)


def _fractions(horizon_days: int) -> list[int]:
    days = [horizon_days / 2]
    while days[-1] > _MONTH_DAYS:
        days.append(days[-1] / 2)
    return [max(1, round(value)) for value in days]


def _share(churned: Floats, called: NDArray[np.bool_]) -> float:
    return float(called[churned > 0].mean())


def _youden(churned: Floats, called: NDArray[np.bool_]) -> float:
    return _share(churned, called) - float(called[churned == 0].mean())
