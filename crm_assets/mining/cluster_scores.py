"""The cluster of each customer, found by the engine.

Belongs here: a fitted model as an expression over a table of features. Not here: fitting (`clustering.py`).
"""

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from crm_assets.mining.clustering import CLIP, ClusterModel

_DISTANCE = "_distance_"


def cluster_names_of(model: ClusterModel, features: ir.Table) -> ir.Table:
    """The nearest cluster of each customer, as `clustering.assign_clusters` finds it in memory.

    Args:
        model: as from `clustering.fit_clusters`.
        features: customer_id and the features the model was fitted on.

    Returns:
        customer_id, cluster_name.
    """
    if not model.columns:
        return features.select("customer_id", cluster_name=ibis.literal(model.names[0]))
    # In steps, so that the engine computes each scaled feature and each distance once.
    scaled = features.select(
        "customer_id",
        **{
            column: _scaled(_value(features, column), log, mean, scale)
            for column, log, mean, scale in zip(model.columns, model.log, model.means, model.scales, strict=True)
        },
    )
    names = [f"{_DISTANCE}{number}" for number in range(len(model.centers))]
    distances = scaled.select(
        "customer_id",
        **{name: _squares(scaled, model.columns, center) for name, center in zip(names, model.centers, strict=True)},
    )
    if len(names) == 1:
        return distances.select("customer_id", cluster_name=ibis.literal(model.names[0]))
    least = ibis.least(*[distances[name] for name in names])
    cases = [(distances[name] == least, label) for name, label in zip(names[:-1], model.names, strict=False)]
    return distances.select("customer_id", cluster_name=ibis.cases(*cases, else_=model.names[-1]))


def _value(features: ir.Table, column: str) -> ir.FloatingValue:
    if column != "average_order_amount":
        return features[column].cast("float64")
    orders = features["orders_365d"].cast("float64")
    return (orders > 0).ifelse(features["amount_365d"].cast("float64") / orders.nullif(0.0), ibis.null("float64"))


def _scaled(value: ir.FloatingValue, log: bool, mean: float, scale: float) -> ir.FloatingValue:
    """Standard deviations from the mean, cut off as in fitting; what is not known is average."""
    logged = (1.0 + value.abs()).ln() * value.sign() if log else value
    # least and greatest leave nulls out
    ratio = ((logged - mean) / scale).fill_null(0.0)
    return ibis.greatest(ibis.least(ratio, CLIP), -CLIP)


def _squares(scaled: ir.Table, columns: Sequence[str], center: Sequence[float]) -> ir.FloatingValue:
    terms = [(scaled[column] - at) * (scaled[column] - at) for column, at in zip(columns, center, strict=True)]
    return sum(terms[1:], start=terms[0])
