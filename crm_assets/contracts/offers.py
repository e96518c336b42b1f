"""Contracts of cross-sell offers and of the next best action.

Belongs here: what to offer to a customer by rules of baskets, what to do next. Not here: how they are computed
(`mining/offers.py`, `mining/next_best_action.py`), the rules (`basket.py`), lists of a model (`recommendations.py`).
"""

from crm_assets.contracts.basket import LEVELS
from crm_assets.contracts.model import Column, Table

KINDS = ("missing item", "rule")
"""Whether the customer holds all but one of a frequent combination, or one item that another often comes with."""

CROSS_SELL_OFFERS = Table(
    name="cross_sell_offers",
    description="What to offer to each customer by the rules of baskets, the most worth first, each with its reason.",
    key=("as_of", "customer_id", "rank"),
    columns=(
        Column("as_of", "date", "Newest day with an order, the last day seen.", required=True),
        Column("customer_id", "string", "The person: the customer_id of the earliest record.", required=True),
        Column("rank", "int64", "Place in the customer's list, from 1.", required=True, minimum=1),
        Column("level", "string", "Level of the product tree the item is of.", required=True, allowed=LEVELS),
        Column("item", "string", "What to offer: not bought within the repeat window.", required=True),
        Column("kind", "string", "Which kind of rule speaks for it.", required=True, allowed=KINDS),
        Column("antecedents", "array<string>", "Items of the rule, all bought within the history.", required=True),
        Column("confidence", "float64", "Share of baskets with the antecedents that have the item.", True, 0, 1),
        Column("lift", "float64", "Confidence over the item's own support; above 1.", required=True, minimum=0),
        Column("holdout_lift", "float64", "Lift in later baskets; null where none were held out.", minimum=0),
        Column(
            "expected_value",
            "float64",
            "Sales of the item in a basket with the antecedents, above those by chance, workspace currency.",
            required=True,
            minimum=0,
        ),
        Column("reason", "string", "Why, in a few words for people.", required=True),
    ),
    notes="Length of the lists, history and repeat window are settings.",
)

NEXT_ACTIONS = ("retention", "cross_sell", "recommendation", "leave_alone")
"""What may be done with a customer; the earlier one is taken where two are worth the same."""

NEXT_BEST_ACTION = Table(
    name="next_best_action",
    description="What to do next with each customer: what is worth most, within the caps of contacts, and why.",
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Newest day of the tables it rests on, the last day seen.", required=True),
        Column("customer_id", "string", "The person: the customer_id of the earliest record.", required=True),
        Column("action", "string", "What to do.", required=True, allowed=NEXT_ACTIONS),
        Column("detail", "string", "The retention action, the item or the product_id; null where left alone."),
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
