"""Contract of who buys a chosen product, product type, category or brand next.

Belongs here: the columns. Not here: how they are computed (`mining/propensity.py`), lists of products for everyone
(`recommendations.py`).
"""

from crm_assets.contracts.basket import LEVELS
from crm_assets.contracts.model import Column, Shape, Table

PROPENSITY_SCORES = Table(
    name="propensity_scores",
    description="How likely each customer is to buy a chosen item soon, the likeliest first.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "level", "item", "customer_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column("level", "string", "What the item is.", required=True, allowed=LEVELS),
        Column("item", "string", "A chosen product, product type, category or brand.", required=True),
        Column(
            "customer_id",
            "string",
            "A person with at least one order: the customer_id of the earliest record.",
            required=True,
        ),
        Column("probability", "float64", "Probability of buying the item within the horizon.", True, 0, 1),
        Column("rank", "int64", "Place among the customers, from 1.", required=True, minimum=1),
        Column("bought_days", "int64", "Days on which the customer bought the item so far.", required=True, minimum=0),
        Column("last_bought_on", "date", "The newest of them; null without any."),
        Column("reason", "string", "What speaks for it, in a few words for people.", required=True),
        Column("model_id", "string", "Model that scored: its name and the month it was trained for.", required=True),
    ),
    notes="Items and horizon are settings. Each item's model stands beside the customer's own frequency in "
    "`quality.leaderboard_propensity`.",
)
