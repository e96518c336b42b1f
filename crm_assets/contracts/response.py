"""Contracts of who answers campaigns: scores of persons, what past campaigns got, when and where to reach whom.

Belongs here: the columns. Not here: how they are computed (`mining/response.py`, `mining/campaign_responses.py`,
`mining/contact_preferences.py`), the leaderboard (`churn.py`).
"""

from crm_assets.contracts.model import Column, Shape, Table

PERSUADABLE, SURE_THING, LOST_CAUSE, DO_NOT_DISTURB = "persuadable", "sure thing", "lost cause", "do not disturb"
UPLIFT_GROUPS = (PERSUADABLE, SURE_THING, LOST_CAUSE, DO_NOT_DISTURB)

RESPONSE_SCORES = Table(
    name="response_scores",
    description="Who answers a campaign of each kind, what a contact changes, and whom to contact.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "campaign_kind", "customer_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column("campaign_kind", "string", "Kind of campaign: `campaigns.kind`, other where it is not told.", True),
        Column("customer_id", "string", "A known person: the customer_id of the earliest record.", required=True),
        Column(
            "response_probability",
            "float64",
            "Calibrated probability of a response within the horizon of a contact.",
            True,
            0,
            1,
        ),
        Column(
            "uplift",
            "float64",
            "What a contact adds to the probability of a response; the average effect where no model of uplift was "
            "promoted, null where no campaign of the kind held customers out.",
            minimum=-1,
            maximum=1,
        ),
        Column(
            "uplift_group",
            "string",
            "What a contact does to the person; null where no model of uplift was promoted.",
            allowed=UPLIFT_GROUPS,
        ),
        Column("is_prospect", "boolean", "Has not bought yet, so the model without purchases scored.", required=True),
        Column("rank", "int64", "Place within the kind, from 1, by what a contact is expected to bring.", True, 1),
        Column("decile", "int64", "Tenth of the persons by rank: 1 is the best.", True, 1, 10),
        Column(
            "expected_profit",
            "float64",
            "Profit expected of what a contact adds, less its cost, workspace currency; null where nobody knows what a "
            "response is worth.",
        ),
        Column(
            "contact",
            "boolean",
            "It pays to contact the person, and the budget suffices; null without a value and a budget.",
        ),
        Column("model_id", "string", "Model that scored: its name and the month it was trained for.", required=True),
    ),
    notes="Cost of a contact, value of a response and budget are settings.",
)

CAMPAIGN_RESPONSES = Table(
    name="campaign_responses",
    description="What each campaign got, of those contacted and of those held out.",
    key=("campaign_id", "is_control"),
    columns=(
        Column("campaign_id", "string", "Campaign.", required=True, references="campaigns.campaign_id"),
        Column("is_control", "boolean", "Those held out, rather than those contacted.", required=True),
        Column("campaign_kind", "string", "Kind of campaign, other where it is not told.", required=True),
        Column("first_day", "date", "First day of contact.", required=True),
        Column("contacts", "int64", "Persons contacted, or held out.", True, 1),
        Column("responses", "int64", "Of these, those who responded.", True, 0),
        Column("buyers", "int64", "Of these, those whose response has a value above 0.", minimum=0),
        Column("response_rate", "float64", "Share who responded.", True, 0, 1),
        Column("response_low", "float64", "Lower end of its 95% interval.", True, 0, 1),
        Column("response_high", "float64", "Upper end of it.", True, 0, 1),
        Column("conversion_rate", "float64", "Share whose response has a value above 0.", False, 0, 1),
        Column("conversion_low", "float64", "Lower end of its 95% interval.", False, 0, 1),
        Column("conversion_high", "float64", "Upper end of it.", False, 0, 1),
        Column("mean_value", "float64", "Value of responses for each contact, workspace currency."),
        Column("value_low", "float64", "Lower end of its 95% interval."),
        Column("value_high", "float64", "Upper end of it."),
    ),
    notes="As of the newest contact or response. Conversion and value are null where no response tells its value. Those contacted and those held out of one experiment may stand under "
    "campaigns of their own.",
)

CONTACT_DIMENSIONS = ("hours", "weekday", "channel")
"""What is told of when and where an interaction was."""

_WHAT = {
    "hours": "Hours of the day, in the workspace's time zone",
    "weekday": "Day of the week",
    "channel": "Channel, as the source names it",
}

CONTACT_PREFERENCES = Table(
    name="contact_preferences",
    description="When and where to reach each customer, by when and where their interactions were.",
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Newest day with an interaction, the last day seen.", required=True),
        Column("customer_id", "string", "The person: the customer_id of the earliest record.", required=True),
        Column("interactions", "int64", "Interactions in the history.", required=True, minimum=1),
        *(
            column
            for name, what in _WHAT.items()
            for column in (
                Column(name, "string", f"{what}: the likeliest for an interaction; null where none is told."),
                Column(f"{name}_share", "float64", "Share of the customer's interactions expected there.", False, 0, 1),
                Column(f"{name}_lift", "float64", "That share over the share of all customers.", minimum=0),
            )
        ),
        Column("reason", "string", "The customer's own counts, in a few words for people.", required=True),
    ),
    notes="The history is a setting. A channel that a customer has not consented to is not named.",
)
