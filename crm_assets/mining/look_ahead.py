"""Features that need data from after the day they are of.

Belongs here: tables cut off at a day, and features beside what they are by tables so cut. Not here: features that alone
tell the outcome (`leaks.py`), what is done about either (`churn_training.py`, `subscription_churn.py`).

A model may only learn from what could have been known on the day. Whether a feature keeps to that shows when it is made
once more with nothing from after the day (Kaufman, Rosset and Perlich, Leakage in Data Mining, 2012).
"""

from collections.abc import Collection, Sequence
from datetime import date

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_assets.contracts.layers import DAY, EXPORT_DATE, VALID_FROM

SAMPLE = 200
"""Customers or contracts that are looked at, which finds a feature that looks ahead for one in sixty 95 times in 100."""

_DATES_OF_ROWS = (DAY.name, VALID_FROM.name, EXPORT_DATE.name)
_EQUAL = 1e-9


def known_by(table: ir.Table, as_of: date) -> ir.Table:
    """A table with nothing from after a day.

    Args:
        table: Events with their day, versions with the first day they are valid, or rows with the date of their export.
        as_of: The day, the last one that is left.

    Returns:
        The rows of this day and before; any other date in them that lies after it, such as that of a response, is null.
    """
    types = table.schema()
    dates = [name for name in types if types[name].is_date() or types[name].is_timestamp()]
    kept = table.filter([table[name].cast("date") <= as_of for name in dates if name in _DATES_OF_ROWS])
    later = {
        name: (kept[name].cast("date") <= as_of).ifelse(kept[name], ibis.null(types[name]))
        for name in dates
        if name not in _DATES_OF_ROWS
    }
    return kept.mutate(**later) if later else kept


def looking_ahead(
    trained: pd.DataFrame, known: pd.DataFrame, key: Sequence[str], features: Collection[str]
) -> dict[str, float]:
    """Features whose values are not those that the data up to the day gives.

    Args:
        trained: What a model learns from.
        known: The same of the tables cut off at the day; rows it lacks were not known then and are not compared.
        key: The columns that name a row.
        features: Columns to compare; numbers count as equal up to rounding.

    Returns:
        By feature, the share of the rows that both have in which it differs, most first; empty where all are honest.
    """
    both = known[[*key, *features]].merge(trained[[*key, *features]], on=list(key), suffixes=("", "_trained"))
    shares = {name: _differing(both[name], both[f"{name}_trained"]) for name in features} if len(both) else {}
    return {name: share for name, share in sorted(shares.items(), key=lambda item: (-item[1], item[0])) if share}


def look_ahead_message(found: dict[str, float], as_of: date) -> str:
    """What is wrong and what to do, in one line."""
    named = ", ".join(f"{name} ({share:.1%} of rows)" for name, share in found.items())
    return (
        f"stopped: {named} of {as_of} needs data from after that day, so it will be another one on the day it is used; "
        "compute it from what was known by the day, or leave it out"
    )


def _differing(known: pd.Series, trained: pd.Series) -> float:
    missing = known.isna().to_numpy() & trained.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(known) and pd.api.types.is_numeric_dtype(trained):
        first, second = (column.to_numpy(dtype=np.float64, na_value=np.nan) for column in (known, trained))
        alike = np.isclose(first, second, rtol=_EQUAL, atol=_EQUAL)
    else:
        alike = (known == trained).fillna(False).to_numpy(dtype=bool)
    return float(1 - (alike | missing).mean())
