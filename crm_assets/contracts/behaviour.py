"""Contracts of what customers do: sales, cohorts, repeat rates and the time between orders.

Belongs here: the descriptive tables of behaviour. Not here: how they are computed (`mining/behaviour_*.py`), why revenue
moves (`diagnosis.py`), what customers will do (`purchases.py`).
"""

from crm_assets.contracts.model import MONEY, Column, Table

PERIODS = ("day", "week", "month")
"""Weeks begin on Monday."""

TOTAL, REGION, CHANNEL, CATEGORY = "total", "region", "channel", "category"
DIMENSIONS = (TOTAL, REGION, CHANNEL, CATEGORY)
"""By what sales are told apart; each adds up to the same revenue."""

ALL, UNKNOWN = "all", "unknown"
"""Value of the dimension total, and of what has no region, channel or category."""

BEHAVIOUR_SALES = Table(
    name="behaviour_sales",
    description="Orders, revenue, baskets and customers of each day, week and month, by region, channel and category.",
    key=("period", "dimension", "value", "starts_on"),
    columns=(
        Column("period", "string", "Length of the period.", required=True, allowed=PERIODS),
        Column("dimension", "string", "By what sales are told apart.", required=True, allowed=DIMENSIONS),
        Column("value", "string", "Which one: all for the total, unknown where there is none.", required=True),
        Column("starts_on", "date", "First day of the period.", required=True),
        Column("is_complete", "boolean", "Every day of the period lies within the data.", required=True),
        Column("orders", "int64", "Orders with a line that is not a return, each day's.", required=True),
        Column("lines", "int64", "Their lines that are not returns.", required=True),
        Column("units", MONEY, "Units, net of returns.", required=True),
        Column("revenue", MONEY, "Amount paid, net of returns, workspace currency.", required=True),
        Column("returned", MONEY, "Amount given back for returns, workspace currency.", required=True),
        Column("anonymous_orders", "int64", "Of the orders, those without a customer.", required=True),
        Column("customers", "int64", "Customers who ordered.", required=True),
        Column("new_customers", "int64", "Of these, who placed their first order of all.", required=True),
        Column("returning_customers", "int64", "Of these, who had ordered before.", required=True),
        Column("new_customer_revenue", MONEY, "Revenue of those new in the period, net of returns.", required=True),
        Column("order_value", "float64", "Revenue per order; null without orders."),
        Column("basket_lines", "float64", "Lines per order; null without orders."),
        Column("orders_per_customer", "float64", "Orders of customers over customers; null without any."),
    ),
    notes="Revenue, orders and lines of days add up to those of weeks and months, and revenue, lines and units of a "
    "dimension to the total. Customers do not: one may buy on several days and in several categories, nor do orders "
    "over categories. Periods without a sale have no row. Categories, regions and persons are those known on the newest "
    "day.",
)

BEHAVIOUR_COHORTS = Table(
    name="behaviour_cohorts",
    description="Retention and value of the customers whose first order fell into a month, month by month since.",
    key=("cohort_month", "months_since"),
    columns=(
        Column("cohort_month", "date", "Month of the first order, its first day.", required=True),
        Column("months_since", "int64", "Months since that month; 0 is the month itself.", required=True),
        Column("is_complete", "boolean", "Every day of the month lies within the data.", required=True),
        Column("customers", "int64", "Customers of the cohort.", required=True),
        Column("active_customers", "int64", "Of these, who ordered in the month.", required=True),
        Column("retention", "float64", "Their share.", required=True, minimum=0, maximum=1),
        Column("orders", "int64", "Orders of the cohort in the month.", required=True),
        Column("revenue", MONEY, "Its revenue in the month, net of returns, workspace currency.", required=True),
        Column("cumulative_revenue", MONEY, "Its revenue up to the end of the month.", required=True),
        Column("value_per_customer", "float64", "Cumulative revenue over the customers of the cohort.", required=True),
    ),
    notes="Where the data begins in the middle of a business, the first cohorts hold customers who ordered long before.",
)

BEHAVIOUR_REPEATS = Table(
    name="behaviour_repeats",
    description="Share of customers who placed a second, third, ... order within so many days of their first.",
    key=("order_number", "days"),
    columns=(
        Column("order_number", "int64", "Which order: 2 is the second.", required=True, minimum=2),
        Column("days", "int64", "Days since the first order.", required=True, minimum=1),
        Column("at_risk", "int64", "Customers seen so long who had not placed it before.", required=True),
        Column("ordered", "int64", "Of these, who placed it on this day.", required=True),
        Column("share", "float64", "Share who placed it by then, by Kaplan and Meier.", True, 0, 1),
        Column("low", "float64", "Lower end of its 95% interval.", True),
        Column("high", "float64", "Upper end of it.", True),
    ),
    notes="An order is a day with an order. Customers who are too young to tell count for as long as they were seen.",
)

BEHAVIOUR_GAPS = Table(
    name="behaviour_gaps",
    description="How many days pass between one order of a customer and the next.",
    key=("days",),
    columns=(
        Column("days", "int64", "Days.", required=True, minimum=0),
        Column("gaps", "int64", "Gaps of this length that a next order ended.", required=True),
        Column("share", "float64", "Share of all ended gaps.", True, 0, 1),
        Column("cumulative_share", "float64", "Share of all ended gaps that are no longer.", True, 0, 1),
        Column("open_gaps", "int64", "Customers whose last order is so many days ago.", required=True),
        Column(
            "returned_share",
            "float64",
            "Share of orders followed by another within so many days, gaps that are still open counted as long as seen.",
            True,
            0,
            1,
        ),
    ),
    notes="An order is a day with an order. Short gaps end first, so cumulative_share tells of a young history more than "
    "is true; returned_share does not.",
)
