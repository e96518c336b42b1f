"""What sets segments apart, and how segmentations overlap.

Belongs here: counts and sums by segment in the engine, and effect sizes and overlap from them. Not here: who is in which
segment (`segments.py`, `lifecycle.py`, `segment_rules.py`).

One pass over the customers sums every measure for each combination of segments; all figures follow from these few rows.

Sources: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), for d, V and the way from one to the other;
Bergsma, A bias-correction for Cramér's V and Tschuprow's T (2013).
"""

import math
from functools import reduce
from itertools import combinations
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_assets.contracts.model import MONEY
from crm_assets.contracts.segmentation import SEGMENT_OVERLAP, SEGMENT_PROFILES
from crm_assets.contracts.segments import RULE_TARGETS

SEGMENTATIONS = (
    "rfm_segment",
    "value_tier",
    "cluster_name",
    "lifecycle_stage",
    *(f"{target}_rule" for target in RULE_TARGETS),
)
"""Ways customers are divided."""

MEASURES = (
    "recency_days",
    "tenure_days",
    "orders_365d",
    "amount_365d",
    "categories_365d",
    "discount_share_365d",
    "coupon_share_365d",
    "promoted_share_365d",
    "return_share_365d",
    "weekend_share",
    "gap_median",
    "contacts_365d",
    "responses_365d",
)
"""Features that segments are compared by."""

LEVELS_OF = (
    "age_band",
    "gender",
    "marital_status",
    "income_band",
    "household_size",
    "region",
    "country",
    "activity",
    "basket_size",
    "spend_trend",
    "affinity_category",
    "price_sensitivity",
    "promotion_affinity",
    "campaign_response",
    "weekday_habit",
    "time_habit",
)
"""Dimensions that segments are compared by."""


def described_customers(
    segments: ir.Table, dimensions: ir.Table, features: ir.Table, lifecycle: ir.Table | None = None
) -> ir.Table:
    """Each customer of a day with all segments, measures and dimensions.

    Args:
        segments: rows of `marts.customer_segments` of the day.
        dimensions: rows of `marts.customer_dimensions` of the day.
        features: rows of `features.customer_features` of the day.
        lifecycle: rows of `marts.lifecycle` of the day; stages are null without it.
    """
    rows = segments.select("customer_id", "monetary", *(n for n in SEGMENTATIONS if n in segments.columns))
    parts = [dimensions.select("customer_id", *LEVELS_OF), features.select("customer_id", *MEASURES)]
    if lifecycle is not None:
        parts.append(lifecycle.select("customer_id", lifecycle_stage="stage"))
    for part in parts:
        rows = rows.left_join(part, "customer_id").drop("customer_id_right")
    if lifecycle is None:
        rows = rows.mutate(lifecycle_stage=ibis.null("string"))
    return rows.mutate(**{name: rows[name].cast("string") for name in SEGMENTATIONS if name in rows.columns})


def sums_by_segments(customers: ir.Table) -> ir.Table:
    """Customers, value and sums of each measure for each combination of segments.

    Args:
        customers: as from `described_customers`.

    Returns:
        One row per combination, in their order: `SEGMENTATIONS`, customers, value, and for each measure
        `<measure>_known`, `_sum` and `_squares` (float64, of exact sums).
    """
    exact = {name: customers[name].cast("float64").cast(MONEY) for name in MEASURES}
    sums = {
        column: value
        for name, measure in exact.items()
        for column, value in (
            (f"{name}_known", measure.count().cast("int64")),
            (f"{name}_sum", measure.sum().cast("float64").fill_null(0.0)),
            # one factor a digit wider: engines then multiply exactly
            (f"{name}_squares", (measure.cast("decimal(19, 4)") * measure).sum().cast("float64").fill_null(0.0)),
        )
    }
    keys = list(SEGMENTATIONS)
    totals = customers.group_by(keys).agg(
        customers=customers.count(), value=customers.monetary.sum().cast("float64"), **sums
    )
    return totals.order_by(keys)


def levels_by_segments(customers: ir.Table) -> ir.Table:
    """Customers of each level of each dimension, for each combination of segments.

    Args:
        customers: as from `described_customers`.

    Returns:
        `SEGMENTATIONS`, dimension, level, customers, in the order of dimension and level; customers without a level are
        left out.
    """
    keys = list(SEGMENTATIONS)
    by_level = [
        customers.group_by([*keys, customers[name].name("level")])
        .agg(customers=customers.count())
        .mutate(dimension=ibis.literal(name))
        .filter(ibis._.level.notnull())
        for name in LEVELS_OF
    ]
    every = reduce(lambda left, right: left.union(right), by_level)
    return every.order_by("dimension", "level", *keys)


def segment_profiles(sums: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    """What differs between each segment and everyone else.

    Args:
        sums: as from `sums_by_segments`.
        levels: as from `levels_by_segments`.

    Returns:
        Rows of `contracts.segmentation.SEGMENT_PROFILES` without as_of; measures without any variation are left out.
    """
    everyone, value = int(sums["customers"].sum()), float(sums["value"].sum())
    rows: list[dict[str, Any]] = []
    for segmentation in SEGMENTATIONS:
        own = sums[sums[segmentation].notna()]
        parts = own.drop(columns=[name for name in SEGMENTATIONS if name != segmentation]).groupby(segmentation).sum()
        by_dimension = _by_dimension(levels, segmentation)
        for segment, part in parts.iterrows():
            effects = [*_differences(part, parts.sum() - part), *_levels(by_dimension, segment)]
            effects.sort(key=lambda effect: (-effect.pop("_as_d"), effect["measure"]))
            place = {
                "segmentation": segmentation,
                "segment": segment,
                "customers": int(part["customers"]),
                "share": part["customers"] / everyone,
                "value": round(part["value"], 4),
                "value_share": part["value"] / value if value > 0 and 0 <= part["value"] <= value else None,
            }
            rows += [{**place, "rank": rank, **effect} for rank, effect in enumerate(effects, start=1)]
    columns = [name for name in SEGMENT_PROFILES.by_name if name != "as_of"]
    return pd.DataFrame(rows, columns=columns)


def segment_overlap(sums: pd.DataFrame) -> pd.DataFrame:
    """How many customers are in a segment of one segmentation and in one of another.

    Args:
        sums: as from `sums_by_segments`.

    Returns:
        Rows of `contracts.segmentation.SEGMENT_OVERLAP` without as_of.
    """
    parts = []
    for one, other in combinations(SEGMENTATIONS, 2):
        both = sums[sums[one].notna() & sums[other].notna()]
        if both.empty:
            continue
        table = both.pivot_table("customers", one, other, "sum", fill_value=0)
        counts = table.to_numpy(dtype="float64")
        left, right, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
        first, second = np.nonzero(counts)
        found = counts[first, second]
        parts.append(
            pd.DataFrame(
                {
                    "segmentation": one,
                    "segment": table.index.to_numpy()[first],
                    "other_segmentation": other,
                    "other_segment": table.columns.to_numpy()[second],
                    "customers": found.astype("int64"),
                    "share_of_segment": found / left[first],
                    "share_of_other": found / right[second],
                    "lift": found * total / (left[first] * right[second]),
                    "jaccard": found / (left[first] + right[second] - found),
                    "cramers_v": round(cramers_v(counts), 6),
                }
            )
        )
    columns = [name for name in SEGMENT_OVERLAP.by_name if name != "as_of"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def cohens_d(first: tuple[float, float, float], second: tuple[float, float, float]) -> float | None:
    """Difference of two means in pooled standard deviations; None without variation or customers.

    Args:
        first: count, sum and sum of squares of one group.
        second: the same of the other.
    """
    (n1, s1, q1), (n2, s2, q2) = first, second
    if n1 < 1 or n2 < 1 or n1 + n2 < 3:
        return None
    squares = max(0.0, q1 - s1 * s1 / n1) + max(0.0, q2 - s2 * s2 / n2)
    variance = squares / (n1 + n2 - 2)
    # what is left of equal values by rounding is no variation
    if variance <= 1e-12 * max(1.0, (q1 + q2) / (n1 + n2)):
        return None
    return (s1 / n1 - s2 / n2) / math.sqrt(variance)


def cramers_v(counts: Any) -> float:
    """Association of rows and columns of a table of counts: 0 is none, 1 is complete; 0 with one row or column.

    Corrected for what chance alone gives a table with many cells and few customers.
    """
    table = np.asarray(counts, dtype="float64")
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    (rows, columns), total = table.shape, table.sum()
    if min(rows, columns) < 2 or total < 2:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    phi = ((table - expected) ** 2 / expected).sum() / total
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (total - 1))
    least = min(rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1)) - 1
    return float(min(1.0, math.sqrt(phi / least))) if least > 0 else 0.0


def _differences(part: pd.Series, rest: pd.Series) -> list[dict[str, Any]]:
    """Cohen's d of each measure."""
    found = []
    for name in MEASURES:
        own, other = (
            (group[f"{name}_known"], group[f"{name}_sum"], group[f"{name}_squares"]) for group in (part, rest)
        )
        effect = cohens_d(own, other)
        if effect is not None:
            found.append(
                {
                    "measure": name,
                    "effect": "cohens_d",
                    "effect_size": round(effect, 6),
                    "segment_mean": round(own[1] / own[0], 6),
                    "rest_mean": round(other[1] / other[0], 6),
                    "_as_d": abs(effect),
                }
            )
    return found


def _by_dimension(levels: pd.DataFrame, segmentation: str) -> dict[str, pd.DataFrame]:
    """Customers of each level (rows) and segment (columns), by dimension; all segments of the segmentation."""
    named = levels[levels[segmentation].notna()]
    if named.empty:
        return {}
    table = named.pivot_table("customers", ["dimension", "level"], segmentation, "sum", fill_value=0)
    return {str(dimension): rows.droplevel("dimension") for dimension, rows in table.groupby(level="dimension")}


def _levels(by_dimension: dict[str, pd.DataFrame], segment: object) -> list[dict[str, Any]]:
    """Cramér's V of each dimension between being in the segment or not."""
    found = []
    for dimension, table in by_dimension.items():
        if segment not in table.columns or len(table) < 2:
            continue
        inside = table[segment].to_numpy(dtype="float64")
        rest = table.to_numpy(dtype="float64").sum(axis=1) - inside
        if not inside.sum() or not rest.sum():
            continue
        shares, others = inside / inside.sum(), rest / rest.sum()
        effect, typical = cramers_v(np.stack([inside, rest])), int((shares - others).argmax())
        found.append(
            {
                "measure": dimension,
                "effect": "cramers_v",
                "effect_size": round(effect, 6),
                "typical_level": table.index[typical],
                "level_share": round(float(shares[typical]), 6),
                "rest_level_share": round(float(others[typical]), 6),
                "_as_d": 2 * effect / math.sqrt(max(1e-9, 1 - effect * effect)),
            }
        )
    return found
