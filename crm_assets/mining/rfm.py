"""Recency, frequency and monetary value as of a day, and the value tiers.

Belongs here: RFM measures, cut points, scores and segment names; value tiers. Not here: clustering (`clustering.py`),
the joined mart (`segments.py`), reading or writing tables.

Sources: Hughes, Strategic Database Marketing (1994), for quintile scores of recency, frequency and monetary value.
The eleven names and the ranges they may cover are Putler's grid over R and the mean of F and M, whose ranges overlap;
`SEGMENT_GRID` gives each cell one of the names published for it. Tiers: the ABC analysis of the 80/20 rule (Pareto).
"""

from collections.abc import Sequence
from datetime import date

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.model import MONEY
from crm_assets.contracts.segments import MEASURES, MOST_BINS

SCORES = 5
"""Scores run from 1 to 5 unless other bins are asked for: quintiles."""

EQUAL_WEIGHTS = (1.0, 1.0, 1.0)
"""Weights of recency, frequency and monetary score in the one RFM score."""

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


def rfm_cuts(measures: ir.Table, bins: int = SCORES, weights: Sequence[float] = EQUAL_WEIGHTS) -> ir.Table:
    """Cut points of the three measures that bin customers evenly, to be kept and applied to later days.

    A score covers the values above `lower_bound` up to and including `upper_bound`; the outermost bounds are null, so
    every later value has a score. Equal values share one score: that of the smallest among them when customers are
    counted off in even bins from the smallest value up. Where most customers have one order, all of them score 1 on
    frequency and the next scores stay empty (equal bounds).

    Frequency and monetary value only grow with history, so under old cut points scores drift upwards: refit with the
    models' months, not never.

    Args:
        measures: as from `rfm_measures`, of one as_of day.
        bins: scores of each measure, 2 to `contracts.segments.MOST_BINS`.
        weights: of recency, frequency and monetary score in the RFM score; not negative, one at least positive.

    Returns:
        As many rows per measure as there are bins, by measure and score (`contracts.segments.RFM_CUTS`); no rows from an
        empty table.

    Raises:
        ValueError: bins or weights cannot be used.
    """
    if not 2 <= bins <= MOST_BINS or len(weights) != len(MEASURES) or min(weights) < 0 or not sum(weights):
        raise ValueError(
            f"RFM needs 2 to {MOST_BINS} bins and three weights that are not negative and not all zero, "
            f"not {bins} bins and the weights {list(weights)}."
        )
    values = ibis.union(*(_long(measures, measure) for measure in MEASURES))
    binned = values.select(
        "measure",
        "value",
        "as_of",
        bin=(
            ibis.rank().over(group_by=values.measure, order_by=values.value)
            * bins
            // values.count().over(ibis.window(group_by=values.measure))
        ).cast("int64"),
    )
    bounds = binned.group_by("measure").aggregate(
        fitted_on=binned.as_of.max(),
        **{f"upper_{number}": binned.value.max(where=binned.bin <= number) for number in range(bins - 1)},
        **{f"customers_{number}": (binned.bin == number).sum().cast("int64") for number in range(bins)},
    )
    rows = ibis.union(*(_cut_row(bounds, number, bins) for number in range(bins)))
    by_measure = [
        (rows.measure == measure, weight) for measure, weight in zip(MEASURES, map(float, weights), strict=True)
    ]
    terms = f" {bins} bins, weights {':'.join(f'{weight:g}' for weight in weights)}"
    return rows.mutate(
        weight=ibis.cases(*by_measure).cast("float64"), version=rows.fitted_on.cast("string") + terms
    ).order_by("measure", "score")


def rfm_scores(measures: ir.Table, cuts: ir.Table) -> ir.Table:
    """Scores and segment of each customer under frozen cut points.

    Args:
        measures: as from `rfm_measures`, of any day.
        cuts: as from `rfm_cuts`, of the same or an earlier day.

    Returns:
        The columns of `measures` with r_score, f_score, m_score (1 to the number of bins, the most is best), rfm_segment,
        rfm_score (their weighted mean) and rfm_version, by customer_id. No rows where `cuts` has none.
    """
    wide = cuts.aggregate(
        **{
            f"{measure}_{score}": cuts.lower_bound.max(where=(cuts.measure == measure) & (cuts.score == score))
            for measure in MEASURES
            for score in range(1, MOST_BINS + 1)
        },
        **{f"{measure}_weight": cuts.weight.max(where=cuts.measure == measure) for measure in MEASURES},
        bins=cuts.score.max(),
        rfm_version=cuts.version.max(),
        cut_points=cuts.count(),
    )
    joined = measures.cross_join(wide.filter(wide.cut_points > 0))
    scored = joined.select(
        *measures.columns,
        **{_SCORE_COLUMNS[measure]: _score(joined, measure) for measure in MEASURES},
        **{name: joined[name] for name in ("bins", "rfm_version", *(f"{measure}_weight" for measure in MEASURES))},
    )
    weights = [scored[f"{measure}_weight"] for measure in MEASURES]
    weighted = [scored[_SCORE_COLUMNS[measure]] * scored[f"{measure}_weight"] for measure in MEASURES]
    mean = ((scored.f_score + scored.m_score) // 2).cast("int64")
    segment = rfm_segment(_of_five(scored.r_score, scored.bins), _of_five(mean, scored.bins))
    return scored.select(
        *measures.columns,
        *_SCORE_COLUMNS.values(),
        rfm_segment=segment,
        rfm_score=(weighted[0] + weighted[1] + weighted[2]) / (weights[0] + weights[1] + weights[2]),
        rfm_version=scored.rfm_version,
    ).order_by("customer_id")


def rfm_segment(r_score: ir.Value, fm_score: ir.Value) -> ir.StringValue:
    """Name of the grid cell of a recency score and the mean of frequency and monetary score, each 1 to 5."""
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


def _of_five(score: ir.Value, bins: ir.Value) -> ir.Value:
    """A score of some bins as one of the five that the grid has: the one that the middle of the bin lies in."""
    return ((score * 2 - 1) * SCORES // (bins * 2) + 1).cast("int64")


def _cut_row(bounds: ir.Table, number: int, bins: int) -> ir.Table:
    """The row of one bin of each measure; bin 0 holds the smallest values."""
    unbounded = ibis.null(MONEY)
    best_is_small = bounds.measure == "recency_days"
    return bounds.select(
        measure=bounds.measure,
        score=best_is_small.ifelse(bins - number, number + 1).cast("int64"),
        lower_bound=bounds[f"upper_{number - 1}"] if number else unbounded,
        upper_bound=bounds[f"upper_{number}"] if number < bins - 1 else unbounded,
        customers=bounds[f"customers_{number}"],
        fitted_on=bounds.fitted_on,
    )


def _score(joined: ir.Table, measure: str) -> ir.Value:
    """One plus the number of cut points the measure passes; for recency, the number of bins less that number."""
    cut_points = [joined[f"{measure}_{score}"] for score in range(1, MOST_BINS + 1)]
    value = joined[measure].cast(MONEY)
    # the open end of a measure is null and compares as not passed; plain literals would be narrower in the engine
    # than Ibis takes them to be, and so in files that no table with types was kept for
    passed = sum(
        ((value > cut_point).fill_null(False).cast("int64") for cut_point in cut_points), start=ibis.literal(0)
    )
    score = joined.bins - passed if measure == "recency_days" else 1 + passed
    return score.cast("int64")
