"""Contract of what to offer to whom.

Belongs here: the recommendations mart. Not here: how it is computed (`mining/recommender.py`), the leaderboard
(`churn.py`).
"""

from crm_assets.contracts.model import Column, Shape, Table

METHODS = ("repeat purchase", "bought together", "alike", "popular")
"""What speaks most for a recommendation."""

RECOMMENDATIONS = Table(
    name="recommendations",
    description="Products to offer to each customer, the most likely first, each with its reason.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id", "rank"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column(
            "customer_id",
            "string",
            "A known person, with orders or without: the customer_id of the earliest record.",
            required=True,
        ),
        Column("rank", "int64", "Place in the customer's list, from 1.", required=True, minimum=1),
        Column("product_id", "string", "In the catalogue on the day, and sold or added lately.", required=True),
        Column("score", "float64", "Estimated probability that the customer buys it within the horizon.", True, 0, 1),
        Column("method", "string", "What speaks most for it.", required=True, allowed=METHODS),
        Column("reason", "string", "Why, in a few words for people.", required=True),
    ),
    notes="Length of the lists, repeat window, share of new products and horizon are settings.",
)
