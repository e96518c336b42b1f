"""The Pareto curve of customer value.

Belongs here: how much of all value the most valuable customers bring. Not here: value tiers (`rfm.py`).

Source: Pareto, Cours d'économie politique (1896), and the ABC analysis made of it.
"""

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.model import MONEY
from crm_assets.contracts.segmentation import VALUE_CURVE


def value_curve(segments: ir.Table) -> ir.Table:
    """Value of the most valuable customers, percent by percent.

    Args:
        segments: customer_id, monetary and value_tier of the customers of one day, with as_of.

    Returns:
        Rows of `contracts.segmentation.VALUE_CURVE`, by percent; no rows without customers.
    """
    zero = ibis.literal(0).cast(MONEY)
    valued = segments.select(
        "as_of", "customer_id", "value_tier", least=ibis.greatest(segments.monetary.coalesce(zero), zero)
    )
    from_the_top = ibis.cumulative_window(order_by=[valued.least.desc(), valued.customer_id])
    ranked = valued.select(
        "as_of",
        "value_tier",
        "least",
        place=ibis.row_number().over(ibis.window(order_by=[valued.least.desc(), valued.customer_id])) + 1,
        value=valued.least.sum().over(from_the_top),
        total=valued.least.sum().over(ibis.window()),
        everyone=valued.count().over(ibis.window()),
    )
    # A customer ends the percents q with 100 (place - 1) / everyone < q <= 100 place / everyone: most end none.
    ends = ranked.mutate(
        after=((ranked.place - 1) * 100 // ranked.everyone).cast("int64"),
        last=(ranked.place * 100 // ranked.everyone).cast("int64"),
    )
    grid = ibis.array([ibis.literal(number, type="int64") for number in range(1, 101)]).unnest().name("percent")
    rows = ends.filter(ends.after < ends["last"]).cross_join(grid.as_table())
    rows = rows.filter(rows.after < rows.percent, rows.percent <= rows["last"])
    share = rows.value.cast("float64") / rows.total.cast("float64").nullif(0.0)
    columns = {
        "as_of": rows.as_of,
        "percent": rows.percent,
        "customers": rows.place.cast("int64"),
        "value": rows.value.cast(MONEY),
        "value_share": share,
        "value_tier": rows.value_tier,
        "least_value": rows.least.cast(MONEY),
    }
    return rows.select(**{name: columns[name] for name in VALUE_CURVE.by_name}).order_by("percent")
