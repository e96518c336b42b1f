"""Whether this month's model does no worse than the one of the month before.

Belongs here: comparing two trained models on days neither of them learnt from. Not here: choosing among candidates of one
month (`model_choice.py`).
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.classifiers import raw_scores
from crm_assets.mining.model_folds import LEAST_OUTCOMES
from crm_assets.mining.model_metrics import bootstrap_weights, evaluate, interval

ALLOWED = 0.01
"""AUC that may be lost: what is compared of this month had to learn from older days than last month's model did."""

Floats = NDArray[np.float64]


def against_previous(
    previous_id: str,
    previous_estimator: dict[str, Any],
    seen_days: list[str],
    rows: pd.DataFrame,
    inputs: pd.DataFrame,
    chance: Floats,
    seed: int,
) -> dict[str, Any] | None:
    """AUC of both models on the held-out days that are newer than what the previous one had seen.

    Args:
        previous_id: names the previous model.
        previous_estimator: what it learnt, as `classifiers` gives it.
        seen_days: days it learnt from.
        rows: as_of, customer_id and churned (0 or 1) of the held-out rows.
        inputs: features of the same rows, as the previous model reads them.
        chance: what this month's champion said of them without having learnt from them.
        seed: of the bootstrap.

    Returns:
        Figures for the card; `holds` unless this month's model is worse by more than `ALLOWED` beyond chance. None where
        no held-out day is new to the previous model, or too few rows of either outcome are.
    """
    days = pd.to_datetime(rows["as_of"]).dt.strftime("%Y-%m-%d")
    # A day between two that were seen is not new: most of its labels were learnt from with theirs.
    unseen = (days > max(seen_days, default="")).to_numpy()
    outcome = rows["churned"].to_numpy(dtype=float)[unseen]
    if min(outcome.sum(), len(outcome) - outcome.sum()) < LEAST_OUTCOMES:
        return None
    weights = bootstrap_weights(len(outcome), rows["customer_id"][unseen].to_list(), seed=seed)
    scores = {"this": chance[unseen], "previous": raw_scores(previous_estimator, inputs[unseen])}
    aucs = {name: float(evaluate(outcome, score, only="auc")["auc"][0]) for name, score in scores.items()}
    drawn = {name: evaluate(outcome, score, weights, only="auc")["auc"] for name, score in scores.items()}
    low, high = interval(drawn["this"] - drawn["previous"])
    return {
        "previous": previous_id,
        "days": sorted(set(days[unseen])),
        "auc": aucs["this"],
        "auc of previous": aucs["previous"],
        "low": low,
        "high": high,
        "holds": bool(high >= -ALLOWED),
    }
