"""The eight canonical tables every source is mapped to.

Belongs here: their columns, declared once. Not here: tables computed from them (`derived.py`).
"""

from crm_assets.contracts.model import MONEY, Column, Shape, Table

EARLIEST = "1990-01-01"
"""Event times before this day are typing errors or placeholders, not history."""

_CUSTOMER = "customers.customer_id"
_PRODUCT = "products.product_id"
_CAMPAIGN = "campaigns.campaign_id"

CUSTOMERS = Table(
    name="customers",
    description="People and households the company knows.",
    shape=Shape.DIMENSION,
    key=("customer_id",),
    columns=(
        Column("customer_id", "string", "The CRM's own identifier.", required=True),
        Column("full_name", "string", "Name as people write it.", personal=True),
        Column("email", "string", "E-mail address, lower case.", personal=True),
        Column("phone", "string", "Phone number.", personal=True),
        Column("birth_date", "date", "Day of birth.", minimum="1900-01-01", personal=True),
        Column("age_band", "string", "Age as the source groups it."),
        Column("gender", "string", "female, male or other, once cleaned."),
        Column("marital_status", "string", "Marital status."),
        Column("education", "string", "Highest education."),
        Column("income_band", "string", "Income as the source groups it."),
        Column("occupation", "string", "Occupation."),
        Column("household_size", "string", "Persons in the household; open bands such as 5+ are kept."),
        Column("interests", "string", "Stated interests, separated by semicolons."),
        Column("address", "string", "Street and house number.", personal=True),
        Column("postcode", "string", "Postcode.", personal=True),
        Column("city", "string", "City."),
        Column("region", "string", "State, province or region."),
        Column("country", "string", "Country."),
        Column("signup_at", "timestamp", "When the customer signed up, UTC.", minimum=EARLIEST),
        Column("consent_email", "boolean", "May be contacted by e-mail."),
        Column("consent_phone", "boolean", "May be contacted by phone."),
        Column("consent_ads", "boolean", "May be used for advertising audiences."),
    ),
)

PRODUCTS = Table(
    name="products",
    description="What is sold, with its category tree.",
    shape=Shape.DIMENSION,
    key=("product_id",),
    columns=(
        Column("product_id", "string", "The CRM's own identifier.", required=True),
        Column("product_name", "string", "Name of the product."),
        Column("category", "string", "Category."),
        Column("subcategory", "string", "Product type within the category."),
        Column("brand", "string", "Brand."),
        Column("list_price", MONEY, "Price before discounts, workspace currency.", minimum=0),
        Column("attributes", "string", "Other properties, a JSON object."),
    ),
)

TRANSACTIONS = Table(
    name="transactions",
    description="Order lines. Lines without a customer are anonymous; returns have negative quantity and amount.",
    shape=Shape.EVENT,
    key=("order_id", "line_id"),
    event_time="ordered_at",
    columns=(
        Column("order_id", "string", "Order, basket or receipt.", required=True),
        Column("line_id", "string", "Line within the order.", required=True),
        Column("customer_id", "string", "Who ordered; null when anonymous.", references=_CUSTOMER),
        Column("product_id", "string", "What was ordered.", required=True, references=_PRODUCT),
        Column("ordered_at", "timestamp", "When, UTC.", required=True, minimum=EARLIEST),
        Column("quantity", MONEY, "Units; negative for returns.", required=True),
        Column("amount", MONEY, "Paid for the line, workspace currency; negative for returns.", required=True),
        Column("unit_price", MONEY, "Paid per unit, workspace currency."),
        Column("discount", MONEY, "Taken off the list price without a coupon, workspace currency.", minimum=0),
        Column("coupon_discount", MONEY, "Taken off by coupons, workspace currency.", minimum=0),
        Column("channel", "string", "Where it was sold: store, web, phone, ..."),
        Column("store_id", "string", "Store, if sold in one."),
        Column("on_display", "boolean", "The product stood on a display in that store at the time."),
        Column("in_mailer", "boolean", "The product was in that store's mailer at the time."),
        Column("is_return", "boolean", "The line takes goods back."),
    ),
)

INTERACTIONS = Table(
    name="interactions",
    description="Contacts between a customer and the company that are not orders.",
    shape=Shape.EVENT,
    key=("interaction_id",),
    event_time="occurred_at",
    columns=(
        Column("interaction_id", "string", "Identifier.", required=True),
        Column("customer_id", "string", "Who.", required=True, references=_CUSTOMER),
        Column("occurred_at", "timestamp", "When, UTC.", required=True, minimum=EARLIEST),
        Column(
            "kind",
            "string",
            "What kind of contact.",
            required=True,
            allowed=("view", "search", "cart", "open", "click", "call", "chat", "visit", "social"),
        ),
        Column("channel", "string", "Where."),
        Column("product_id", "string", "Product concerned.", references=_PRODUCT),
        Column("campaign_id", "string", "Campaign it answers.", references=_CAMPAIGN),
        Column("duration_s", "float64", "Length in seconds.", minimum=0),
        Column("session_id", "string", "Session it belongs to."),
    ),
)

FEEDBACK = Table(
    name="feedback",
    description="What customers say: complaints, surveys, reviews and reasons for returns.",
    shape=Shape.EVENT,
    key=("feedback_id",),
    event_time="created_at",
    update_times=("resolved_at",),
    columns=(
        Column("feedback_id", "string", "Identifier.", required=True),
        Column("customer_id", "string", "Who, if known.", references=_CUSTOMER),
        Column("created_at", "timestamp", "When, UTC.", required=True, minimum=EARLIEST),
        Column(
            "kind",
            "string",
            "What kind of feedback.",
            required=True,
            allowed=("complaint", "survey", "review", "return_reason"),
        ),
        Column("product_id", "string", "Product concerned.", references=_PRODUCT),
        Column("score", "float64", "Score on the source's own scale."),
        Column("text", "string", "The customer's own words.", personal=True),
        Column("language", "string", "Language of the text, ISO 639-1."),
        Column("resolved_at", "timestamp", "When it was settled, UTC.", minimum=EARLIEST),
    ),
)

CAMPAIGNS = Table(
    name="campaigns",
    description="Marketing campaigns.",
    shape=Shape.DIMENSION,
    key=("campaign_id",),
    columns=(
        Column("campaign_id", "string", "Identifier.", required=True),
        Column("name", "string", "Name."),
        Column("kind", "string", "Kind of campaign; response models are per kind."),
        Column("channel", "string", "Channel."),
        Column("start_at", "timestamp", "Start, UTC.", minimum=EARLIEST),
        Column("end_at", "timestamp", "End, UTC.", minimum=EARLIEST),
    ),
)

CAMPAIGN_CONTACTS = Table(
    name="campaign_contacts",
    description="Who was contacted in which campaign, and whether they responded.",
    shape=Shape.EVENT,
    key=("campaign_id", "customer_id"),
    event_time="contacted_at",
    update_times=("responded_at",),
    columns=(
        Column("campaign_id", "string", "Campaign.", required=True, references=_CAMPAIGN),
        Column("customer_id", "string", "Who.", required=True, references=_CUSTOMER),
        Column("contacted_at", "timestamp", "When, UTC.", required=True, minimum=EARLIEST),
        Column("is_control", "boolean", "Held out as control: selected, but not contacted."),
        Column("responded_at", "timestamp", "First response, UTC; null while there is none.", minimum=EARLIEST),
        Column("response_value", MONEY, "Value of the response, workspace currency."),
        Column("attributes", "string", "What else was known when the contact was decided on, a JSON object."),
    ),
)

SUBSCRIPTIONS = Table(
    name="subscriptions",
    description="Contracts with a start and, once ended, an end.",
    shape=Shape.EVENT,
    key=("subscription_id",),
    event_time="started_at",
    update_times=("ended_at",),
    columns=(
        Column("subscription_id", "string", "Identifier.", required=True),
        Column("customer_id", "string", "Whose.", required=True, references=_CUSTOMER),
        Column("started_at", "timestamp", "Start, UTC.", required=True, minimum=EARLIEST),
        Column("ended_at", "timestamp", "End, UTC; null while it runs.", minimum=EARLIEST),
        Column("plan", "string", "Plan or tariff."),
        Column("monthly_fee", MONEY, "Fee a month, workspace currency.", minimum=0),
        Column("attributes", "string", "Other properties, a JSON object."),
    ),
)

CANONICAL: dict[str, Table] = {
    table.name: table
    for table in (
        CUSTOMERS,
        PRODUCTS,
        TRANSACTIONS,
        INTERACTIONS,
        FEEDBACK,
        CAMPAIGNS,
        CAMPAIGN_CONTACTS,
        SUBSCRIPTIONS,
    )
}
"""Canonical tables by name, in the order they are shown."""
