"""Campaign contacts, and what was known of a customer on the day before each of them.

Belongs here: tables in the engine. Not here: how contacts become numbers (`response_inputs.py`), models on them
(`response_training.py`).
"""

from datetime import date

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.features import DEMOGRAPHICS
from crm_assets.contracts.layers import VALID_FROM, VALID_TO
from crm_assets.mining.as_of_days import Hold
from crm_assets.mining.cleaning import valid_on

OTHER = "other"
"""Kind of campaigns whose kind is not told."""

PURCHASES = (
    "recency_days",
    "tenure_days",
    "order_days",
    "orders_30d",
    "orders_90d",
    "orders_365d",
    "amount_30d",
    "amount_90d",
    "amount_365d",
    "discount_share_365d",
    "coupon_share_365d",
)
"""What customers bought; a model of prospects does without."""

CONTACTS = ("contacts", "contacts_90d", "contact_recency_days", "responses", "response_recency_days")
KIND_CONTACTS = ("kind_contacts", "kind_responses")
"""Contacts and responses so far, of every kind and of the campaign's."""

INTERACTION_KINDS = ("view", "search", "cart", "open", "click", "call", "chat", "visit", "social")
INTERACTIONS = (
    "interactions_30d",
    "interaction_recency_days",
    *(f"{kind}_interactions_90d" for kind in INTERACTION_KINDS),
)
PERSON = ("signup_days",)

NUMBERS = (*PURCHASES, *CONTACTS, *KIND_CONTACTS, *INTERACTIONS, *PERSON)
PROSPECT_NUMBERS = tuple(name for name in NUMBERS if name not in PURCHASES)
CATEGORIES = DEMOGRAPHICS

_PERSON_DAY = ["customer_id", "as_of"]
_KIND_DAY = ["campaign_kind", *_PERSON_DAY]


def campaign_cases(contacts: ir.Table, campaigns: ir.Table, as_of: date) -> ir.Table:
    """Contacts made by a day, one row per campaign, customer and whether held out.

    Args:
        contacts: clean contacts by person, as `mining.persons.Persons.rows` gives them.
        campaigns: versions of campaigns.
        as_of: last day seen; a response after it is none.

    Returns:
        campaign_kind, campaign_id, customer_id, day (of the first contact), is_control, responded_on (null without a
        response), response_value (null without one), attributes.
    """
    kinds = valid_on(campaigns, as_of).select(_campaign="campaign_id", kind="kind")
    seen = contacts.filter(contacts.day <= as_of).left_join(kinds, contacts.campaign_id == kinds["_campaign"])
    answered = seen.responded_at.date() <= as_of
    # The key is by record, so a person may have several rows of a campaign.
    grouped = seen.group_by(
        campaign_kind=seen.kind.fill_null(OTHER),
        campaign_id=seen.campaign_id,
        customer_id=seen.customer_id,
        is_control=seen.is_control.fill_null(False),
    )
    return grouped.agg(
        day=seen.day.min(),
        responded_on=seen.responded_at.date().min(where=answered),
        response_value=seen.response_value.sum(where=answered),
        attributes=seen.attributes.max(),
    ).select(
        "campaign_kind",
        "campaign_id",
        "customer_id",
        "day",
        "is_control",
        "responded_on",
        "response_value",
        "attributes",
    )


def response_rates(cases: ir.Table, most_days: int) -> ir.Table:
    """How many were contacted on each day, by the days until they responded.

    Args:
        cases: as `campaign_cases` gives them.
        most_days: a later response is none.

    Returns:
        campaign_kind, day, delay_days (null without a response), contacts; by kind, day and delay.
    """
    contacted = cases.filter(~cases.is_control)
    delay = delay_days(contacted)
    counted = contacted.mutate(delay_days=(delay <= most_days).ifelse(delay, ibis.null("int64")))
    key = ["campaign_kind", "day", "delay_days"]
    return counted.group_by(key).agg(contacts=counted.count()).order_by(key)


def delay_days(cases: ir.Table) -> ir.IntegerValue:
    """Days from the contact to the response; null without one."""
    return cases.responded_on.delta(cases.day, unit="day").cast("int64")


def contacted_rows(
    cases: ir.Table,
    customer_days: ir.Table,
    customers: ir.Table,
    interactions: ir.Table,
    drawn: ir.Table,
    hold: Hold = lambda table: table,
) -> ir.Table:
    """What was known on the day before each contact, and what came of it.

    Args:
        cases: as `campaign_cases` gives them, all that may stand in somebody's past.
        customer_days: by person, as `mining.persons.Persons.customer_days` gives it.
        customers: versions of the records that persons are named after, as `Persons.founders` gives them.
        interactions: clean interactions by person.
        drawn: the rows of `cases` that are wanted.
        hold: keeps a table that is used several times.

    Returns:
        campaign_kind, campaign_id, customer_id, day, as_of (the day before), is_control, delay_days (until the response,
        null without one), value (of the response, 0 without), `NUMBERS`, `CATEGORIES` and attributes; by kind, day,
        campaign, customer and is_control.
    """
    wanted = drawn.mutate(as_of=(drawn.day - ibis.interval(days=1)).cast("date"))
    known = known_of(hold(wanted.select(_PERSON_DAY).distinct()), cases, customer_days, customers, interactions)
    of_kind = kind_contacts(wanted.select(_KIND_DAY).distinct(), cases)
    wide = _beside(_beside(wanted, known, _PERSON_DAY), of_kind, _KIND_DAY)
    return wide.select(
        *("campaign_kind", "campaign_id", "customer_id", "day", "as_of", "is_control"),
        delay_days=delay_days(wide).cast("float64"),
        value=wide.response_value.cast("float64").fill_null(0.0),
        **{name: _number(wide, name) for name in NUMBERS},
        **{name: wide[name] for name in (*CATEGORIES, "attributes")},
    ).order_by("campaign_kind", "day", "campaign_id", "customer_id", "is_control")


def scored_rows(
    cases: ir.Table,
    customer_days: ir.Table,
    customers: ir.Table,
    interactions: ir.Table,
    kinds: list[str],
    as_of: date,
    hold: Hold = lambda table: table,
) -> ir.Table:
    """What is known of every person at the end of a day, for each kind of campaign.

    Args:
        cases: as `campaign_cases` gives them as of the day.
        customer_days: by person.
        customers: versions of the records that persons are named after.
        interactions: clean interactions by person.
        kinds: kinds of campaigns, at least one.
        as_of: last day seen.
        hold: keeps a table that is used several times.

    Returns:
        campaign_kind, customer_id, as_of, `NUMBERS`, `CATEGORIES` and attributes, those of the newest contact of the
        kind; by customer and kind.
    """
    day = ibis.literal(as_of)
    everyone = [
        valid_on(customers, as_of).select("customer_id"),
        customer_days.filter(customer_days.day <= as_of, customer_days.customer_id.notnull()).select("customer_id"),
        cases.select("customer_id"),
    ]
    people = hold(ibis.union(*everyone, distinct=True).mutate(as_of=day))
    known = known_of(people, cases, customer_days, customers, interactions)
    named = ibis.array([ibis.literal(kind) for kind in kinds]).unnest().name("campaign_kind").as_table()
    pairs = people.cross_join(named)
    newest = cases.mutate(_place=cases.day.cast("string") + "/" + cases.campaign_id)
    told = newest.group_by("campaign_kind", "customer_id").agg(
        attributes=newest.attributes.argmax(newest["_place"], where=newest.attributes.notnull())
    )
    wide = _beside(_beside(pairs, known, _PERSON_DAY), kind_contacts(pairs.select(_KIND_DAY), cases), _KIND_DAY)
    wide = _beside(wide, told, ["campaign_kind", "customer_id"])
    return wide.select(
        *_KIND_DAY,
        **{name: _number(wide, name) for name in NUMBERS},
        **{name: wide[name] for name in (*CATEGORIES, "attributes")},
    ).order_by("customer_id", "campaign_kind")


def known_of(
    people: ir.Table, cases: ir.Table, customer_days: ir.Table, customers: ir.Table, interactions: ir.Table
) -> ir.Table:
    """What is known of persons at the end of days, whatever the campaign.

    Args:
        people: customer_id and as_of, each pair once.
        cases: as `campaign_cases` gives them.
        customer_days: by person.
        customers: versions of customers.
        interactions: clean interactions by person.

    Returns:
        The rows of `people` with `PURCHASES`, `CONTACTS`, `INTERACTIONS`, `PERSON` and `CATEGORIES`; null where nothing
        is known.
    """
    wide = people
    for part in (
        _purchases(people, customer_days),
        _contacts(people, cases),
        _interactions(people, interactions),
        _person(people, customers),
    ):
        wide = _beside(wide, part, _PERSON_DAY)
    return wide


def kind_contacts(people: ir.Table, cases: ir.Table) -> ir.Table:
    """Contacts of a kind and responses to them at the end of days.

    Args:
        people: campaign_kind, customer_id and as_of, each once.
        cases: as `campaign_cases` gives them.

    Returns:
        campaign_kind, customer_id, as_of, `KIND_CONTACTS`; only those who were contacted.
    """
    seen = _seen(people, cases.filter(~cases.is_control), ["campaign_kind", "customer_id"])
    return seen.group_by(_KIND_DAY).agg(
        kind_contacts=seen.count(), kind_responses=seen.count(where=seen.responded_on <= seen.as_of)
    )


def _purchases(people: ir.Table, customer_days: ir.Table) -> ir.Table:
    ordered = customer_days.filter(customer_days.orders > 0)
    ordered = ordered.mutate(reduction=ordered.discount + ordered.coupon_discount)
    seen = _seen(people, ordered, ["customer_id"])
    year = seen.age < 365
    sums = seen.group_by(_PERSON_DAY).agg(
        recency_days=seen.age.min(),
        tenure_days=seen.age.max(),
        order_days=seen.count(),
        **{f"orders_{days}d": seen.orders.sum(where=seen.age < days) for days in (30, 90, 365)},
        **{f"amount_{days}d": seen.amount.sum(where=seen.age < days) for days in (30, 90, 365)},
        list_amount=seen.list_amount.sum(where=year),
        reduction=seen.reduction.sum(where=year),
        coupon_orders=seen.coupon_orders.sum(where=year),
    )
    shared = sums.mutate(
        discount_share_365d=_share(sums.reduction, sums.list_amount),
        coupon_share_365d=_share(sums.coupon_orders, sums.orders_365d),
    )
    return shared.select(*_PERSON_DAY, *PURCHASES)


def _contacts(people: ir.Table, cases: ir.Table) -> ir.Table:
    seen = _seen(people, cases.filter(~cases.is_control), ["customer_id"])
    answered = seen.responded_on <= seen.as_of
    return seen.group_by(_PERSON_DAY).agg(
        contacts=seen.count(),
        contacts_90d=seen.count(where=seen.age < 90),
        contact_recency_days=seen.age.min(),
        responses=seen.count(where=answered),
        response_recency_days=seen.as_of.delta(seen.responded_on, unit="day").min(where=answered),
    )


def _interactions(people: ir.Table, interactions: ir.Table) -> ir.Table:
    seen = _seen(people, interactions.select("customer_id", "day", "kind"), ["customer_id"])
    return seen.group_by(_PERSON_DAY).agg(
        interactions_30d=seen.count(where=seen.age < 30),
        interaction_recency_days=seen.age.min(),
        **{
            f"{kind}_interactions_90d": seen.count(where=(seen.kind == kind) & (seen.age < 90))
            for kind in INTERACTION_KINDS
        },
    )


def _person(people: ir.Table, customers: ir.Table) -> ir.Table:
    versions = people.inner_join(customers, "customer_id")
    until = versions[VALID_TO.name].isnull() | (versions[VALID_TO.name] > versions.as_of)
    valid = versions.filter(versions[VALID_FROM.name] <= versions.as_of, until)
    signed_up = valid.as_of.delta(valid.signup_at.date(), unit="day")
    # Somebody who signs up on the day or later is not known by it.
    signup_days = (signed_up >= 0).ifelse(signed_up, ibis.null("int64"))
    return valid.select(*_PERSON_DAY, signup_days=signup_days, **{name: valid[name] for name in CATEGORIES})


def _seen(people: ir.Table, events: ir.Table, key: list[str]) -> ir.Table:
    """Events of the people up to the end of their days, with their age in days."""
    joined = people.inner_join(events, key)
    seen = joined.filter(joined.day <= joined.as_of)
    return seen.mutate(age=seen.as_of.delta(seen.day, unit="day"))


def _share(part: ir.NumericValue, whole: ir.NumericValue) -> ir.FloatingValue:
    return part.cast("float64") / whole.cast("float64").nullif(0.0)


def _number(wide: ir.Table, name: str) -> ir.FloatingValue:
    """As models read it: counts are zero where nothing was seen, days since nothing are null."""
    value = wide[name].cast("float64")
    return value if name.endswith(("_days", "_share_365d")) and name != "order_days" else value.fill_null(0.0)


def _beside(left: ir.Table, right: ir.Table, key: list[str]) -> ir.Table:
    return left.left_join(right, key).drop(*(f"{name}_right" for name in key))
