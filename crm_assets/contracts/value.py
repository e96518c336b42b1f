"""Contract of what customers are worth.

Belongs here: the customer value mart. Not here: how it is computed (`mining/customer_value.py`), the leaderboard
(`churn.py`).
"""

from crm_assets.contracts.model import Column, Shape, Table

CUSTOMER_VALUE = Table(
    name="customer_value",
    description="What each customer is expected to be worth over the horizon, as of a day.",
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
        Column("p_alive", "float64", "Probability of still being a customer, by the MBG/NBD model.", True, 0, 1),
        Column("expected_orders", "float64", "Days with an order expected within the horizon.", True, 0),
        Column(
            "expected_order_value",
            "float64",
            "Amount expected on a day with an order, net of returns, workspace currency.",
            True,
            0,
        ),
        Column("clv", "float64", "Spend expected within the horizon, discounted, workspace currency.", True, 0),
        Column("clv_low", "float64", "Lower end of the 90% interval of that spend as it may turn out.", True, 0),
        Column("clv_high", "float64", "Upper end of it; an interval always holds clv.", True, 0),
    ),
    notes="Horizon and discount rate are settings. Revenue, not margin.",
)
