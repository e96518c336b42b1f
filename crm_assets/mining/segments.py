"""The customer segments mart.

Belongs here: joining scores, tiers and clusters into the mart's rows. Not here: how each of them is computed
(`rfm.py`, `clustering.py`).
"""

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.segments import CUSTOMER_SEGMENTS
from crm_assets.mining.rfm import rfm_scores, value_tiers


def customer_segments(measures: ir.Table, cuts: ir.Table, clusters: ir.Table | None = None) -> ir.Table:
    """Who each customer is, as of the day of `measures`.

    Args:
        measures: as from `rfm.rfm_measures`, of one as_of day.
        cuts: frozen cut points, as from `rfm.rfm_cuts`.
        clusters: customer_id, cluster_name; customers it lacks, or all without it, have a null cluster.

    Returns:
        Rows of `contracts.segments.CUSTOMER_SEGMENTS`, by customer_id; none where `cuts` has none.
    """
    segments = rfm_scores(measures, cuts).left_join(value_tiers(measures), "customer_id").drop("customer_id_right")
    if clusters is None:
        segments = segments.mutate(cluster_name=ibis.null("string"))
    else:
        named = clusters.select("customer_id", "cluster_name")
        segments = segments.left_join(named, "customer_id").drop("customer_id_right")
    return segments.select(*CUSTOMER_SEGMENTS.by_name).order_by("customer_id")
