"""How far the customers, or contracts, of a day are from those a model was trained on.

Belongs here: the population stability index of features and scores. Not here: how scores turned out
(`churn_performance.py`).

The index sums, over the tenths of the training rows and the nulls, the difference of shares times the logarithm of their
ratio. Below 0.1 nothing to see, above 0.25 the population is another one (Siddiqi, Credit Risk Scorecards, 2006). It grows
by chance where rows are few, so a day counts as shifted only if the index is also above what two samples of the same
population reach once in a hundred (Yurdakul, Statistical Properties of Population Stability Index, 2018).
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.drift import DRIFT, VERDICTS

SHIFT, ANOTHER = 0.1, 0.25
SHIFTED_NUMBER, ANOTHER_NUMBER = 1.25, 2.0
"""How many times as many customers as were trained on, or as few."""

_TENTHS = np.linspace(0.1, 0.9, 9)
_SURE = 0.99

Floats = NDArray[np.float64]
Counts = dict[str, NDArray[np.int64]]


def reference_of(inputs: pd.DataFrame, scores: Floats) -> dict[str, Any]:
    """What features and scores look like now, for later days to be held against.

    Args:
        inputs: Rows of the newest training day.
        scores: Probabilities of rows the model had not learnt from.

    Returns:
        features and score: the inner ends of the tenths and how many rows lie in each, nulls last. Plain values.
    """
    features = {str(name): _binned(column.to_numpy(dtype=np.float64)) for name, column in inputs.items()}
    return {"features": features, "score": _binned(np.asarray(scores))}


def count_rows(reference: Mapping[str, Any], inputs: pd.DataFrame, scores: Floats) -> dict[str, Counts]:
    """How many rows of a batch lie in each bin of the reference, by kind and name; batches add up by `added`."""
    features = {name: _counted(inputs[name].to_numpy(), bins["ends"]) for name, bins in reference["features"].items()}
    return {"feature": features, "score": {"score": _counted(np.asarray(scores), reference["score"]["ends"])}}


def added(batches: Iterable[dict[str, Counts]]) -> dict[str, Counts]:
    """The counts of all batches together; empty without any."""
    total: dict[str, Counts] = {}
    for batch in batches:
        for kind, counts in batch.items():
            known = total.setdefault(kind, {})
            for name, count in counts.items():
                known[name] = known[name] + count if name in known else count
    return total


def drift(
    model: str,
    model_id: str,
    reference: Mapping[str, Any],
    counts: Mapping[str, Counts],
    as_of: date,
    *,
    scored: str = "customers",
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The index of each feature and of the score on a day, and how many were scored.

    Args:
        model: What is modelled.
        model_id: The model that scored.
        reference: What `reference_of` gave when it was trained.
        counts: Rows of the day in each bin.
        as_of: The day.
        scored: What is scored, in the plural.
        names: What features are called; those it lacks keep their names.

    Returns:
        Rows of `contracts.drift.DRIFT`.
    """
    expected = {"feature": reference["features"], "score": {"score": reference["score"]}}
    rows: list[tuple[str, str, float | None, str, int, int]] = []
    called = names or {}
    for kind, found in counts.items():
        for name, actual in found.items():
            known = np.asarray(expected[kind][name]["rows"])
            index = population_stability(known, actual)
            said = verdict(index, known, actual)
            rows.append((kind, called.get(name, name), index, said, int(actual.sum()), int(known.sum())))
    number = int(counts["score"]["score"].sum()) if counts else 0
    newest = next(iter(reference["features"].values()))
    trained_on = int(np.sum(newest["rows"]))
    rows.append(("population", scored, None, _in_number(number, trained_on), number, trained_on))
    frame = pd.DataFrame(rows, columns=["kind", "name", "psi", "verdict", "customers", "reference_customers"])
    frame = frame.assign(as_of=as_of, model=model, model_id=model_id).sort_values(["kind", "name"])
    frame["psi"] = frame["psi"].astype("float64")
    return frame[list(DRIFT.by_name)].reset_index(drop=True)


def population_stability(expected: NDArray[np.int64], actual: NDArray[np.int64]) -> float:
    """The index of two counts over the same bins; half a row is added to each bin, so that none is empty."""
    first, second = (np.asarray(counts, dtype=np.float64) + 0.5 for counts in (expected, actual))
    first, second = first / first.sum(), second / second.sum()
    return float(((second - first) * np.log(second / first)).sum())


def verdict(index: float, expected: NDArray[np.int64], actual: NDArray[np.int64]) -> str:
    """`stable`, `shifted` or `another population`."""
    from scipy.stats import chi2

    rows = [max(float(np.sum(counts)), 1.0) for counts in (expected, actual)]
    by_chance = chi2.ppf(_SURE, max(1, np.count_nonzero(expected) - 1)) * (1 / rows[0] + 1 / rows[1])
    if index < max(SHIFT, by_chance):
        return "stable"
    return "shifted" if index < ANOTHER else "another population"


def _in_number(scored: int, trained_on: int) -> str:
    """The verdict on how many customers were scored."""
    times = max(scored, trained_on) / max(1, min(scored, trained_on))
    return VERDICTS[2] if times >= ANOTHER_NUMBER else VERDICTS[1] if times >= SHIFTED_NUMBER else VERDICTS[0]


def _binned(values: Floats) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    ends = np.unique(np.quantile(known, _TENTHS)) if len(known) else np.zeros(0)
    if len(ends) == 1 and known.min() < ends[0] == known.max():
        # Nearly all have the greatest value, and the others would lie in its bin.
        ends = np.array([known[known < ends[0]].max()])
    return {"ends": [float(end) for end in ends], "rows": [int(count) for count in _counted(values, ends)]}


def _counted(values: Floats, ends: Iterable[float]) -> NDArray[np.int64]:
    ends = np.asarray(list(ends), dtype=np.float64)
    place = np.where(np.isnan(values), len(ends) + 1, np.searchsorted(ends, values, side="left"))
    return np.bincount(place.astype(np.int64), minlength=len(ends) + 2)
