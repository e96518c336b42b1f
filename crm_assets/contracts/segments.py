"""Contracts of the segmentation tables.

Belongs here: the frozen RFM cut points and the customer segments mart. Not here: how they are computed
(`mining/rfm.py`, `mining/clustering.py`).
"""

from crm_assets.contracts.model import MONEY, Column, Shape, Table

MEASURES = ("recency_days", "frequency", "monetary")
"""The three RFM measures, in the order people say them."""

VALUE, CHURN, RESPONSE = "value", "churn", "response"

RULE_TARGETS = (VALUE, CHURN, RESPONSE)
"""What rules explain: spend to come, leaving, and answering a campaign."""

MOST_BINS = 10
"""Most bins of an RFM measure."""

RFM_SEGMENTS = (
    "champions",
    "loyal",
    "potential_loyalist",
    "new",
    "promising",
    "need_attention",
    "about_to_sleep",
    "at_risk",
    "cant_lose",
    "hibernating",
    "lost",
)
"""Names of the cells of the RFM grid, best first."""

VALUE_TIERS = ("A", "B", "C")
"""Value tiers, most valuable first."""

BASIS_REFIT, BASIS_MONTH, BASIS_UNCHANGED = "refit", "month", "unchanged"

STABILITY_BASES = (BASIS_REFIT, BASIS_MONTH, BASIS_UNCHANGED)
"""What two labelings of customers may be compared on."""

RFM_CUTS = Table(
    name="rfm_cuts",
    description="The cut points of recency, frequency and monetary value, frozen on the day they were fitted.",
    key=("measure", "score"),
    columns=(
        Column("measure", "string", "Which measure is cut.", required=True, allowed=MEASURES),
        Column(
            "score",
            "int64",
            "Score of a value between the bounds, the most is best.",
            True,
            minimum=1,
            maximum=MOST_BINS,
        ),
        Column("lower_bound", MONEY, "Values above this; null: no lower bound. Days, orders or workspace currency."),
        Column("upper_bound", MONEY, "Values up to and including this; null: no upper bound."),
        Column("customers", "int64", "Customers with this score on the day of fitting.", required=True, minimum=0),
        Column("fitted_on", "date", "The as_of day whose customers gave the cut points.", required=True),
        Column("weight", "float64", "Weight of the measure's score in the RFM score.", required=True, minimum=0),
        Column("version", "string", "Names the cut points: day of fitting, bins and weights.", required=True),
    ),
    notes="Equal bounds: ties left no value for this score.",
)

CUSTOMER_SEGMENTS = Table(
    name="customer_segments",
    description="Who each customer is: RFM scores and segment, value tier and cluster, as of a day.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column(
            "customer_id",
            "string",
            "A person with at least one order: the customer_id of the earliest record.",
            required=True,
            references="customers.customer_id",
        ),
        Column("recency_days", "int64", "Days since the last order; 0 is as_of itself.", required=True, minimum=0),
        Column("frequency", "int64", "Orders so far.", required=True, minimum=1),
        Column("monetary", MONEY, "Amount so far net of returns, workspace currency.", required=True),
        Column("r_score", "int64", "Recency score, the highest is most recent.", True, minimum=1, maximum=MOST_BINS),
        Column(
            "f_score", "int64", "Frequency score, the highest is most frequent.", True, minimum=1, maximum=MOST_BINS
        ),
        Column("m_score", "int64", "Monetary score, the highest is most value.", True, minimum=1, maximum=MOST_BINS),
        Column("rfm_segment", "string", "Name of the cell in the RFM grid.", required=True, allowed=RFM_SEGMENTS),
        Column(
            "value_tier",
            "string",
            "A: the first 80% of all value; B: the next 15%; C: the rest.",
            required=True,
            allowed=VALUE_TIERS,
        ),
        Column("cluster_name", "string", "What sets the customer's cluster apart; null before clusters are fitted."),
        Column(
            "rfm_score",
            "float64",
            "Mean of the three scores by the weights of the settings `rfm_weights`.",
            required=True,
            minimum=1,
            maximum=MOST_BINS,
        ),
        Column("rfm_version", "string", "Version of the cut points in `models.rfm_cuts`.", required=True),
        *(
            Column(f"{target}_rule", "int64", f"Rule of `marts.segment_rules` on {target} that the customer meets.")
            for target in RULE_TARGETS
        ),
    ),
)

SEGMENT_STABILITY = Table(
    name="segment_stability",
    description="How far the clusters of a month agree with those of the month before: adjusted Rand index, names kept.",
    key=("segmentation", "basis"),
    columns=(
        Column("segmentation", "string", "Column of `marts.customer_segments`.", required=True),
        Column("basis", "string", "Which labels are compared.", required=True, allowed=STABILITY_BASES),
        Column("customers", "int64", "Customers with both labels.", required=True, minimum=0),
        Column(
            "adjusted_rand",
            "float64",
            "Agreement of the two labels: 1 is the same partition, 0 is chance; null without customers.",
            maximum=1,
        ),
        Column("names_kept", "int64", "Clusters with a name of the month before.", required=True, minimum=0),
        Column("names_new", "int64", "Clusters with a name of their own.", required=True, minimum=0),
    ),
    notes="`refit`: the same customers on the same day, by the fit of the month before and by the new one. `month`: the "
    "same customers a month apart, each day by its own fit. `unchanged`: of these, customers whose standing among all "
    "customers, in standard deviations, moved by at most a quarter in each feature.",
)

SEGMENT_MIGRATION = Table(
    name="segment_migration",
    description="How many customers went from which cluster of the month before to which of the month.",
    key=("segmentation", "previous_segment", "segment"),
    columns=(
        Column("segmentation", "string", "Column of `marts.customer_segments`.", required=True),
        Column("previous_segment", "string", "Cluster by the fit of the month before, as of its day.", required=True),
        Column("segment", "string", "Cluster by the fit of the month, as of its day.", required=True),
        Column("customers", "int64", "Customers of both days.", required=True, minimum=1),
        Column("share", "float64", "Their share of the customers of the previous segment.", True, minimum=0, maximum=1),
    ),
    notes="At most 100,000 customers are looked at, drawn by digest.",
)

SEGMENT_TABLES: dict[str, Table] = {
    table.name: table for table in (RFM_CUTS, CUSTOMER_SEGMENTS, SEGMENT_STABILITY, SEGMENT_MIGRATION)
}
"""Segmentation tables by name."""
