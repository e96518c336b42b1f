"""The contracts of rules of items: within a basket, and one after another.

Belongs here: the columns of the marts, declared once. Not here: how rules are mined (`mining/cross_sell.py`,
`mining/sequential_rules.py`).
"""

from crm_assets.contracts.model import Column, Table

ITEM_OF_LEVEL = {"product": "product_id", "product_type": "subcategory", "category": "category", "brand": "brand"}
"""What an item of a rule may be, and the column of a product that says which one it is."""

LEVELS = tuple(ITEM_OF_LEVEL)

FALSE_DISCOVERY_RATE = 0.05
"""Share of false rules that is put up with among those that count as found: the highest q-value of these."""

CROSS_SELL_RULES = Table(
    name="cross_sell_rules",
    description="Which products, product types, categories and brands are bought together: rules of baskets.",
    key=("level", "antecedents", "consequents"),
    columns=(
        Column("level", "string", "What the items are.", required=True, allowed=LEVELS),
        Column("antecedents", "array<string>", "Items of the basket so far, sorted.", required=True),
        Column("consequents", "array<string>", "Items to suggest, sorted.", required=True),
        Column(
            "support",
            "float64",
            "Share of baskets with antecedents and consequents.",
            required=True,
            minimum=0,
            maximum=1,
        ),
        Column(
            "confidence",
            "float64",
            "Share of the baskets with the antecedents that have the consequents too.",
            required=True,
            minimum=0,
            maximum=1,
        ),
        Column(
            "lift",
            "float64",
            "Confidence over the consequents' own support; above 1: together more often than by chance.",
            required=True,
            minimum=0,
        ),
        Column(
            "leverage",
            "float64",
            "Support less the support expected by chance.",
            required=True,
            minimum=-1,
            maximum=1,
        ),
        Column(
            "conviction",
            "float64",
            "How much more often the rule would fail by chance than it does; null when it never fails (confidence 1).",
            minimum=0,
        ),
        Column("baskets", "int64", "Baskets with antecedents and consequents.", required=True, minimum=1),
        Column(
            "p_value",
            "float64",
            "One-sided Fisher exact test that each antecedent makes the consequents likelier, the largest of them.",
            required=True,
            minimum=0,
            maximum=1,
        ),
        Column(
            "q_value",
            "float64",
            "False discovery rate of keeping this rule and all below it, over all possible rules (Benjamini-Hochberg).",
            required=True,
            minimum=0,
            maximum=1,
        ),
        Column(
            "holdout_lift",
            "float64",
            "Lift in the later baskets held out of mining; null when either side is never bought there or none were.",
            minimum=0,
        ),
        Column("antecedent_length", "int64", "Items in the antecedents.", required=True, minimum=1),
        Column("consequent_length", "int64", "Items in the consequents.", required=True, minimum=1),
        Column("antecedent_baskets", "int64", "Baskets with the antecedents.", required=True, minimum=1),
        Column("consequent_baskets", "int64", "Baskets with the consequents.", required=True, minimum=1),
        Column("mined_baskets", "int64", "Baskets the rule was mined on.", required=True, minimum=1),
        Column(
            "holdout_baskets",
            "int64",
            "Held-out baskets with antecedents and consequents; null when none were held out.",
            minimum=0,
        ),
        Column(
            "is_redundant",
            "boolean",
            "A shorter rule is as good: the q-value of a rule with several antecedents is above 0.05.",
            required=True,
        ),
        Column(
            "expected_value",
            "float64",
            "Sales of the consequents above chance in a basket with the antecedents, workspace currency.",
            required=True,
        ),
    ),
)

SEQUENTIAL_RULES = Table(
    name="sequential_rules",
    description="What customers who bought one thing buy next: items that follow another more often than by chance.",
    key=("level", "antecedent", "consequent"),
    columns=(
        Column("level", "string", "What the items are.", required=True, allowed=LEVELS),
        Column("antecedent", "string", "Item that was bought before.", required=True),
        Column("consequent", "string", "Item to suggest: not bought before, bought after.", required=True),
        Column("within_days", "int64", "Days after in which it was bought.", required=True, minimum=1),
        Column("customers", "int64", "Customers with the antecedent and without the consequent.", True, minimum=1),
        Column("followers", "int64", "Those of them who then bought the consequent.", required=True, minimum=0),
        Column("confidence", "float64", "Followers among these customers.", required=True, minimum=0, maximum=1),
        Column(
            "expected_confidence",
            "float64",
            "The same share of customers who bought as much, with the antecedent or without.",
            required=True,
            minimum=0,
            maximum=1,
        ),
        Column("lift", "float64", "Confidence over what is expected; above 1.", required=True, minimum=0),
        Column("p_value", "float64", "One-sided Mantel-Haenszel test over strata of activity.", True, 0, 1),
        Column(
            "q_value",
            "float64",
            "False discovery rate of keeping this rule and all below it, over all pairs tested (Benjamini-Hochberg).",
            required=True,
            minimum=0,
            maximum=1,
        ),
        Column(
            "holdout_lift",
            "float64",
            "Lift in the later days the rule was not found in; null where there were none or nobody is expected to follow.",
            minimum=0,
        ),
        Column(
            "expected_value",
            "float64",
            "Sales of the consequent above chance to a customer who has the antecedent, workspace currency.",
            required=True,
        ),
    ),
    notes="Days are settings. Only rules with a q-value of at most 0.05 and a lift of at least 1.1 are kept.",
)
