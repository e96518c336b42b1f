"""Contracts of identity: which records are one person, why, since when, and what is known of the person.

Belongs here: links, members, ledger, persons and their quality. Not here: how they are computed (`mining/identity*.py`).
"""

from crm_assets.contracts.canonical import CUSTOMERS
from crm_assets.contracts.layers import VALID_FROM, VALID_TO
from crm_assets.contracts.model import Column, Table

METHODS = ("manual", "email", "phone", "model")
"""What may say that two records are one person, the strongest first."""

EVENTS = ("new", "joined", "merged", "split")
"""What may happen to a record in the ledger."""

TRUTHS = ("pairs", "labels")
"""Where true persons may be known from."""

IDENTITY_LINKS = Table(
    name="identity_links",
    description="Pairs of records that may be one person, with the evidence; by current values.",
    key=("customer_id", "other_customer_id"),
    columns=(
        Column("customer_id", "string", "A record.", required=True),
        Column("other_customer_id", "string", "Another one.", required=True),
        Column("match_probability", "float64", "That they are one person.", required=True, minimum=0, maximum=1),
        Column("method", "string", "What links them most strongly.", required=True, allowed=METHODS),
        Column("is_one_person", "boolean", "Whether they are taken to be one person.", required=True),
        Column(
            "evidence",
            "string",
            "JSON object: for each comparison its outcome and what it adds, in bits.",
            required=True,
        ),
    ),
    notes="Pairs of match probability 0.1 and more. Two records of one person need not be linked with each other: a "
    "third one may stand between.",
)

IDENTITY_MEMBERS = Table(
    name="identity_members",
    description="Who each record stands for, and since when.",
    key=("customer_id", VALID_FROM.name),
    columns=(
        Column("customer_id", "string", "A record.", required=True),
        Column("person_id", "string", "The person: the customer_id of its earliest record.", required=True),
        VALID_FROM,
        VALID_TO,
    ),
    notes="A record that joins a person holds from its first export, all others from the beginning. Features and marts "
    "of a day count the persons of that day. Empty where no record has a name, e-mail address, phone number, birth "
    "date, address or postcode.",
)

IDENTITY_LEDGER = Table(
    name="identity_ledger",
    description="Everything that happened to persons: new ones, records that joined one, merges and splits.",
    key=("export_date", "customer_id"),
    columns=(
        Column("export_date", "date", "The export, or the decision, that brought it.", required=True),
        Column("customer_id", "string", "The record that stands for another person now.", required=True),
        Column("event", "string", "What happened.", required=True, allowed=EVENTS),
        Column("person_id", "string", "The person it stands for now.", required=True),
        Column("previous_person_id", "string", "The one before; null for a new record."),
    ),
)

PERSON_COLUMNS = tuple(column for column in CUSTOMERS.columns if column.name != "customer_id")
"""What is known of a person, as of a customer."""

PERSONS = Table(
    name="customers",
    description="One row per person: the surviving values of all its records.",
    key=("person_id",),
    columns=(
        Column("person_id", "string", "The customer_id of the person's earliest record.", required=True),
        *PERSON_COLUMNS,
        Column("records", "int64", "Records of the person.", required=True, minimum=1),
        Column("customer_ids", "array<string>", "Their identifiers.", required=True),
        Column(
            "provenance",
            "string",
            "JSON object: for each field with a value the record, source and export date it is from.",
            required=True,
        ),
    ),
    notes="Of several values the one from the first source of `source_priority` survives, of these the one delivered "
    "last. Empty where records have no personal values; `customers_current` has them all.",
)

IDENTITY_QUALITY = Table(
    name="identity",
    description="How well records are joined into persons, where the truth is known.",
    key=("truth", "measured", "threshold"),
    columns=(
        Column("truth", "string", "Manual pairs, or labels of persons.", required=True, allowed=TRUTHS),
        Column(
            "measured",
            "string",
            "Single pairs by their match probability, or persons as they are.",
            required=True,
            allowed=("pairs", "persons"),
        ),
        Column("threshold", "float64", "Match probability from which pairs count.", required=True),
        Column("precision", "float64", "Of the pairs found, the share that is right.", minimum=0, maximum=1),
        Column("recall", "float64", "Of the true pairs, the share that was found.", minimum=0, maximum=1),
        Column("f1", "float64", "Harmonic mean of precision and recall.", minimum=0, maximum=1),
        Column("true_pairs", "int64", "Pairs of records that are one person.", required=True, minimum=0),
        Column("found_pairs", "int64", "Pairs found.", required=True, minimum=0),
        Column("right_pairs", "int64", "Pairs found that are one person.", required=True, minimum=0),
        Column("records", "int64", "Records of which the truth is known.", required=True, minimum=0),
    ),
)
