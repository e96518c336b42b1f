"""What is said of segments on a day: dimensions, strata, rules, profiles, overlap and the value curve.

Belongs here: assets of a day. Not here: who is in which segment (`marts.py`), what is learnt for a month (`segments.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.persons import DELIVERED_CUSTOMERS, MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.lifecycle import LIFECYCLE
from crm_assets.contracts.segmentation import (
    CUSTOMER_DIMENSIONS,
    CUSTOMER_STRATA,
    SEGMENT_OVERLAP,
    SEGMENT_PROFILES,
    SEGMENT_RULES,
    VALUE_CURVE,
)
from crm_assets.contracts.segments import CUSTOMER_SEGMENTS, RULE_TARGETS
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.as_of_days import union
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.customer_dimensions import customer_dimensions as find_dimensions
from crm_assets.mining.persons import Persons
from crm_assets.mining.strata import allocate, draw_strata, with_strata
from crm_assets.mining.value_curve import value_curve
from crm_assets.partitions import days, month_of
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 3
"""Differences of each segment that are shown beside the profiles."""

SEGMENTS_OF_THE_DAY = dg.AssetIn(["marts", CUSTOMER_SEGMENTS.name])
FEATURES_OF_THE_DAY = dg.AssetIn(["features", "customer_features"])


@dg.asset(
    key=["marts", CUSTOMER_DIMENSIONS.name],
    ins={
        "customer_features": FEATURES_OF_THE_DAY,
        "customers": dg.AssetIn(["clean", "customers"]),
        "identity_members": MEMBERS,
        "delivered_customers": DELIVERED_CUSTOMERS,
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=CUSTOMER_DIMENSIONS.description,
)
def customer_dimensions(
    context: dg.AssetExecutionContext,
    customer_features: ir.Table,
    customers: ir.Table,
    identity_members: ir.Table,
    delivered_customers: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """Each customer on the demographic, geographic, behavioural and psychographic dimension."""
    persons, parts = Persons.of(identity_members), []
    for as_of in run_days(context):
        versions = persons.customers(customers, delivered_customers, [as_of], settings.source_priority)
        interests = valid_on(versions, as_of).select("customer_id", "interests")
        parts.append(find_dimensions(customer_features.filter(customer_features.as_of == as_of), interests))
    return union(parts)


@dg.asset(
    key=["marts", CUSTOMER_STRATA.name],
    ins={
        "customer_segments": SEGMENTS_OF_THE_DAY,
        "customer_dimensions": dg.AssetIn(["marts", CUSTOMER_DIMENSIONS.name]),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=CUSTOMER_STRATA.description,
)
def customer_strata(
    context: dg.AssetExecutionContext,
    customer_segments: ir.Table,
    customer_dimensions: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """Customers in strata, and a stratified sample of them."""
    key = ["as_of", "customer_id"]
    known = customer_segments.left_join(customer_dimensions, key).drop(*(f"{name}_right" for name in key))
    every, parts = with_strata(known, settings.strata_fields), []
    for as_of in run_days(context):
        strata = every.filter(every.as_of == as_of)
        sizes = strata.group_by("stratum").agg(customers=strata.count()).order_by("stratum").to_pyarrow().to_pylist()
        counts = {row["stratum"]: row["customers"] for row in sizes}
        quotas = allocate(counts, settings.strata_sample, settings.strata_quotas)
        if unknown := sorted(set(settings.strata_quotas) - set(counts)):
            context.log.warning("strata of %s: quotas name strata without customers: %s", as_of, unknown)
        parts.append(draw_strata(strata, quotas, settings.seed))
    context.add_output_metadata({"strata": len(counts), "drawn": sum(quotas.values())})
    return union(parts)


@dg.multi_asset(
    name="segment_insight",
    ins={
        "customer_segments": SEGMENTS_OF_THE_DAY,
        "customer_dimensions": dg.AssetIn(["marts", CUSTOMER_DIMENSIONS.name]),
        "customer_features": FEATURES_OF_THE_DAY,
        "lifecycle": dg.AssetIn(["marts", LIFECYCLE.name]),
        "models": dg.AssetIn(["models", "segment_rules"]),
    },
    outs={
        "rules": dg.AssetOut(key=["marts", SEGMENT_RULES.name], description=SEGMENT_RULES.description),
        "profiles": dg.AssetOut(key=["marts", SEGMENT_PROFILES.name], description=SEGMENT_PROFILES.description),
        "overlap": dg.AssetOut(key=["marts", SEGMENT_OVERLAP.name], description=SEGMENT_OVERLAP.description),
        "curve": dg.AssetOut(key=["marts", VALUE_CURVE.name], description=VALUE_CURVE.description),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
)
def segment_insight(
    context: dg.AssetExecutionContext,
    customer_segments: ir.Table,
    customer_dimensions: ir.Table,
    customer_features: ir.Table,
    lifecycle: ir.Table,
    models: dict[str, StoredModel],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[object]]:
    """Rules, profiles, overlap and the value curve of the segments of a day, from one pass over the customers."""
    from crm_assets.assets import segment_plots
    from crm_assets.mining.segment_profiles import segment_overlap, segment_profiles

    tables = customer_segments, customer_dimensions, customer_features, lifecycle
    rules, profiles, overlap, curves = [], [], [], []
    for as_of in run_days(context):
        of_day = [table.filter(table.as_of == as_of) for table in tables]
        sums, levels = _described(lake, *of_day)
        rules.append(_rules(context, as_of, models, sums))
        profiles.append(segment_profiles(sums, levels).assign(as_of=as_of))
        overlap.append(segment_overlap(sums).assign(as_of=as_of))
        curves.append(value_curve(of_day[0]).to_pandas())
    yield dg.Output(_joined(rules), "rules")
    shown = profiles[-1][profiles[-1]["rank"] <= SHOWN]
    columns = ["segmentation", "segment", "customers", "measure", "effect_size", "segment_mean", "typical_level"]
    apart = dg.MetadataValue.md(shown[columns].to_markdown(index=False))
    yield dg.Output(_joined(profiles), "profiles", metadata={"what sets segments apart": apart})
    yield dg.Output(_joined(overlap), "overlap")
    pareto = dg.MetadataValue.md(segment_plots.pareto_curve(curves[-1]))
    yield dg.Output(_joined(curves), "curve", metadata={"value curve": pareto})


def _described(lake: Lake, *of_day: ir.Table) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Sums and levels of each combination of segments of a day."""
    from crm_assets.mining.segment_profiles import described_customers, levels_by_segments, sums_by_segments

    with lake.engine.held(described_customers(*of_day)) as customers:
        return sums_by_segments(customers).to_pandas(), levels_by_segments(customers).to_pandas()


def _rules(
    context: dg.AssetExecutionContext, as_of: date, models: Mapping[str, StoredModel], sums: "pd.DataFrame"
) -> "pd.DataFrame":
    """The rules of the month with the customers of the day who meet them."""
    import pandas as pd

    from crm_assets.mining.segment_rules import SegmentRules, rule_rows

    month = month_of(as_of)
    stored = models.get(month.isoformat(), StoredModel(None, {"needs": f"needs rules for {month:%Y-%m}"}))
    if "needs" in stored.card:
        context.log.warning("segment rules of %s: %s", as_of, stored.card["needs"])
    counts = {
        (target, int(str(rule))): int(size)
        for target in RULE_TARGETS
        for rule, size in sums.groupby(f"{target}_rule")["customers"].sum().items()
    }
    rules = SegmentRules.from_document(stored.document or {})
    rows = rule_rows(rules, counts, int(sums["customers"].sum()))
    return pd.DataFrame(rows, columns=list(SEGMENT_RULES.by_name)).assign(as_of=as_of, trained_for=month)


def _joined(parts: "list[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


segment_mart_assets = [customer_dimensions, customer_strata, segment_insight]
