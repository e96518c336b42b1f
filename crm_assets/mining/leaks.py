"""Features that know the outcome.

Belongs here: finding them before a model learns from them. Not here: what is done about it (`churn_training.py`,
`checks/cards.py`).

Nothing known of customers in advance tells who leaves nearly without error. A feature that does was written after the
fact, such as a status that is set when somebody leaves, and a model that reads it is worthless on the day it is used
(Kaufman, Rosset and Perlich, Leakage in Data Mining, 2012).
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

LEAK_AUC = 0.98
"""A feature that alone ranks outcomes so well, in either direction, stops the model."""

_MOST_ROWS = 20_000
_LEAST = 10


def leaking_features(inputs: pd.DataFrame, outcome: ArrayLike) -> dict[str, float]:
    """Features that alone reach `LEAK_AUC`, with the AUC of each.

    Args:
        inputs: one row per observation, float64 columns. Being null may leak too, so nulls are tried as the smallest
            value and as the largest one.
        outcome: 0 or 1 of each row.

    Returns:
        AUC by feature, turned so that it is above a half; empty where nothing leaks or an outcome has fewer than 10 rows.
    """
    truth = np.asarray(outcome, dtype=np.float64)
    if len(truth) > _MOST_ROWS:
        rows = np.linspace(0, len(truth) - 1, _MOST_ROWS).astype(int)
        inputs, truth = inputs.iloc[rows], truth[rows]
    positives = truth.sum()
    pairs = positives * (len(truth) - positives)
    if min(positives, len(truth) - positives) < _LEAST:
        return {}
    best = np.zeros(inputs.shape[1])
    values = inputs.to_numpy(dtype=np.float64)
    for filler in (-np.inf, np.inf) if np.isnan(values).any() else (0.0,):
        ranks = pd.DataFrame(np.where(np.isnan(values), filler, values)).rank().to_numpy()
        auc = (truth @ ranks - positives * (positives + 1) / 2) / pairs
        best = np.maximum(best, np.maximum(auc, 1 - auc))
    return {name: float(auc) for name, auc in zip(inputs.columns, best, strict=True) if auc >= LEAK_AUC}


def leak_message(leaks: dict[str, float], what: str = "who leaves") -> str:
    """What is wrong and what to do, in one line; `what` is what a feature tells."""
    named = ", ".join(f"{name} (AUC {auc:.3f})" for name, auc in sorted(leaks.items(), key=lambda item: -item[1]))
    return (
        f"stopped: {named} alone tells {what}, so it was written after the fact; "
        "leave it out of the mapping or take its value as of the day"
    )
