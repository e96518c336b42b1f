"""The customer segments mart.

Belongs here: joining scores, tiers, clusters and rules into the mart's rows. Not here: how each of them is computed
(`rfm.py`, `clustering.py`, `segment_rules.py`).
"""

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.segments import CUSTOMER_SEGMENTS, RULE_TARGETS
from crm_assets.mining.rfm import rfm_scores, value_tiers


def customer_segments(
    measures: ir.Table, cuts: ir.Table, clusters: ir.Table | None = None, rules: ir.Table | None = None
) -> ir.Table:
    """Who each customer is, as of the day of `measures`.

    Args:
        measures: as from `rfm.rfm_measures`, of one as_of day.
        cuts: frozen cut points, as from `rfm.rfm_cuts`.
        clusters: customer_id, cluster_name; customers it lacks, or all without it, have a null cluster.
        rules: customer_id and a rule for each target, as from `segment_rules.rule_ids`; likewise.

    Returns:
        Rows of `contracts.segments.CUSTOMER_SEGMENTS`, by customer_id; none where `cuts` has none.
    """
    segments = rfm_scores(measures, cuts).left_join(value_tiers(measures), "customer_id").drop("customer_id_right")
    named = {"cluster_name": "string"}, {f"{target}_rule": "int64" for target in RULE_TARGETS}
    for given, columns in zip((clusters, rules), named, strict=True):
        if given is None:
            segments = segments.mutate(**{name: ibis.null(dtype) for name, dtype in columns.items()})
        else:
            known = given.select("customer_id", *columns)
            segments = segments.left_join(known, "customer_id").drop("customer_id_right")
    return segments.select(*CUSTOMER_SEGMENTS.by_name).order_by("customer_id")
