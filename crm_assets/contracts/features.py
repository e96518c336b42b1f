"""The customer-day aggregates and the customer features, and the words people read for each of them.

Belongs here: columns, labels and windows of `customer_days` and `customer_features`, declared once from a small spec.
Not here: how they are computed (`crm_assets.mining.customer_days`, `crm_assets.mining.features`).
"""

from dataclasses import dataclass

from crm_assets.contracts.model import MONEY, Column, Shape, Table

WINDOWS = (7, 14, 30, 60, 90, 180, 365)
"""Lengths in days of the windows that end with, and include, the as_of day."""

TREND_WINDOWS = (30, 90, 180)
"""Windows, in days, over which the slope of daily spend is measured."""

LONG_GAPS = (20, 30)
"""A gap between orders longer than this many days counts as a long one."""

RECENT_GAPS = (3, 5, 10)
"""How many of the latest gaps between orders count as recent; the longest is over the last of these."""

HABIT_DAYS = 365
"""Habits and category shares look back this many days."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
"""In the order of `date.weekday()`."""

DAY_PARTS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
"""Parts of the day: first hour and the hour after the last one."""

TOP_CATEGORIES = 3
"""How many favourite categories are named."""

DEMOGRAPHICS = (
    "age_band",
    "gender",
    "marital_status",
    "education",
    "income_band",
    "occupation",
    "household_size",
    "city",
    "region",
    "country",
)
"""Columns of `customers` carried over as they were valid on the as_of day."""


@dataclass(frozen=True)
class Feature:
    """One measure of a customer, over one or several windows.

    Attributes:
        name: Column name, before `_<days>d` is added for a window.
        dtype: Ibis type.
        description: What it means, with its unit; `{window}` stands for the window's words.
        label: The same in plain words, as people read it in a reason; `{window}` likewise.
        required: No nulls.
        minimum: Smallest valid value.
        maximum: Largest valid value.
    """

    name: str
    dtype: str
    description: str
    label: str
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None

    def column(self, days: int | None = None) -> Column:
        """The column of this measure, over the last `days` days or over all history."""
        return Column(
            windowed(self.name, days) if days else self.name,
            self.dtype,
            self.description.format(window=_window(days)),
            required=self.required,
            minimum=self.minimum,
            maximum=self.maximum,
        )


def windowed(name: str, days: int) -> str:
    """Column name of measure `name` over the last `days` days."""
    return f"{name}_{days}d"


def _window(days: int | None) -> str:
    return f"in the last {days} days" if days else "so far"


def _count(name: str, words: str, description: str = "") -> Feature:
    return Feature(
        name, "int64", f"{description or words} {{window}}.", f"{words} {{window}}", required=True, minimum=0
    )


def _share(name: str, words: str, description: str) -> Feature:
    return Feature(name, "float64", f"{description} {{window}}; null without any.", f"{words} {{window}}")


WINDOW_FEATURES = (
    _count("orders", "orders", "Distinct orders with at least one line that is not a return,"),
    _count("order_days", "days with an order"),
    _count("lines", "order lines", "Order lines that are not returns,"),
    Feature("quantity", "float64", "Units bought, net of returns, {window}.", "units bought {window}", required=True),
    Feature(
        "amount",
        "float64",
        "Amount paid, net of returns, workspace currency, {window}.",
        "amount spent {window}",
        required=True,
    ),
    _count("products", "different products", "Distinct products bought,"),
    _count("categories", "different categories", "Distinct categories bought,"),
    _share("discount_share", "share of list value given as discount", "Discount over list amount"),
    _share("coupon_share", "share of orders with a coupon", "Orders with a coupon over orders"),
    _share(
        "promoted_share", "share of spend on promoted products", "Amount on display or in a mailer over amount bought"
    ),
    _count("return_lines", "returned order lines", "Order lines that take goods back,"),
    _share("return_share", "share of spend returned", "Amount returned over amount bought"),
    _count("contacts", "campaign contacts", "Campaigns the customer was contacted in, controls left out,"),
    _count("responses", "responses to campaigns", "Campaign contacts answered,"),
)
"""Measured over each of `WINDOWS`."""

HISTORY_FEATURES = (
    Feature("recency_days", "int64", "Days since the last order; null before the first.", "days since the last order"),
    Feature("tenure_days", "int64", "Days since the first order; null before it.", "days since the first order"),
    Feature(
        "signup_days", "int64", "Days since the customer signed up; null if unknown or later.", "days since signing up"
    ),
    _count("orders", "orders", "Distinct orders with at least one line that is not a return,"),
    _count("order_days", "days with an order"),
    Feature(
        "amount",
        "float64",
        "Amount paid, net of returns, workspace currency, {window}.",
        "amount spent {window}",
        required=True,
    ),
    Feature("gap_mean", "float64", "Mean days between successive days with an order.", "average days between orders"),
    Feature("gap_median", "float64", "Median days between successive days with an order.", "usual days between orders"),
    Feature(
        "gap_deviation",
        "float64",
        "Standard deviation (of the population) of the days between successive days with an order.",
        "unevenness of the days between orders",
    ),
    Feature("gap_longest", "int64", "Most days between successive days with an order.", "longest pause between orders"),
    Feature("gap_last", "int64", "Days between the last two days with an order.", "days between the last two orders"),
    *(
        Feature(
            f"gap_mean_{count}",
            "float64",
            f"Mean of the last {count} gaps between days with an order; null with fewer.",
            f"average of the last {count} pauses between orders, in days",
        )
        for count in RECENT_GAPS
    ),
    Feature(
        "gap_longest_recent",
        "int64",
        f"Longest of the last {RECENT_GAPS[-1]} gaps between days with an order.",
        "longest recent pause between orders, in days",
    ),
    *(
        Feature(
            f"gaps_over_{days}",
            "int64",
            f"Gaps between days with an order longer than {days} days.",
            f"pauses of more than {days} days between orders",
        )
        for days in LONG_GAPS
    ),
    Feature(
        "gaps_over_recency",
        "int64",
        "Gaps between days with an order longer than the days since the last one.",
        "earlier pauses longer than the present one",
    ),
    Feature(
        "gaps_over_recency_share",
        "float64",
        "Share of the gaps between days with an order that are longer than the days since the last one.",
        "share of earlier pauses longer than the present one",
    ),
    Feature(
        "recency_over_median_gap",
        "float64",
        "Days since the last order over the median gap.",
        "days since the last order, in usual gaps",
    ),
)
"""Measured over all history up to the as_of day."""

TREND_FEATURES = (
    Feature(
        "amount_slope",
        "float64",
        "Slope of daily spend {window}, workspace currency per day per day: least squares over every day of the window.",
        "trend of daily spend {window}",
        required=True,
    ),
)
"""Measured over each of `TREND_WINDOWS`."""

CHANGE_FEATURES = (
    Feature(
        "amount_change",
        "float64",
        "Amount of the last 30 days over the 30-day average of the last 90 days; null without spend.",
        "spend of the last 30 days against the last 90",
    ),
    Feature(
        "orders_change",
        "float64",
        "Orders of the last 30 days over the 30-day average of the last 90 days; null without orders.",
        "orders of the last 30 days against the last 90",
    ),
)

CATEGORY_FEATURES = (
    *(
        feature
        for rank in range(1, TOP_CATEGORIES + 1)
        for feature in (
            Feature(
                f"top_category_{rank}",
                "string",
                f"Category with spend rank {rank} in the last {HABIT_DAYS} days.",
                f"favourite category {rank}",
            ),
            Feature(
                f"top_category_{rank}_share",
                "float64",
                f"Its share of the customer's spend in the last {HABIT_DAYS} days.",
                f"share of spend on favourite category {rank}",
            ),
        )
    ),
    Feature(
        "category_concentration",
        "float64",
        f"Sum of squared category shares of spend in the last {HABIT_DAYS} days (Herfindahl): 1 is a single category.",
        "concentration of spend on few categories",
        minimum=0,
    ),
)

HABIT_FEATURES = (
    Feature(
        "favourite_weekday",
        "string",
        f"Weekday with most orders in the last {HABIT_DAYS} days; the earlier one if several.",
        "favourite weekday",
    ),
    Feature(
        "favourite_weekday_share", "float64", "Its share of the customer's orders.", "share of orders on that weekday"
    ),
    Feature("weekend_share", "float64", "Share of orders on Saturday or Sunday.", "share of orders at the weekend"),
    *(
        Feature(
            f"{part}_share",
            "float64",
            f"Share of orders from {first}:00 to before {after}:00, in the time of `ordered_at`.",
            f"share of orders in the {part}" if part != "night" else "share of orders at night",
        )
        for part, (first, after) in DAY_PARTS.items()
    ),
)

CUSTOMER_DAYS = Table(
    name="customer_days",
    description="What each customer did on each day with an order or a return: the sums every feature is built from.",
    notes="By record: features and marts add up the records of a person when they read it.",
    shape=Shape.EVENT,
    key=("day", "customer_id"),
    event_time="day",
    columns=(
        Column("day", "date", "Event day, in the workspace's time zone.", required=True),
        Column("customer_id", "string", "Who, by record.", required=True, references="customers.customer_id"),
        Column("orders", "int64", "Distinct orders with at least one line that is not a return.", True, minimum=0),
        Column("lines", "int64", "Lines that are not returns.", required=True, minimum=0),
        Column("products", "int64", "Distinct products on lines that are not returns.", required=True, minimum=0),
        Column("quantity", MONEY, "Units, net of returns.", required=True),
        Column("amount", MONEY, "Amount paid, net of returns, workspace currency.", required=True),
        Column("bought_amount", MONEY, "Amount of the lines that are not returns, workspace currency.", required=True),
        Column("list_amount", MONEY, "Bought amount before discount and coupons, workspace currency.", required=True),
        Column("discount", MONEY, "Discount on bought lines without coupons, workspace currency.", required=True),
        Column("coupon_discount", MONEY, "Discount on bought lines by coupons, workspace currency.", required=True),
        Column("discount_lines", "int64", "Bought lines with a discount or a coupon.", required=True, minimum=0),
        Column("coupon_orders", "int64", "Orders with at least one coupon.", required=True, minimum=0),
        Column("promoted_amount", MONEY, "Bought amount on display or in a mailer, workspace currency.", required=True),
        Column("return_lines", "int64", "Lines that take goods back.", required=True, minimum=0),
        Column("return_amount", MONEY, "Amount given back for returns, workspace currency.", required=True),
        *(
            Column(
                f"{part}_orders",
                "int64",
                f"Orders from {first}:00 to before {after}:00, in the time of `ordered_at`.",
                required=True,
                minimum=0,
            )
            for part, (first, after) in DAY_PARTS.items()
        ),
    ),
)

CUSTOMER_FEATURES = Table(
    name="customer_features",
    description="What is known of each customer at the end of a day.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column(
            "customer_id",
            "string",
            "The person: the customer_id of the earliest record.",
            required=True,
            references="customers.customer_id",
        ),
        *(feature.column() for feature in HISTORY_FEATURES),
        *(feature.column(days) for feature in WINDOW_FEATURES for days in WINDOWS),
        *(feature.column(days) for feature in TREND_FEATURES for days in TREND_WINDOWS),
        *(feature.column() for feature in (*CHANGE_FEATURES, *CATEGORY_FEATURES, *HABIT_FEATURES)),
        *(
            Column(
                name,
                "string",
                f"`customers.{name}` as it was valid on the as_of day; of several records the value that survives.",
                personal=name == "city",
            )
            for name in DEMOGRAPHICS
        ),
    ),
)

FEATURE_LABELS: dict[str, str] = {
    **{
        feature.name: feature.label.format(window=_window(None))
        for feature in (*HISTORY_FEATURES, *CHANGE_FEATURES, *CATEGORY_FEATURES, *HABIT_FEATURES)
    },
    **{
        windowed(feature.name, days): feature.label.format(window=_window(days))
        for features, windows in ((WINDOW_FEATURES, WINDOWS), (TREND_FEATURES, TREND_WINDOWS))
        for feature in features
        for days in windows
    },
    **{name: name.replace("_", " ") for name in DEMOGRAPHICS},
}
"""Plain words for each feature, to be read by people."""
