"""Which candidate is champion, and the rows of a leaderboard, by figures of one test and of its resamples.

Belongs here: the rule of promotion. Not here: figures (`model_metrics.py`, `value_metrics.py`), folds that roll back in
time (`model_choice.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crm_assets.mining import model_metrics, value_metrics

RANKING = frozenset({"auc", *value_metrics.RANKING_METRICS})
"""Figures of the order in which customers are put."""

Figures = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""By candidate and metric."""


def champion(
    names: Sequence[str],
    values: Figures,
    drawn: Figures,
    metrics: Sequence[str],
    lower_is_better: frozenset[str],
) -> tuple[str, str]:
    """The first candidate, unless another ranks better beyond chance and is worse in nothing.

    Where nothing is ranked, erring by less is enough.

    Args:
        names: candidates, the baseline first.
        values: figures of the test.
        drawn: figures of its resamples, the same ones for every candidate.
        metrics: those that decide.
        lower_is_better: those of them that are errors.

    Returns:
        The champion, and why.
    """
    best, reasons = names[0], []
    decisive = [metric in RANKING or len(metrics) == 1 for metric in metrics]
    for name in names[1:]:
        verdicts, words = [], []
        for metric in metrics:
            sign = -1 if metric in lower_is_better else 1
            low, high = model_metrics.interval(sign * (drawn[name][metric] - drawn[best][metric]))
            verdicts.append("better" if low > 0 else "worse" if high < 0 else "alike")
            words.append(f"{metric} {values[name][metric][0]:.3f} to {values[best][metric][0]:.3f} ({verdicts[-1]})")
        reasons.append(f"{name} against {best}: {', '.join(words)}")
        is_better = any(word == "better" for word, counts in zip(verdicts, decisive, strict=True) if counts)
        if is_better and "worse" not in verdicts:
            best = name
    return best, f"{best} is champion, {', '.join(reasons)}"


def board_rows(
    model: str, month: date, values: Figures, drawn: Figures, metrics: Sequence[str], best: str
) -> list[tuple[Any, ...]]:
    """Rows of `contracts.churn.MODEL_LEADERBOARD` of all candidates."""
    return [
        (
            model,
            month,
            name,
            metric,
            float(figures[metric][0]),
            *model_metrics.interval(drawn[name][metric]),
            name == best,
        )
        for name, figures in values.items()
        for metric in metrics
    ]
