"""Contracts of the retention queue and of what it brought.

Belongs here: whom to contact first, and the effect. Not here: how they are computed (`mining/retention.py`,
`mining/retention_outcomes.py`), probabilities and values they rest on.
"""

from crm_assets.contracts.model import Column, Shape, Table

ACTIONS = (
    "remind",
    "recommend",
    "next_order_offer",
    "coupon",
    "change_channel",
    "service_call",
    "welcome",
    "check_in",
)
"""What to do with a customer; `mining/retention.py` says for which reason."""

MEASURES = ("orders", "spend")
"""What the effect of a queue is measured in."""

RETENTION_QUEUE = Table(
    name="retention_queue",
    description="Whom to contact so that they stay: the customers whose value at risk repays a contact, most first.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "rank"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column("rank", "int64", "Place in the queue, 1 is first.", required=True, minimum=1),
        Column("customer_id", "string", "The person: the customer_id of the earliest record.", required=True),
        Column("churn_probability", "float64", "Probability of no order within the horizon.", True, 0, 1),
        Column("clv", "float64", "Remaining value, as in `customer_value`.", required=True),
        Column("value_at_risk", "float64", "Churn probability times remaining value.", required=True, minimum=0),
        Column("action", "string", "What to do, by the first reason.", required=True, allowed=ACTIONS),
        Column("is_holdout", "boolean", "Not to be contacted, so that the effect can be measured.", required=True),
        Column(
            "expected_profit",
            "float64",
            "What a contact is expected to bring, less what it costs, workspace currency.",
            required=True,
            minimum=0,
        ),
        Column("reason", "string", "The first reason of the churn score.", required=True),
    ),
    notes="Who is held out is drawn by customer and month, so it stays for a month and a backfill gives the same.",
)

RETENTION_OUTCOMES = Table(
    name="retention_outcomes",
    description="What the queue of each day brought: those to be contacted beside those held out.",
    key=("as_of", "measure"),
    columns=(
        Column("as_of", "date", "Day of the queue; the horizon after it has passed.", required=True),
        Column("measure", "string", "Orders, or spend net of returns, per customer.", required=True, allowed=MEASURES),
        Column("contacted", "int64", "Customers of the queue who were to be contacted.", required=True, minimum=0),
        Column("held_out", "int64", "Customers of the queue who were held out.", required=True, minimum=0),
        Column("mean_contacted", "float64", "Mean within the horizon of those to be contacted; null without any."),
        Column("mean_held_out", "float64", "Mean within the horizon of those held out; null without any."),
        Column("effect", "float64", "Difference of the means, a contact's effect; null where one is missing."),
        Column("low", "float64", "Lower end of its 95% interval by Welch; null with fewer than two customers a side."),
        Column("high", "float64", "Upper end of its 95% interval by Welch; null likewise."),
    ),
)
