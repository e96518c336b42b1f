"""Which group of features a score owes its height to.

Belongs here: putting features back to typical values, for any model. Not here: the words (`churn_reasons.py`).

A score falls by how much when all features of a theme are put back to the typical customer's? Windows of one measure move
together, so they are put back together: each alone would leave the others saying the same (Breiman, Random Forests, 2001,
and Fisher, Rudin and Dominici, 2019, for groups of correlated features).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def themes_of(columns: Sequence[str], theme: Callable[[str], str]) -> list[str]:
    """Themes of some columns, each once, in the order of their first column."""
    return list(dict.fromkeys(theme(name) for name in columns))


def lowered_by_theme(
    score: Callable[[pd.DataFrame], Floats],
    raw: Floats,
    inputs: pd.DataFrame,
    typical: Mapping[str, float | None],
    theme: Callable[[str], str],
) -> Floats:
    """How far the score of each row falls when the features of each theme are put back to the typical row's.

    Args:
        score: Raw scores of rows.
        raw: Those of `inputs`.
        inputs: What the model read, one row per customer.
        typical: Median of each column; null where there is none.
        theme: The theme of a column.

    Returns:
        Shape (rows, themes), in the order of `themes_of`; below zero where the theme lowers the score.
    """
    names = themes_of(list(map(str, inputs.columns)), theme)
    result = np.zeros((len(inputs), len(names)))
    for number, name in enumerate(names):
        columns = [column for column in map(str, inputs.columns) if theme(column) == name]
        result[:, number] = np.subtract(raw, score(put_back(inputs, typical, columns)))
    return result


def put_back(inputs: pd.DataFrame, typical: Mapping[str, float | None], columns: Sequence[str]) -> pd.DataFrame:
    """The rows with the typical values in some columns."""
    usual = {name: np.nan if (value := typical.get(name)) is None else value for name in columns}
    return inputs.assign(**usual)
