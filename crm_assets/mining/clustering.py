"""Clusters of customers, named by what sets them apart.

Belongs here: scaling customer features, fitting clusters to them or moving those of the month before, and the assignment
of customers in memory. Not here: the number of clusters (`cluster_counts.py`), their names (`cluster_words.py`), months
(`cluster_history.py`), assignment in the engine (`cluster_scores.py`), RFM segments (`rfm.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from crm_assets.mining.cluster_counts import ClusterCount, choose_centers, move_centers, nearest
from crm_assets.mining.cluster_words import INPUTS, ClusterInput, NamedCenters, cluster_names, keep_names

Matrix = npt.NDArray[np.float64]


FEATURE_COLUMNS = tuple(sorted({given.column for given in INPUTS} - {"average_order_amount"}))
"""Columns of `customer_features` that clusters are made from."""

CLIP = 4.0
"""Scaled values are cut off at this many standard deviations, so that no single odd value draws a center to itself."""


@dataclass(frozen=True)
class ClusterModel:
    """Fitted clusters as plain values: `to_dict` goes into JSON and `from_dict` brings the equal model back.

    Attributes:
        columns: Features used.
        log: Whether each is log-transformed.
        means: Mean of each, after the logarithm.
        scales: Standard deviation of each, after the logarithm.
        centers: One row per cluster, largest cluster first, in standard deviations from the population.
        names: Name of each cluster, all different.
        sizes: Customers of each cluster at fitting.
        medians: One row per cluster: the median of each feature, in its own unit.
        counts: What was measured for each number of clusters tried.
        dropped: Features left out, each with the reason.
        seed: Seed of starts and samples.
        kept: Of each cluster, whether its name is one of the fit before.
        reviewed: Whether the number of clusters was chosen here, or is that of the fit before.
    """

    columns: tuple[str, ...]
    log: tuple[bool, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    centers: tuple[tuple[float, ...], ...]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    medians: tuple[tuple[float, ...], ...]
    counts: tuple[ClusterCount, ...]
    dropped: dict[str, str]
    seed: int
    kept: tuple[bool, ...] = ()
    reviewed: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClusterModel":
        """The model `to_dict` was taken from, also after a round trip through JSON."""
        fields: dict[str, Any] = dict(values)
        for name in ("columns", "log", "means", "scales", "names", "sizes", "kept"):
            fields[name] = tuple(fields.get(name, ()))
        for name in ("centers", "medians"):
            fields[name] = tuple(tuple(row) for row in fields[name])
        fields["counts"] = tuple(ClusterCount(**count) for count in fields["counts"])
        return cls(**fields)

    def card(self) -> dict[str, Any]:
        """What a person wants to know of the model, JSON-able."""
        customers = sum(self.sizes)
        chosen = next((count for count in self.counts if count.clusters == len(self.names)), None)
        kept = self.kept or (False,) * len(self.names)
        inputs = [used for used in INPUTS if used.column in self.columns]
        names_now = cluster_names(np.array(self.centers), inputs) if len(self.centers) > 1 else self.names
        return {
            "method": "k-means on standardised features, logarithms of counts, days and amounts",
            "customers": customers,
            "clusters": [
                {
                    "name": name,
                    "name_kept": is_kept,
                    "sets_it_apart_now": name_now,
                    "customers": size,
                    "share": round(size / customers, 4) if customers else 0.0,
                    "medians": dict(zip(self.columns, medians, strict=True)),
                    "differences": dict(zip(self.columns, [round(value, 3) for value in center], strict=True)),
                }
                for name, is_kept, name_now, size, center, medians in zip(
                    self.names, kept, names_now, self.sizes, self.centers, self.medians, strict=True
                )
            ],
            "silhouette": chosen.silhouette if chosen else None,
            "stability": chosen.stability if chosen else None,
            "number_of_clusters": "chosen from those tried" if self.reviewed else "as chosen at the last review",
            "counts_tried": [asdict(count) for count in self.counts],
            "inputs": list(self.columns),
            "dropped": self.dropped,
            "seed": self.seed,
        }


def fit_clusters(
    features: pd.DataFrame, seed: int, previous: ClusterModel | None = None, review: bool = True
) -> ClusterModel:
    """Fit clusters, or move those of an earlier fit to these customers.

    Args:
        features: one row per customer: customer_id and columns of `INPUTS`. Missing values count as average; inputs
            that are absent, empty or the same for everyone are left out, which the card says.
        seed: of starts and samples; equal seeds and rows, in any order, give equal models.
        previous: an earlier fit; clusters near one of it keep its name.
        review: look at all numbers of clusters again, even if those of `previous` still divide the customers.

    Returns:
        A model whose number of clusters is stable, without a cluster above `LARGEST_SHARE`, and separates customers best
        (see `choose_centers`). Where there is none, or fewer customers than clusters need, one cluster holds everyone.

    Raises:
        ValueError: customer_id is missing or not unique.
    """
    if "customer_id" not in features or features["customer_id"].duplicated().any():
        raise ValueError(
            "Clusters need one row per customer: pass features of one as_of day with a customer_id column."
        )
    features = features.sort_values("customer_id", ignore_index=True)
    inputs, dropped = _usable_inputs(features)
    values = _values(features, [used.column for used in inputs])
    logged = _log(values, [used.log for used in inputs])
    means, scales = _center_and_scale(logged)
    scaled = _scale(logged, means, scales)

    in_use = _moved(previous, [used.column for used in inputs], scaled, seed)
    reviewed = review or in_use is None or previous is None
    if in_use is not None and previous is not None and not reviewed:
        counts, centers = previous.counts, in_use
    else:
        counts, centers = choose_centers(scaled, seed, in_use)
    labels = nearest(scaled, centers)
    sizes = np.bincount(labels, minlength=len(centers))
    order = sorted(range(len(centers)), key=lambda cluster: (-sizes[cluster], tuple(centers[cluster])))
    centers = centers[order]
    names, kept = keep_names(centers, inputs, _named(previous))
    return ClusterModel(
        columns=tuple(used.column for used in inputs),
        log=tuple(used.log for used in inputs),
        means=_plain(means),
        scales=_plain(scales),
        centers=tuple(_plain(center) for center in centers),
        names=names,
        sizes=tuple(int(sizes[cluster]) for cluster in order),
        medians=tuple(_medians(values[labels == cluster]) for cluster in order),
        counts=counts,
        dropped=dropped,
        seed=seed,
        kept=kept,
        reviewed=reviewed,
    )


def scaled_features(model: ClusterModel, features: pd.DataFrame) -> Matrix:
    """Features in standard deviations from the mean of the customers a model was fitted on, one column for each.

    Raises:
        ValueError: columns of the model are missing.
    """
    values = _values(features, model.columns)
    return _scale(_log(values, model.log), np.array(model.means), np.array(model.scales))


def assign_clusters(model: ClusterModel, features: pd.DataFrame) -> pd.Series:
    """Name of the nearest cluster of each customer; later days are scored with the same, frozen model.

    Args:
        model: as from `fit_clusters`.
        features: rows with the columns the model was fitted on.

    Returns:
        Cluster names with the index of `features`, called cluster_name.

    Raises:
        ValueError: columns of the model are missing.
    """
    scaled = scaled_features(model, features)
    labels = nearest(scaled, np.array(model.centers).reshape(len(model.names), len(model.columns)))
    names = np.array(model.names, dtype=object)[labels]
    return pd.Series(names, index=features.index, name="cluster_name", dtype="str")


def _named(model: ClusterModel | None) -> NamedCenters | None:
    return NamedCenters(model.columns, model.centers, model.names) if model else None


def _moved(previous: ClusterModel | None, columns: Sequence[str], scaled: Matrix, seed: int) -> Matrix | None:
    """Centers of an earlier fit on the same features, moved to other customers; None where they do not divide these."""
    if previous is None or list(previous.columns) != list(columns) or len(previous.names) < 2:
        return None
    return move_centers(scaled, np.array(previous.centers), seed)


def _usable_inputs(features: pd.DataFrame) -> tuple[list[ClusterInput], dict[str, str]]:
    """Inputs that tell customers apart, and why the others do not."""
    usable, dropped = [], {}
    for candidate in INPUTS:
        try:
            values = _values(features, [candidate.column])
        except ValueError:
            dropped[candidate.column] = "not among the features"
            continue
        known = values[~np.isnan(values)]
        if known.size == 0:
            dropped[candidate.column] = "no values"
        elif known.min() == known.max():
            dropped[candidate.column] = "the same for everyone"
        else:
            usable.append(candidate)
    return usable, dropped


def _values(features: pd.DataFrame, columns: Sequence[str]) -> Matrix:
    """Columns as floats, in order; decimals and nulls of any kind included."""
    matrix = np.empty((len(features), len(columns)))
    for position, column in enumerate(columns):
        if column == "average_order_amount" and {"amount_365d", "orders_365d"} <= set(features):
            amount, orders = _values(features, ["amount_365d", "orders_365d"]).T
            # without orders there is no average: unknown, not zero
            matrix[:, position] = np.divide(amount, orders, out=np.full(len(features), np.nan), where=orders > 0)
        elif column in features:
            matrix[:, position] = pd.to_numeric(features[column]).to_numpy(dtype="float64", na_value=np.nan)
        else:
            raise ValueError(f"The cluster model needs column {column!r}, which these features lack. Fit a new model.")
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def _log(values: Matrix, log: Sequence[bool]) -> Matrix:
    """The logarithm of the columns that ask for it, sign kept: net amounts may be negative."""
    flags = np.array(log, dtype=bool)
    return np.where(flags, np.sign(values) * np.log1p(np.abs(values)), values)


def _center_and_scale(values: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and standard deviation of each column, missing values left out."""
    if not values.size:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    scales = np.nanstd(values, axis=0)
    return np.nanmean(values, axis=0), np.where(scales > 0, scales, 1.0)


def _scale(values: Matrix, means: Matrix, scales: Matrix) -> Matrix:
    """Standard deviations from the mean, cut off at `CLIP`; missing values are average."""
    return np.clip(np.nan_to_num((values - means) / scales, nan=0.0), -CLIP, CLIP)


def _medians(values: Matrix) -> tuple[float, ...]:
    """Median of each column, rounded for people; 0 without any value."""
    known = [column[~np.isnan(column)] for column in values.T]
    return tuple(round(float(np.median(column)), 4) if column.size else 0.0 for column in known)


def _plain(values: Matrix) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
