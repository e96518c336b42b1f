"""Contracts of why: what moved revenue, what campaigns brought, and what drives churn and spend.

Belongs here: the diagnostic tables of behaviour. Not here: how they are computed (`mining/revenue_changes.py`,
`campaign_effects.py`, `drivers.py`), what happened (`behaviour.py`).
"""

from crm_assets.contracts.model import MONEY, Column, Shape, Table

PREVIOUS_MONTH, LAST_YEAR = "previous_month", "same_month_last_year"
COMPARISONS = (PREVIOUS_MONTH, LAST_YEAR)

PRICE_VOLUME_MIX, CUSTOMERS = "price_volume_mix", "customers"
DECOMPOSITIONS = (PRICE_VOLUME_MIX, CUSTOMERS)

EFFECTS = {
    PRICE_VOLUME_MIX: ("price", "volume", "mix", "new_products", "lost_products", "other"),
    CUSTOMERS: ("customers", "orders_per_customer", "order_value", "anonymous"),
}
"""Effects of each decomposition, which add up to the change of revenue."""

BEHAVIOUR_REVENUE_CHANGES = Table(
    name="behaviour_revenue_changes",
    description="What moved revenue between two months: price, volume and mix, and customers, orders and order value.",
    key=("compared_with", "decomposition", "category", "starts_on", "effect"),
    columns=(
        Column("compared_with", "string", "Which earlier month it is compared with.", True, allowed=COMPARISONS),
        Column("decomposition", "string", "Into what the change is taken apart.", True, allowed=DECOMPOSITIONS),
        Column("category", "string", "all, or one category of price_volume_mix.", required=True),
        Column("starts_on", "date", "First day of the month.", required=True),
        Column("base_starts_on", "date", "First day of the earlier month.", required=True),
        Column(
            "effect",
            "string",
            "What moved revenue.",
            required=True,
            allowed=tuple(effect for effects in EFFECTS.values() for effect in effects),
        ),
        Column("amount", MONEY, "By how much, workspace currency.", required=True),
        Column("base_revenue", MONEY, "Revenue of the earlier month, net of returns.", required=True),
        Column("revenue", MONEY, "Revenue of the month, net of returns.", required=True),
    ),
    notes="Complete months only. The effects of a decomposition, category and month add up to revenue less base_revenue, "
    "to the last digit. Price: the same products at other prices. Volume: more or fewer units of a category, at its "
    "earlier mean price. Mix: dearer or cheaper products within a category. New and lost products: sold in one of the "
    "months only. Other: products with no net units in one of the months. Price, volume and mix of all are the sums of "
    "the categories, so that units of unlike things are not added up.",
)

RANDOMISED, MATCHED = "randomised", "matched"

MEASURES = ("orders", "spend")
"""What an effect is measured in, for each customer: days with an order, and spend net of returns."""

BEHAVIOUR_CAMPAIGN_EFFECTS = Table(
    name="behaviour_campaign_effects",
    description="What each campaign brought, against a randomised control or else against matched customers.",
    key=("campaign_id", "measure"),
    columns=(
        Column("campaign_id", "string", "Campaign.", required=True, references="campaigns.campaign_id"),
        Column("measure", "string", "Days with an order, or spend, of a customer.", required=True, allowed=MEASURES),
        Column("kind", "string", "Kind of campaign."),
        Column("starts_on", "date", "First day of contact.", required=True),
        Column("days", "int64", "Length of the window from then on, and of the one before.", required=True, minimum=1),
        Column("method", "string", "How customers were compared.", required=True, allowed=(RANDOMISED, MATCHED)),
        Column("contacted", "int64", "Customers contacted within the window.", required=True),
        Column("compared", "int64", "Of these, those in the comparison.", required=True),
        Column("controls", "int64", "Customers they are compared with.", required=True),
        Column("mean_contacted", "float64", "Mean in the window of the contacted."),
        Column("mean_controls", "float64", "Mean in the window of the controls."),
        Column("effect", "float64", "Difference a contact makes, for each contacted customer."),
        Column("low", "float64", "Lower end of its 95% bootstrap interval."),
        Column("high", "float64", "Upper end of it."),
        Column(
            "placebo", "float64", "The same difference before any contact: far from 0, the effect is not to be trusted."
        ),
        Column("placebo_low", "float64", "Lower end of its 95% bootstrap interval."),
        Column("placebo_high", "float64", "Upper end of it."),
        Column(
            "imbalance", "float64", "Largest standardised difference of a feature after matching; under 0.1 is good."
        ),
        Column("contacted_elsewhere", "float64", "Share of the contacted whom another campaign reached meanwhile."),
        Column("note", "string", "What to bear in mind.", required=True),
    ),
    notes="Campaigns whose windows, the one before and the one from the first contact on, lie within the data. With a "
    "randomised control, effect is the difference of means. Without one it is observational: each contacted customer is "
    "compared with one who was not, alike on the day before, and effect is the difference of their changes between the "
    "two windows.",
)

CHURN, SPEND = "churn", "spend"

BEHAVIOUR_DRIVERS = Table(
    name="behaviour_drivers",
    description="What drives churn and spend in the models of a day: predictions over the range of each sign.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "outcome", "rank", "level"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column("outcome", "string", "What is predicted.", required=True, allowed=(CHURN, SPEND)),
        Column("rank", "int64", "1 for the driver that moves predictions most.", required=True, minimum=1),
        Column("driver", "string", "Signs that speak of one thing, such as orders of several windows.", required=True),
        Column("feature", "string", "The sign whose levels are given.", required=True),
        Column("label", "string", "The same in words.", required=True),
        Column("level", "float64", "Share of customers below this level of it.", True, 0, 1),
        Column("value", "float64", "The sign at this level."),
        Column("prediction", "float64", "Mean prediction if every customer had it.", required=True),
        Column("effect", "float64", "The same less the mean prediction as customers are.", required=True),
        Column("customers", "int64", "Customers the means are of.", required=True, minimum=1),
        Column("model_id", "string", "Model: its name and the month it was trained for.", required=True),
    ),
    notes="Churn: probability of no order within the horizon, of active customers. Spend: expected within 90 days, workspace "
    "currency, of customers with an order. Partial dependence: all signs of a driver are set to what customers around the "
    "level have, and everything else stays. It says what the model makes of them, not what would happen if one changed "
    "them.",
)
