"""The contract of the cross-sell rules mart.

Belongs here: the columns of the mart, declared once. Not here: how rules are mined (`mining/cross_sell.py`).
"""

from crm_assets.contracts.model import Column, Table

LEVELS = ("product", "product_type", "category", "brand")
"""What an item of a rule may be; `product_type` is the column `products.subcategory`, `product` the `product_id`."""

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
