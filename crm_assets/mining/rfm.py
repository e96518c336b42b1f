"""Recency, frequency and monetary value as of a day, and the value tiers.

Belongs here: RFM measures, cut points, scores and segment names; value tiers. Not here: clustering (`clustering.py`),
the joined mart (`segments.py`), reading or writing tables.

Sources: Hughes, Strategic Database Marketing (1994), for quintile scores of recency, frequency and monetary value.
The eleven names and the ranges they may cover are Putler's grid over R and the mean of F and M, whose ranges overlap;
`SEGMENT_GRID` gives each cell one of the names published for it. Tiers: the ABC analysis of the 80/20 rule (Pareto).
"""

from datetime import date

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.model import MONEY
from crm_assets.contracts.segments import MEASURES

SCORES = 5
"""Scores run from 1 to 5: quintiles."""

TIER_SHARES = (("A", 80), ("B", 95))
"""Each tier and the percentage of all positive value at which it ends; whoever comes after is tier C."""

SEGMENT_GRID: dict[int, tuple[str, ...]] = {
    5: ("new", "potential_loyalist", "potential_loyalist", "champions", "champions"),
    4: ("promising", "potential_loyalist", "potential_loyalist", "loyal", "champions"),
    3: ("about_to_sleep", "about_to_sleep", "need_attention", "loyal", "loyal"),
    2: ("hibernating", "hibernating", "at_risk", "at_risk", "at_risk"),
    1: ("lost", "lost", "at_risk", "cant_lose", "cant_lose"),
}
"""Recency score to the segment names for a mean of frequency and monetary score of 1 to 5 (halves round down)."""

_SCORE_COLUMNS = {"recency_days": "r_score", "frequency": "f_score", "monetary": "m_score"}


def rfm_measures(customer_days: ir.Table, as_of: date) -> ir.Table:
    """Recency, frequency and monetary value of each customer who ordered by `as_of`.

    Args:
        customer_days: one row per day and customer: day (date), customer_id, orders (int64, orders placed that day),
            amount (decimal, workspace currency, returns negative). Rows without a customer are left out.
        as_of: last day seen; later days are ignored.

    Returns:
        One row per customer with at least one order, by customer_id: as_of, customer_id, recency_days (>= 0, days
        since the last day with an order), frequency (orders), monetary (amount net of returns, decimal(18, 4)).
    """
    seen = customer_days.filter(customer_days.day <= as_of, customer_days.customer_id.notnull())
    last_order = seen.day.max(where=seen.orders > 0)
    totals = seen.group_by("customer_id").aggregate(
        last_order=last_order,
        frequency=seen.orders.sum().cast("int64"),
        monetary=seen.amount.sum().cast(MONEY).coalesce(ibis.literal(0).cast(MONEY)),
    )
    ordered = totals.filter(totals.frequency > 0)
    return ordered.select(
        as_of=ibis.literal(as_of),
        customer_id=ordered.customer_id,
        recency_days=ibis.literal(as_of).delta(ordered.last_order, unit="day").cast("int64"),
        frequency=ordered.frequency,
        monetary=ordered.monetary,
    ).order_by("customer_id")


def rfm_cuts(measures: ir.Table) -> ir.Table:
    """Quintile cut points of the three measures, to be kept and applied to later days.

    A score covers the values above `lower_bound` up to and including `upper_bound`; the outermost bounds are null, so
    every later value has a score. Equal values share one score: that of the smallest among them when customers are
    counted off in fifths from the smallest value up. Where most customers have one order, all of them score 1 on
    frequency and the next scores stay empty (equal bounds).

    Frequency and monetary value only grow with history, so under old cut points scores drift upwards: refit with the
    models' months, not never.

    Args:
        measures: as from `rfm_measures`, of one as_of day.

    Returns:
        Five rows per measure, by measure and score (`contracts.segments.RFM_CUTS`); no rows from an empty table.
    """
    values = ibis.union(*(_long(measures, measure) for measure in MEASURES))
    fifths = values.select(
        "measure",
        "value",
        "as_of",
        fifth=(
            ibis.rank().over(group_by=values.measure, order_by=values.value)
            * SCORES
            // values.count().over(ibis.window(group_by=values.measure))
        ).cast("int64"),
    )
    bounds = fifths.group_by("measure").aggregate(
        fitted_on=fifths.as_of.max(),
        **{f"upper_{fifth}": fifths.value.max(where=fifths.fifth <= fifth) for fifth in range(SCORES - 1)},
        **{f"customers_{fifth}": (fifths.fifth == fifth).sum().cast("int64") for fifth in range(SCORES)},
    )
    rows = ibis.union(*(_cut_row(bounds, fifth) for fifth in range(SCORES)))
    return rows.order_by("measure", "score")


def rfm_scores(measures: ir.Table, cuts: ir.Table) -> ir.Table:
    """Scores and segment of each customer under frozen cut points.

    Args:
        measures: as from `rfm_measures`, of any day.
        cuts: as from `rfm_cuts`, of the same or an earlier day.

    Returns:
        The columns of `measures` with r_score, f_score, m_score (1 to 5, 5 is best) and rfm_segment, by customer_id.
        No rows where `cuts` has none.
    """
    wide = cuts.aggregate(
        **{
            f"{measure}_{score}": cuts.lower_bound.max(where=(cuts.measure == measure) & (cuts.score == score))
            for measure in MEASURES
            for score in range(1, SCORES + 1)
        },
        cut_points=cuts.count(),
    )
    joined = measures.cross_join(wide.filter(wide.cut_points > 0))
    scored = joined.select(
        *measures.columns,
        **{_SCORE_COLUMNS[measure]: _score(joined, measure) for measure in MEASURES},
    )
    return scored.mutate(rfm_segment=rfm_segment(scored.r_score, scored.f_score, scored.m_score)).order_by(
        "customer_id"
    )


def rfm_segment(r_score: ir.Value, f_score: ir.Value, m_score: ir.Value) -> ir.StringValue:
    """Name of the grid cell of a recency score and the mean of frequency and monetary score, halves rounded down."""
    fm_score = ((f_score + m_score) // 2).cast("int64")
    cells = [
        ((r_score == recency) & (fm_score == position), name)
        for recency, names in SEGMENT_GRID.items()
        for position, name in enumerate(names, start=1)
    ]
    return ibis.cases(*cells)


def value_tiers(measures: ir.Table) -> ir.Table:
    """Value tier of each customer by the 80/20 rule.

    Customers are ranked by monetary value, ties by customer_id. Tier A is the shortest list from the top that makes up
    at least 80% of all positive value, tier B carries on to at least 95%, tier C is the rest and everyone whose
    returns left no positive value.

    Args:
        measures: customer_id and monetary (decimal), one row per customer.

    Returns:
        One row per customer, by customer_id: customer_id, value_tier.
    """
    zero = ibis.literal(0).cast(MONEY)
    valued = measures.select("customer_id", value=ibis.greatest(measures.monetary.coalesce(zero), zero))
    ranked = valued.select(
        "customer_id",
        "value",
        reached=valued.value.sum().over(ibis.cumulative_window(order_by=[valued.value.desc(), valued.customer_id])),
        total=valued.value.sum().over(ibis.window()),
    )
    # the value above a customer decides: the one who crosses the line still belongs to the tier
    above = ranked.reached - ranked.value
    tiers = [(above * 100 < ranked.total * percent, tier) for tier, percent in TIER_SHARES]
    tier = ibis.cases((ranked.value <= 0, "C"), *tiers, else_="C")
    return ranked.select("customer_id", value_tier=tier).order_by("customer_id")


def _long(measures: ir.Table, measure: str) -> ir.Table:
    """One measure as (measure, value, as_of) rows."""
    return measures.select(measure=ibis.literal(measure), value=measures[measure].cast(MONEY), as_of=measures.as_of)


def _cut_row(bounds: ir.Table, fifth: int) -> ir.Table:
    """The row of one fifth of each measure; fifth 0 holds the smallest values."""
    unbounded = ibis.null(MONEY)
    best_is_small = bounds.measure == "recency_days"
    return bounds.select(
        measure=bounds.measure,
        score=best_is_small.ifelse(SCORES - fifth, fifth + 1).cast("int64"),
        lower_bound=bounds[f"upper_{fifth - 1}"] if fifth else unbounded,
        upper_bound=bounds[f"upper_{fifth}"] if fifth < SCORES - 1 else unbounded,
        customers=bounds[f"customers_{fifth}"],
        fitted_on=bounds.fitted_on,
    )


def _score(joined: ir.Table, measure: str) -> ir.Value:
    """One plus the number of cut points the measure passes; for recency, five less that number."""
    cut_points = [joined[f"{measure}_{score}"] for score in range(1, SCORES + 1)]
    value = joined[measure].cast(MONEY)
    # the open end of a measure is null and compares as not passed; plain literals would be narrower in the engine
    # than Ibis takes them to be, and so in files that no table with types was kept for
    passed = sum(
        ((value > cut_point).fill_null(False).cast("int64") for cut_point in cut_points), start=ibis.literal(0)
    )
    score = SCORES - passed if measure == "recency_days" else 1 + passed
    return score.cast("int64")
