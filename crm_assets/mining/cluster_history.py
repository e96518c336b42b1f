"""What becomes of clusters from month to month: the same names, and how much of the labels stays.

Belongs here: the sequence of monthly fits, each from the one before; agreement of labels and migration between clusters.
Not here: one fit (`clustering.py`), the number of clusters (`cluster_counts.py`).

A month's clusters follow from the customers of all months up to it, never from models that happen to be stored: whichever
months are trained, together or alone, in any order, a month's model is the same.

Source: Hubert and Arabie, Comparing partitions (1985), for the adjusted Rand index.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from crm_assets.contracts.segments import (
    BASIS_MONTH,
    BASIS_REFIT,
    BASIS_UNCHANGED,
    SEGMENT_MIGRATION,
    SEGMENT_STABILITY,
)
from crm_assets.mining.clustering import ClusterModel, assign_clusters, fit_clusters, scaled_features

REVIEW_MONTHS = 6
"""The number of clusters is looked at again after so many months; between, the same clusters are moved."""

UNCHANGED = 0.25
"""A customer is unchanged whose standing among all customers moved by at most so many standard deviations in each feature."""

SEGMENTATION = "cluster_name"


@dataclass(frozen=True)
class MonthOfClusters:
    """The clusters of a month beside those of the month before.

    Attributes:
        month: First day of the month the model is for.
        model: None where nobody had ordered.
        customers: Whom it was fitted on.
        previous: The fit before; None in the first month.
        customers_before: Whom that was fitted on.
    """

    month: date
    model: ClusterModel | None
    customers: pd.DataFrame
    previous: ClusterModel | None
    customers_before: pd.DataFrame

    def changes(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows of `contracts.segments.SEGMENT_STABILITY` and of `SEGMENT_MIGRATION`; none in the first month."""
        if self.model is None or self.previous is None:
            stability, migration = SEGMENT_STABILITY.by_name, SEGMENT_MIGRATION.by_name
            return pd.DataFrame(columns=list(stability)), pd.DataFrame(columns=list(migration))
        return compare_fits(self.previous, self.customers_before, self.model, self.customers)


def follow_clusters(months: Iterable[tuple[date, pd.DataFrame]], seed: int) -> Iterator[MonthOfClusters]:
    """The clusters of each month, each fit begun at the one before.

    Args:
        months: in order, each month with the customers of the day before it: one row per customer who had ordered, with
            the columns `fit_clusters` takes.
        seed: of starts and samples.
    """
    model: ClusterModel | None = None
    before = pd.DataFrame()
    since_review = 0
    for month, features in months:
        if features.empty:
            yield MonthOfClusters(month, None, features, model, before)
            continue
        since_review += 1
        previous = model
        model = fit_clusters(features, seed, previous, review=since_review >= REVIEW_MONTHS)
        since_review = 0 if model.reviewed else since_review
        yield MonthOfClusters(month, model, features, previous, before)
        before = features


def compare_fits(
    previous: ClusterModel, before: pd.DataFrame, model: ClusterModel, now: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How far the labels of two fits agree, and who went from which cluster to which.

    Args:
        previous: the fit before.
        before: customers it was fitted on.
        model: the next fit.
        now: customers it was fitted on.

    Returns:
        Rows of `contracts.segments.SEGMENT_STABILITY` and of `contracts.segments.SEGMENT_MIGRATION`.
    """
    now = now.set_index("customer_id").sort_index()
    before = before.set_index("customer_id").sort_index()
    both = now.index.intersection(before.index)
    old_of_now = _labels(previous, now)
    new_of_now = _labels(model, now)
    old_of_before = _labels(previous, before)
    unchanged = both[_stayed(previous, before.loc[both], model, now.loc[both])]
    pairs = {
        BASIS_REFIT: (old_of_now, new_of_now),
        BASIS_MONTH: (old_of_before[both], new_of_now[both]),
        BASIS_UNCHANGED: (old_of_before[unchanged], new_of_now[unchanged]),
    }
    names = {"names_kept": sum(model.kept), "names_new": len(model.names) - sum(model.kept)}
    stability = pd.DataFrame(
        [
            {
                "segmentation": SEGMENTATION,
                "basis": basis,
                "customers": len(left),
                "adjusted_rand": _agreement(left, right),
                **names,
            }
            for basis, (left, right) in pairs.items()
        ]
    )
    moved = pd.crosstab(old_of_before[both], new_of_now[both]).rename_axis("previous_segment").rename_axis(None, axis=1)
    migration = moved.reset_index().melt("previous_segment", var_name="segment", value_name="customers")
    migration = migration[migration["customers"] > 0]
    totals = migration.groupby("previous_segment")["customers"].transform("sum")
    migration = migration.assign(share=migration["customers"] / totals, segmentation=SEGMENTATION)
    migration = migration.sort_values(["previous_segment", "segment"], ignore_index=True)
    return stability[list(SEGMENT_STABILITY.by_name)], migration[list(SEGMENT_MIGRATION.by_name)]


def _labels(model: ClusterModel, features: pd.DataFrame) -> pd.Series:
    """Cluster names; features that a model was fitted on and that are gone count as average."""
    missing = [column for column in model.columns if column not in features]
    return assign_clusters(model, features.assign(**dict.fromkeys(missing, np.nan)))


def _stayed(
    previous: ClusterModel, before: pd.DataFrame, model: ClusterModel, now: pd.DataFrame
) -> npt.NDArray[np.bool_]:
    """Whether each customer stands where they stood, each day by the scale of its own fit."""
    shared = [column for column in previous.columns if column in model.columns]
    places = [[fit.columns.index(column) for column in shared] for fit in (previous, model)]
    moved = scaled_features(model, now)[:, places[1]] - scaled_features(previous, before)[:, places[0]]
    return np.asarray((np.abs(moved) <= UNCHANGED).all(axis=1))


def _agreement(left: pd.Series, right: pd.Series) -> float | None:
    from sklearn.metrics import adjusted_rand_score

    return round(float(adjusted_rand_score(left, right)), 6) if len(left) else None
