"""Contracts of the segmentation tables.

Belongs here: the frozen RFM cut points and the customer segments mart. Not here: how they are computed
(`mining/rfm.py`, `mining/clustering.py`).
"""

from crm_assets.contracts.model import MONEY, Column, Shape, Table

MEASURES = ("recency_days", "frequency", "monetary")
"""The three RFM measures, in the order people say them."""

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

RFM_CUTS = Table(
    name="rfm_cuts",
    description="The quintile cut points of recency, frequency and monetary value, frozen on the day they were fitted.",
    key=("measure", "score"),
    columns=(
        Column("measure", "string", "Which measure is cut.", required=True, allowed=MEASURES),
        Column(
            "score", "int64", "Score of a value between the bounds, 5 is best.", required=True, minimum=1, maximum=5
        ),
        Column("lower_bound", MONEY, "Values above this; null: no lower bound. Days, orders or workspace currency."),
        Column("upper_bound", MONEY, "Values up to and including this; null: no upper bound."),
        Column("customers", "int64", "Customers with this score on the day of fitting.", required=True, minimum=0),
        Column("fitted_on", "date", "The as_of day whose customers gave the cut points.", required=True),
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
        Column("r_score", "int64", "Recency score, 5 is most recent.", required=True, minimum=1, maximum=5),
        Column("f_score", "int64", "Frequency score, 5 is most frequent.", required=True, minimum=1, maximum=5),
        Column("m_score", "int64", "Monetary score, 5 is highest value.", required=True, minimum=1, maximum=5),
        Column("rfm_segment", "string", "Name of the cell in the RFM grid.", required=True, allowed=RFM_SEGMENTS),
        Column(
            "value_tier",
            "string",
            "A: the first 80% of all value; B: the next 15%; C: the rest.",
            required=True,
            allowed=VALUE_TIERS,
        ),
        Column("cluster_name", "string", "What sets the customer's cluster apart; null before clusters are fitted."),
    ),
)

SEGMENT_TABLES: dict[str, Table] = {table.name: table for table in (RFM_CUTS, CUSTOMER_SEGMENTS)}
"""Segmentation tables by name."""
