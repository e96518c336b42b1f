"""Contract of what customers will do: whether and when they order again, and what they will spend.

Belongs here: the predictions of behaviour. Not here: how they are computed (`mining/purchases.py`), what customers are
worth over a year (`value.py`), who stops ordering (`churn.py`).
"""

from crm_assets.contracts.model import Column, Shape, Table

HORIZONS = (7, 30, 90)
"""Days ahead for which the probability of an order is given; spend is that of the longest."""

BEHAVIOUR_PREDICTIONS = Table(
    name="behaviour_predictions",
    description="Whether and when each customer orders next, and what the customer will spend, as of a day.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column(
            "customer_id",
            "string",
            "A person with at least one order: the customer_id of the earliest record.",
            required=True,
        ),
        *(
            Column(f"p_order_{days}d", "float64", f"Probability of an order within {days} days.", True, 0, 1)
            for days in HORIZONS
        ),
        Column(
            "expected_spend_90d",
            "float64",
            "Spend expected within 90 days, net of returns, workspace currency.",
            True,
            0,
        ),
        Column(
            "next_order_on", "date", "Day by which an order is as likely as not; null where that is over 90 days away."
        ),
        Column("next_order_low", "date", "Day by which one in ten such customers has ordered; null likewise."),
        Column("next_order_high", "date", "Day by which nine in ten have; null likewise."),
        Column("model_id", "string", "Model that predicted: its name and the month it was trained for.", required=True),
    ),
    notes="Each figure is from the champion of `models/purchase_model`, which stands beside its baselines in "
    "`quality.leaderboard_purchases`.",
)
