"""Contracts of what explains, draws from and describes segments.

Belongs here: rules, dimensions, strata, profiles, overlap and the value curve. Not here: who is in which RFM segment, tier
and cluster (`segments.py`), how anything is computed (`mining/`).
"""

from crm_assets.contracts.features import DEMOGRAPHICS
from crm_assets.contracts.model import MONEY, Column, Shape, Table
from crm_assets.contracts.segments import RULE_TARGETS, VALUE_TIERS

AS_OF = Column("as_of", "date", "Last day seen.", required=True)


def _share(name: str, description: str, required: bool = True) -> Column:
    return Column(name, "float64", description, required=required, minimum=0, maximum=1)


SEGMENT_RULES = Table(
    name="segment_rules",
    description="Segments that explain a target, as readable rules from a decision tree, with what became of them later.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "target", "rule_id"),
    columns=(
        AS_OF,
        Column("target", "string", "What the rule explains.", required=True, allowed=RULE_TARGETS),
        Column("rule_id", "int64", "Number of the rule; 1 has the highest rate in training.", required=True, minimum=1),
        Column("rule", "string", "Who belongs to it, in words; every customer meets one rule.", required=True),
        Column("customers", "int64", "Customers who meet it on the day.", required=True, minimum=0),
        _share("share", "Their share of all customers who ordered by the day."),
        Column("train_rows", "int64", "Customers and days it was learnt from.", required=True, minimum=1),
        Column("train_rate", "float64", "Mean of the target there.", required=True),
        Column("train_lift", "float64", "That over the mean of all training rows; null where that is 0."),
        Column(
            "holdout_rows", "int64", "Customers and days held out, later than all training labels.", True, minimum=0
        ),
        Column("holdout_rate", "float64", "Mean of the target there; null without rows."),
        Column("holdout_low", "float64", "Lower end of its 95% interval."),
        Column("holdout_high", "float64", "Upper end of its 95% interval."),
        Column("holdout_lift", "float64", "Rate over the mean of all rows held out; null where that is 0."),
        Column("trained_for", "date", "Month whose rules these are, its first day.", required=True),
    ),
    notes="`value`: spend within `value_holdout_days`, workspace currency. `churn`: share of active customers who "
    "place no order within the churn horizon. `response`: share of those contacted within 30 days who answered within 30 "
    "days of the contact.",
)

DIMENSIONS = ("demographic", "geographic", "behavioural", "psychographic")
"""The four dimensions customers are segmented on."""

LEVELS = ("low", "medium", "high")
"""Thirds of the customers with anything to measure, ties in the lower one."""

GEOGRAPHY = ("city", "region", "country")

CUSTOMER_DIMENSIONS = Table(
    name="customer_dimensions",
    description="Each customer on the demographic, geographic, behavioural and psychographic dimension, as of a day.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id"),
    columns=(
        AS_OF,
        Column(
            "customer_id",
            "string",
            "A person with at least one order: the customer_id of the earliest record.",
            required=True,
            references="customers.customer_id",
        ),
        *(
            Column(name, "string", f"Demographic: `customers.{name}`.")
            for name in DEMOGRAPHICS
            if name not in GEOGRAPHY
        ),
        *(Column(name, "string", f"Geographic: `customers.{name}`.", personal=name == "city") for name in GEOGRAPHY),
        Column("activity", "string", "Behavioural: orders of the last 90 days, in thirds.", allowed=("none", *LEVELS)),
        Column(
            "basket_size", "string", "Behavioural: spend per order of the last 365 days, in thirds.", allowed=LEVELS
        ),
        Column("variety", "string", "Behavioural: categories bought in the last 365 days, in thirds.", allowed=LEVELS),
        Column(
            "spend_trend",
            "string",
            "Behavioural: spend of the last 30 days beside the usual of 90: below 0.75, above 1.25, or between.",
            allowed=("falling", "steady", "rising"),
        ),
        Column("interests", "string", "Psychographic: interests as the source delivered them."),
        Column("favourite_category", "string", "Psychographic: category with most spend in the last 365 days."),
        Column(
            "affinity_category",
            "string",
            "Psychographic: of the customer's three favourite categories the one furthest above its usual share.",
        ),
        Column(
            "category_affinity",
            "float64",
            "Psychographic: its share of the customer's spend over its mean share among customers who favour it; 1 is usual.",
            minimum=0,
        ),
        Column(
            "price_sensitivity",
            "string",
            "Psychographic: share of the list value given as discount in the last 365 days, in thirds.",
            allowed=("none", *LEVELS),
        ),
        Column(
            "promotion_affinity",
            "string",
            "Psychographic: spend on promoted products and orders with a coupon in the last 365 days, in thirds.",
            allowed=("none", *LEVELS),
        ),
        Column(
            "campaign_response",
            "string",
            "Psychographic: whether the customer answered a campaign of the last 365 days; null where none was sent.",
            allowed=("answers", "ignores"),
        ),
        Column(
            "weekday_habit",
            "string",
            "Psychographic: weekend or weekdays, where at least two thirds of the orders fall there, else any day.",
            allowed=("weekdays", "weekend", "any day"),
        ),
        Column(
            "time_habit",
            "string",
            "Psychographic: part of the day with most orders, the earlier one if several.",
            allowed=("night", "morning", "afternoon", "evening"),
        ),
    ),
)

CUSTOMER_STRATA = Table(
    name="customer_strata",
    description="Customers in strata of chosen fields, with a stratified sample drawn to quotas, as of a day.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id"),
    columns=(
        AS_OF,
        Column("customer_id", "string", "The person.", required=True, references="customers.customer_id"),
        Column("stratum", "string", "Values of the setting `strata_fields`, joined by ' / '.", required=True),
        Column("stratum_customers", "int64", "Customers of the stratum.", required=True, minimum=1),
        Column("quota", "int64", "How many of them are drawn.", required=True, minimum=0),
        Column("is_sampled", "boolean", "Whether the customer is drawn.", required=True),
        Column(
            "weight",
            "float64",
            "How many customers of the stratum one who is drawn stands for; null for others.",
            minimum=1,
        ),
    ),
)

SEGMENT_PROFILES = Table(
    name="segment_profiles",
    description="What sets each segment apart from everyone else: size, value, and differences with effect sizes.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "segmentation", "segment", "measure"),
    columns=(
        AS_OF,
        Column("segmentation", "string", "How customers are divided, such as rfm_segment.", required=True),
        Column("segment", "string", "One part of it.", required=True),
        Column("customers", "int64", "Customers of the segment.", required=True, minimum=1),
        _share("share", "Their share of all customers."),
        Column("value", "float64", "Amount so far of the segment, net of returns, workspace currency.", required=True),
        Column("value_share", "float64", "Its share of everyone's amount; null where that is 0."),
        Column("rank", "int64", "Place of the measure by size of effect within the segment.", required=True, minimum=1),
        Column("measure", "string", "Feature or dimension that is compared.", required=True),
        Column("effect", "string", "Which effect size.", required=True, allowed=("cohens_d", "cramers_v")),
        Column(
            "effect_size",
            "float64",
            "Cohen's d (segment less the rest, in pooled standard deviations), or Cramér's V (0 to 1).",
            required=True,
        ),
        Column("segment_mean", "float64", "Mean of the measure in the segment; null for a dimension."),
        Column("rest_mean", "float64", "Mean of the measure in the rest; null for a dimension."),
        Column("typical_level", "string", "Level of a dimension most over-represented in the segment."),
        Column("level_share", "float64", "Share of the segment at that level.", minimum=0, maximum=1),
        Column("rest_level_share", "float64", "Share of the rest at that level.", minimum=0, maximum=1),
    ),
    notes="Cohen's rules of thumb: d of 0.2 is small, 0.5 medium, 0.8 large; V of 0.1, 0.3 and 0.5. Customers without a "
    "value are left out of a measure.",
)

SEGMENT_OVERLAP = Table(
    name="segment_overlap",
    description="How segmentations overlap: customers who are in a segment of one and in a segment of another.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "segmentation", "segment", "other_segmentation", "other_segment"),
    columns=(
        AS_OF,
        Column("segmentation", "string", "One segmentation.", required=True),
        Column("segment", "string", "One of its segments.", required=True),
        Column("other_segmentation", "string", "Another segmentation, later in order.", required=True),
        Column("other_segment", "string", "One of its segments.", required=True),
        Column("customers", "int64", "Customers in both.", required=True, minimum=1),
        _share("share_of_segment", "Their share of the first segment."),
        _share("share_of_other", "Their share of the other one."),
        Column("lift", "float64", "Customers in both over those expected by chance.", required=True, minimum=0),
        _share("jaccard", "Customers in both over customers in either."),
        _share("cramers_v", "Association of the two segmentations as a whole: 0 is none, 1 is complete."),
    ),
    notes="Customers without a segment in one of the two are left out.",
)

VALUE_CURVE = Table(
    name="value_curve",
    description="The Pareto curve: how much of all value the most valuable customers bring, as of a day.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "percent"),
    columns=(
        AS_OF,
        Column("percent", "int64", "Most valuable customers, percent.", required=True, minimum=1, maximum=100),
        Column("customers", "int64", "How many these are, rounded up.", required=True, minimum=1),
        Column("value", MONEY, "What they brought so far, workspace currency; returns above purchases count 0.", True),
        _share("value_share", "Its share of everyone's.", required=False),
        Column("value_tier", "string", "ABC tier of the last of them.", required=True, allowed=VALUE_TIERS),
        Column("least_value", MONEY, "Amount of the last of them, workspace currency.", required=True),
    ),
)

SEGMENTATION_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        SEGMENT_RULES,
        CUSTOMER_DIMENSIONS,
        CUSTOMER_STRATA,
        SEGMENT_PROFILES,
        SEGMENT_OVERLAP,
        VALUE_CURVE,
    )
}
"""Tables by name."""
