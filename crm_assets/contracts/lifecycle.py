"""Contracts of the lifecycle tables.

Belongs here: the stage of each customer and the moves between stages. Not here: how they are computed
(`mining/lifecycle.py`).
"""

from crm_assets.contracts.model import Column, Shape, Table

PROSPECT, NEW, ACTIVE, AT_RISK, LAPSED, WON_BACK = "prospect", "new", "active", "at_risk", "lapsed", "won_back"

STAGES = (PROSPECT, NEW, ACTIVE, WON_BACK, AT_RISK, LAPSED)
"""From the first contact to the last order; a customer is in one of them on each day."""

UNKNOWN = "unknown"
"""Previous stage, in transitions, of a customer who was not known the day before."""

LIFECYCLE = Table(
    name="lifecycle",
    description="The lifecycle stage of each known customer, as of a day and the day before.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column(
            "customer_id",
            "string",
            "A person who ordered, was contacted or is on file: the customer_id of the earliest record.",
            required=True,
        ),
        Column("stage", "string", "Stage at the end of the day.", required=True, allowed=STAGES),
        Column(
            "previous_stage",
            "string",
            "Stage at the end of the day before; null for who was not known then.",
            allowed=STAGES,
        ),
        Column("recency_days", "int64", "Days since the last day with an order; null before the first.", minimum=0),
        Column(
            "limit_days",
            "int64",
            "Recency beyond which the customer is at risk or, if that already, lapsed; null where nothing is due.",
            minimum=1,
        ),
    ),
    notes="Both stages are by the rules of the day's month and count the persons of the day, so that a move is one of "
    "the customer. The card of `models/lifecycle_rules` states the rules.",
)

LIFECYCLE_TRANSITIONS = Table(
    name="lifecycle_transitions",
    description="How many customers went from which stage to which on a day, those who stayed included.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "previous_stage", "stage"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column(
            "previous_stage",
            "string",
            "Stage at the end of the day before; unknown for who was not known then.",
            required=True,
            allowed=(*STAGES, UNKNOWN),
        ),
        Column("stage", "string", "Stage at the end of the day.", required=True, allowed=STAGES),
        Column("customers", "int64", "Customers who did so.", required=True, minimum=1),
    ),
)
