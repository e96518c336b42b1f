"""Contracts of cross-sell and up-sell offers and of the next best action.

Belongs here: what to offer to a customer by rules of baskets or by price, what to do next. Not here: how they are computed
(`mining/offers.py`, `mining/up_sell*.py`, `mining/next_best_action.py`), the rules (`basket.py`), lists of a model
(`recommendations.py`).
"""

from dataclasses import replace

from crm_assets.contracts.basket import LEVELS
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.model import Column, Table

MISSING_ITEM, RULE, NEXT_PURCHASE = "missing item", "rule", "next purchase"
KINDS = (MISSING_ITEM, RULE, NEXT_PURCHASE)
"""Whether the customer holds all but one of a frequent combination, or one item that another often comes with or follows."""

CROSS_SELL_OFFERS = Table(
    name="cross_sell_offers",
    description="What to offer to each customer by rules of purchases, the most worth first, each with its reason.",
    key=("as_of", "customer_id", "rank"),
    columns=(
        Column("as_of", "date", "Newest day with an order, the last day seen.", required=True),
        Column("customer_id", "string", "The person: the customer_id of the earliest record.", required=True),
        Column("rank", "int64", "Place in the customer's list, from 1.", required=True, minimum=1),
        Column("level", "string", "Level of the product tree the item is of.", required=True, allowed=LEVELS),
        Column("item", "string", "What to offer: not bought within the repeat window.", required=True),
        Column("kind", "string", "Which kind of rule speaks for it.", required=True, allowed=KINDS),
        Column("antecedents", "array<string>", "Items of the rule, all bought within the history.", required=True),
        Column(
            "confidence",
            "float64",
            "Share of baskets with the antecedents that have the item; of a next purchase, of customers who buy it soon.",
            True,
            0,
            1,
        ),
        Column("lift", "float64", "Confidence over what chance gives; above 1.", required=True, minimum=0),
        Column("holdout_lift", "float64", "Lift in later days; null where none were held out.", minimum=0),
        Column(
            "expected_value",
            "float64",
            "Sales of the item within 30 days if the customer orders, above those to all who lack it, workspace currency.",
            required=True,
            minimum=0,
        ),
        Column("expected_sales", "float64", "The same with what all who lack it spend.", required=True, minimum=0),
        Column("reason", "string", "Why, in a few words for people.", required=True),
    ),
    notes="Length of the lists, history and repeat window are settings.",
)

TIERS = ("value", "standard", "premium")
"""Thirds of the units of a kind that are sold, by price."""

PREMIUM, BIGGER = "premium", "bigger pack"
STEP_KINDS = (PREMIUM, BIGGER)
"""Whether a step is of a higher tier with about as much in it, or of the same brand with more in it."""

UP_SELL_OFFERS = Table(
    name="up_sell_offers",
    description="What to offer to each customer that costs more than what they buy of the kind, the most worth first.",
    key=("as_of", "customer_id", "rank"),
    columns=(
        Column("as_of", "date", "Newest day with an order, the last day seen.", required=True),
        Column("customer_id", "string", "The person: the customer_id of the earliest record.", required=True),
        Column("rank", "int64", "Place in the customer's list, from 1.", required=True, minimum=1),
        Column("category", "string", "Category of both products."),
        Column("subcategory", "string", "Product type of both products.", required=True),
        Column("kind", "string", "A higher tier, or more of the same brand.", required=True, allowed=STEP_KINDS),
        Column("from_product_id", "string", "What the customer usually buys of the type.", required=True),
        Column("product_id", "string", "What to offer: not bought within the repeat window.", required=True),
        Column("from_tier", "string", "Tier of what is bought, by price.", required=True, allowed=TIERS),
        Column("tier", "string", "Tier of what is offered.", required=True, allowed=TIERS),
        Column("from_price", "float64", "Mean price of a unit of what is bought, workspace currency.", True, 0),
        Column("price", "float64", "Mean price of a unit of what is offered.", required=True, minimum=0),
        Column(
            "units",
            "float64",
            "Units that it takes the place of: those bought at once, or one pack.",
            required=True,
            minimum=0,
        ),
        Column("extra", "float64", "What an order would bring more: units times price less from_price.", True, 0),
        Column(
            "probability", "float64", "Estimated probability that a step of the kind is taken in 30 days.", True, 0, 1
        ),
        Column("expected_value", "float64", "Probability times extra.", required=True, minimum=0),
        Column("moved_up_before", "boolean", "The customer bought of a higher step of the type before.", required=True),
        Column("spend_fifth", "int64", "Fifth of the customers by what they spent, 5 the highest.", True, 1, 5),
        Column("reason", "string", "Why, in a few words for people.", required=True),
    ),
    notes="Length of the lists, history and repeat window are settings.",
)

UP_SELL_LEADERBOARD = replace(
    MODEL_LEADERBOARD,
    name="leaderboard_up_sell",
    description="How well each candidate told who would take the step above, on later days than it learnt from.",
)

NEXT_ACTIONS = ("retention", "cross_sell", "up_sell", "recommendation", "campaign", "leave_alone")
"""What may be done with a customer; the earlier one is taken where two are worth the same."""

NEXT_BEST_ACTION = Table(
    name="next_best_action",
    description="What to do next with each customer: what is worth most, within the caps of contacts, and why.",
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Newest day of the tables it rests on, the last day seen.", required=True),
        Column("customer_id", "string", "The person: the customer_id of the earliest record.", required=True),
        Column("action", "string", "What to do.", required=True, allowed=NEXT_ACTIONS),
        Column(
            "detail", "string", "The retention action, item, product_id or kind of campaign; null where left alone."
        ),
        Column(
            "expected_value",
            "float64",
            "Profit that the contact is expected to bring, less its cost, workspace currency; 0 where left alone.",
            required=True,
            minimum=0,
        ),
        Column(
            "rank", "int64", "Place among those to contact, the most worth first; null where left alone.", minimum=1
        ),
        Column("reason", "string", "Why, in a few words for people.", required=True),
    ),
    notes="Caps of contacts, margin and take rate are settings. Those held out of retention are left alone.",
)
