"""Marts: what people use, as of a day.

Belongs here: one short asset per mart. Not here: how its rows are computed (`mining/`).
"""

from collections.abc import Iterator, Mapping
from functools import partial, reduce
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.scoring import scored
from crm_assets.contracts.basket import CROSS_SELL_RULES, LEVELS, SEQUENTIAL_RULES
from crm_assets.contracts.churn import CHURN_SCORES
from crm_assets.contracts.segments import CUSTOMER_SEGMENTS
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.persons import Persons
from crm_assets.mining.rfm import rfm_measures
from crm_assets.mining.samples import as_floats
from crm_assets.mining.segments import customer_segments as segment
from crm_assets.partitions import UP_TO_THE_DAY, days, month_of
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PLOTTED_RULES = 15


@dg.asset(
    key=["marts", CUSTOMER_SEGMENTS.name],
    ins={
        "customer_days": dg.AssetIn(["profile", "customer_days"], partition_mapping=UP_TO_THE_DAY),
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "rfm_cuts": dg.AssetIn(["models", "rfm_cuts"]),
        "customer_clusters": dg.AssetIn(["models", "customer_clusters"]),
        "segment_rules": dg.AssetIn(["models", "segment_rules"]),
        "identity_members": MEMBERS,
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=CUSTOMER_SEGMENTS.description,
)
def customer_segments(
    context: dg.AssetExecutionContext,
    customer_days: ir.Table,
    customer_features: ir.Table,
    rfm_cuts: ir.Table,
    customer_clusters: dict[str, StoredModel],
    segment_rules: dict[str, StoredModel],
    identity_members: ir.Table,
) -> ir.Table:
    """Who each customer is: RFM scores, value tier, cluster and rules, as of a day."""
    from crm_assets.assets import plots

    parts, persons = [], Persons.of(identity_members)
    for as_of in run_days(context):
        cuts = rfm_cuts.filter(rfm_cuts.month == month_of(as_of)).drop("month")
        known = customer_features.filter(customer_features.as_of == as_of, customer_features.orders_365d > 0)
        clusters = _clusters(known, customer_clusters.get(month_of(as_of).isoformat()))
        rules = _rules(known, segment_rules.get(month_of(as_of).isoformat()))
        measures = rfm_measures(persons.customer_days(customer_days, as_of), as_of)
        parts.append(segment(measures, cuts, clusters, rules))
    # The last day's, without clusters and rules: what the picture does not show need not be computed twice.
    sizes = (
        segment(measures, cuts)
        .group_by(segment="rfm_segment")
        .agg(customers=ibis._.count(), value=ibis._.monetary.sum().cast("float64"))
    )
    shown = plots.segment_sizes(sizes.order_by("segment").to_pandas())
    context.add_output_metadata({"segments": dg.MetadataValue.md(shown)})
    return reduce(lambda left, right: left.union(right), parts)


@dg.asset(
    key=["marts", CHURN_SCORES.name],
    ins={
        "customer_features": dg.AssetIn(["features", "customer_features"]),
        "models": dg.AssetIn(["models", "churn_model"]),
    },
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=CHURN_SCORES.description,
)
def churn_scores(
    context: dg.AssetExecutionContext,
    customer_features: ir.Table,
    models: dict[str, StoredModel],
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[ir.Table]]:
    """How likely each active customer is to stop ordering, scored by the newest model trained before the day."""
    with lake.collected(CHURN_SCORES.schema, _churn_scores(context, lake, customer_features, models, settings)) as rows:
        yield dg.Output(rows)


def _churn_scores(
    context: dg.AssetExecutionContext,
    lake: Lake,
    customer_features: ir.Table,
    models: Mapping[str, StoredModel],
    settings: Settings,
) -> "Iterator[pa.Table]":
    """Scores of the run's days, batch by batch."""
    from crm_assets.mining.churn import CHURN_FEATURES, ChurnModel, score_churn

    types = CHURN_SCORES.schema.to_pyarrow()
    for as_of in run_days(context):
        stored = models.get(
            month_of(as_of).isoformat(), StoredModel(None, {"needs": f"needs a churn model for {as_of:%Y-%m}"})
        )
        if stored.document is None:
            context.log.warning("churn scores of %s: %s", as_of, stored.card.get("needs"))
            continue
        model = ChurnModel.from_document(stored.document)
        day = customer_features.filter(customer_features.as_of == as_of)
        rows = day.select("as_of", "customer_id", **as_floats(day, CHURN_FEATURES)).order_by("customer_id")
        yield from scored(lake, rows, partial(score_churn, model), types, settings.threads)


@dg.asset(
    key=["marts", CROSS_SELL_RULES.name],
    ins={
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "products": dg.AssetIn(["clean", "products"]),
    },
    description=CROSS_SELL_RULES.description,
)
def cross_sell_rules(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """What is bought together, as of the newest day with an order."""
    from crm_assets.assets import plots
    from crm_assets.mining.cross_sell import cross_sell_rules as mine_rules

    as_of = transactions.day.max().to_pyarrow().as_py()
    if as_of is None:
        context.log.warning("cross-sell rules: needs transactions: 0 rows")
        return ibis.memtable([], schema=CROSS_SELL_RULES.schema)
    mined = mine_rules(
        transactions,
        products,
        as_of,
        levels=_mined_levels(settings),
        minimum_support=settings.rule_min_support,
        minimum_confidence=settings.rule_min_confidence,
        holdout_days=settings.rule_holdout_days,
        max_basket_items=settings.rule_max_basket_items,
        max_items=settings.rule_max_items,
        max_baskets=settings.rule_max_baskets,
        seed=settings.seed,
    )
    for level in mined.levels.itertuples():
        if level.oversized_baskets:
            context.log.warning(
                "cross-sell rules at level %s: left out %d baskets of more than %d items (rule_max_basket_items)",
                level.level,
                level.oversized_baskets,
                settings.rule_max_basket_items,
            )
    context.add_output_metadata(
        {
            "as of": str(as_of),
            "levels": dg.MetadataValue.md(mined.levels.to_markdown(index=False)),
            "top rules": dg.MetadataValue.md(plots.top_rules(_top_rules(_in_words(mined.rules)))),
        }
    )
    return ibis.memtable(mined.rules, schema=CROSS_SELL_RULES.schema)


@dg.asset(
    key=["marts", SEQUENTIAL_RULES.name],
    ins={
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "products": dg.AssetIn(["clean", "products"]),
        "identity_members": MEMBERS,
    },
    description=SEQUENTIAL_RULES.description,
)
def sequential_rules(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """What customers buy next who bought something else, as of the newest day with an order."""
    from crm_assets.assets import plots
    from crm_assets.mining.sequential_rules import SequenceLimits
    from crm_assets.mining.sequential_rules import sequential_rules as mine_sequences

    as_of = transactions.day.max().to_pyarrow().as_py()
    if as_of is None:
        context.log.warning("sequential rules: needs transactions: 0 rows")
        return ibis.memtable([], schema=SEQUENTIAL_RULES.schema)
    mined = mine_sequences(
        Persons.of(identity_members).rows(transactions, as_of),
        products,
        as_of,
        SequenceLimits(settings.offer_history_days, settings.sequence_days),
        _mined_levels(settings),
        settings.seed,
    )
    context.add_output_metadata(
        {
            "as of": str(as_of),
            "levels": dg.MetadataValue.md(mined.levels.to_markdown(index=False)),
            "top rules": dg.MetadataValue.md(plots.top_rules(_top_rules(mined.rules))),
        }
    )
    return ibis.memtable(mined.rules, schema=SEQUENTIAL_RULES.schema)


def _mined_levels(settings: Settings) -> tuple[str, ...]:
    """The levels that a workspace has rules of."""
    return tuple(level for level in LEVELS if level in settings.rule_min_support)


def _clusters(known: ir.Table, stored: StoredModel | None) -> ir.Table | None:
    """The cluster of each customer; None where the month has no clusters."""
    from crm_assets.mining.cluster_scores import cluster_names_of
    from crm_assets.mining.clustering import ClusterModel

    if stored is None or stored.document is None:
        return None
    return cluster_names_of(ClusterModel.from_dict(stored.document), known)


def _rules(known: ir.Table, stored: StoredModel | None) -> ir.Table | None:
    """The rules that each customer meets; None where the month has no rules."""
    from crm_assets.mining.segment_rules import SegmentRules, rule_ids

    if stored is None or stored.document is None:
        return None
    return rule_ids(SegmentRules.from_document(stored.document), known)


def _in_words(rules: "pd.DataFrame") -> "pd.DataFrame":
    """Rules of baskets that are not redundant, each side in one text."""
    kept = rules[~rules["is_redundant"].astype(bool)]
    return kept.assign(antecedent=kept["antecedents"].map(", ".join), consequent=kept["consequents"].map(", ".join))


def _top_rules(rules: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    top = rules.nlargest(PLOTTED_RULES, "lift")
    return pd.DataFrame({"rule": top["antecedent"] + " → " + top["consequent"], "lift": top["lift"].to_numpy()})


mart_assets = [customer_segments, churn_scores, cross_sell_rules, sequential_rules]
