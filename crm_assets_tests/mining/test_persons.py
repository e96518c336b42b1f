"""Counting persons instead of records: who stands for whom on a day, and what that does to rows."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import ibis
import pandas as pd
import pytest

from crm_assets.contracts.identity import IDENTITY_MEMBERS
from crm_assets.contracts.registry import contract_of
from crm_assets.mining.churn import churn_labels
from crm_assets.mining.churn_performance import realised_outcomes
from crm_assets.mining.churn_terms import ChurnTerms
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.features import customer_features
from crm_assets.mining.identity import BEGINNING
from crm_assets.mining.persons import ALONE, Persons
from crm_assets_tests.mining.feature_tables import (
    contacts_table,
    customers_table,
    line,
    products_table,
    transactions_table,
)

DAY, LATER = date(2024, 1, 10), date(2024, 2, 1)
YESTERDAY = LATER - timedelta(days=1)


def members(*rows):
    return ibis.memtable(pd.DataFrame(rows, columns=list(IDENTITY_MEMBERS.by_name)), schema=IDENTITY_MEMBERS.schema)


@pytest.fixture
def joined():
    """Records a and b, who are one person from `LATER` on; c stands alone."""
    return Persons.of(
        members(
            ("a", "a", BEGINNING, None), ("b", "b", BEGINNING, LATER), ("b", "a", LATER, None), ("c", "c", BEGINNING, None),
        )
    )  # fmt: skip


@pytest.fixture
def lines(engine):
    """Both records order on one day, the same product, and on days of their own."""
    return transactions_table(
        engine.backend,
        [
            line("a", DAY, "o1", "tea", "10"),
            line("b", DAY, "o2", "tea", "5"),
            line("b", DAY + timedelta(3), "o3", "jam", "2.50"),
            line("c", DAY, "o4", "tea", "7"),
            line(None, DAY, "o5", "tea", "1"),
        ],
    )


def test_rows_are_those_of_the_persons_of_a_day(joined):
    rows = ibis.memtable({"customer_id": ["a", "b", "x", None], "amount": [1, 2, 3, 4]})

    def customers(day):
        frame = joined.rows(rows, day).order_by("amount").to_pandas()
        return frame["customer_id"].fillna("nobody").tolist()

    assert customers(YESTERDAY) == ["a", "b", "x", "nobody"]
    assert customers(LATER) == ["a", "a", "x", "nobody"]


def test_where_nobody_stands_twice_tables_are_given_back_as_they_are(joined):
    rows = ibis.memtable({"customer_id": ["a"]})
    alone = Persons.of(members(("a", "a", BEGINNING, None), ("b", "b", BEGINNING, None)))
    assert alone == Persons.of(members()) == ALONE
    for persons, day in ((alone, LATER), (joined, DAY)):
        assert persons.rows(rows, day) is rows
        assert persons.customer_days(rows, day) is rows
        assert persons.contacts(rows, day) is rows
        assert persons.customers(rows, rows, [day]) is rows


def test_demographics_of_a_person_are_those_of_the_record_it_is_named_after(joined):
    people = ibis.memtable({"customer_id": ["a", "b", "c"], "city": ["Łódź", "上海", "Bern"]})

    def cities(day):
        return joined.founders(people, day).order_by("customer_id").to_pandas()["city"].tolist()

    assert cities(YESTERDAY) == ["Łódź", "上海", "Bern"]
    assert cities(LATER) == ["Łódź", "Bern"]


def test_days_between_which_no_membership_changes_are_one_group():
    persons = Persons.of(members(("b", "a", date(2024, 1, 5), date(2024, 1, 9))))
    wanted = [date(2024, 1, day) for day in (9, 3, 4, 5, 8, 8, 20)]
    assert [[day.day for day in group] for group in persons.groups(wanted)] == [[3, 4], [5, 8], [9, 20]]
    assert ALONE.groups(wanted) == [sorted(set(wanted))]


def test_what_two_records_did_on_one_day_adds_up(joined, lines):
    days = joined.customer_days(customer_days(lines), LATER).order_by("day", "customer_id")
    rows = days.select("customer_id", "day", "orders", "amount").to_pyarrow().to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("a", DAY, 2, Decimal(15)),
        ("c", DAY, 1, Decimal(7)),
        ("a", DAY + timedelta(3), 1, Decimal("2.5")),
    ]
    assert "products" not in days.columns  # both bought tea


def test_a_person_whom_one_campaign_contacted_twice_has_one_contact_and_the_first_response(engine, joined):
    def contact(customer, day, responded=None, control=None):
        moment = datetime.combine(day, datetime.min.time())
        return {
            "campaign_id": "k", "customer_id": customer, "day": day, "contacted_at": moment, "is_control": control,
            "responded_at": responded and datetime.combine(responded, datetime.min.time()),
        }  # fmt: skip

    contacts = contacts_table(
        engine.backend, [contact("a", DAY), contact("b", DAY + timedelta(2), DAY + timedelta(5)), contact("c", DAY)]
    )
    rows = joined.contacts(contacts, LATER).order_by("customer_id").to_pyarrow().to_pylist()
    assert [(row["customer_id"], row["day"], row["responded_at"]) for row in rows] == [
        ("a", DAY, datetime(2024, 1, 15)),
        ("c", DAY, None),
    ]
    # Held out as one record, contacted as the other.
    mixed = contacts_table(engine.backend, [contact("a", DAY, control=True), contact("b", DAY)])
    assert joined.contacts(mixed, LATER).count().to_pyarrow().as_py() == 2


def delivered(*rows):
    contract = contract_of("validated", "customers")
    place = {"_file": "customers.csv", "_line": 1}
    records = [
        {**dict.fromkeys(contract.by_name), **place, "customer_id": customer, "_source": source, "_export_date": day}
        for customer, source, day in rows
    ]
    return ibis.memtable(records, schema=contract.schema)


def test_values_survive_as_of_the_day_and_never_from_a_later_export(engine):
    persons = Persons.of(members(("b", "a", BEGINNING, None)))
    customers = customers_table(
        engine.backend,
        [
            {"customer_id": "a", "city": "Leeds", "gender": "female"},
            {"customer_id": "b", "city": "York", "valid_to": LATER},
            {"customer_id": "b", "city": "Bath", "valid_from": LATER},
            {"customer_id": "c", "city": "Hull"},
        ],
    )
    exports = delivered(
        ("a", "crm", DAY), ("b", "shop", DAY), ("b", "shop", DAY + timedelta(1)), ("a", "crm", DAY + timedelta(5)),
        ("b", "shop", LATER), ("c", "crm", DAY),
    )  # fmt: skip
    wanted = [BEGINNING, DAY, DAY + timedelta(1), DAY + timedelta(5), YESTERDAY, LATER]

    def cities(days, priority=()):
        versions = persons.customers(customers, exports, days, priority)
        found = {}
        for day in days:
            valid = versions.filter(versions.valid_from <= day, versions.valid_to.isnull() | (versions.valid_to > day))
            rows = valid.order_by("customer_id").to_pandas()
            assert rows["customer_id"].tolist() == ["a", "c"]
            assert rows["gender"].tolist()[0] == "female"
            found[day] = rows["city"][0]
        return list(found.values())

    # Before any export, the first ones count; of one day's, the smallest identifier's.
    assert cities(wanted) == ["Leeds", "Leeds", "York", "Leeds", "Leeds", "Bath"]
    assert cities(wanted) == [city for day in wanted for city in cities([day])]
    assert cities(wanted, ["shop"]) == ["York"] * 5 + ["Bath"]
    # What is delivered later does not matter.
    early = exports.filter(exports["_export_date"] <= DAY + timedelta(1))
    known = customers.filter(customers.valid_from < LATER)
    versions = persons.customers(known, early, [DAY + timedelta(1)]).order_by("customer_id").to_pandas()
    assert versions["city"].tolist() == ["York", "Hull"]


def test_features_of_a_person_are_those_of_all_records_on_one_customer(engine, joined, lines):
    """Two records of one person give what one record with all the orders gives."""
    backend = engine.backend
    products = products_table(backend, {"tea": "drinks", "jam": "food"})
    people = customers_table(backend, [{"customer_id": name, "city": "Leeds"} for name in "abc"])
    one = lines.mutate(customer_id=lines.customer_id.replace("b", "a"))
    contacts = contacts_table(backend, [])
    wanted = [LATER, LATER + timedelta(7)]
    found = customer_features(
        joined.customer_days(customer_days(lines), LATER),
        joined.rows(lines, LATER),
        products,
        joined.customers(people, delivered(*[(name, "crm", DAY) for name in "abc"]), wanted),
        joined.contacts(contacts, LATER),
        wanted,
    ).to_pandas()
    alike = customer_features(
        customer_days(one), one, products, people.filter(people.customer_id != "b"), contacts, wanted
    ).to_pandas()
    assert found["customer_id"].tolist() == ["a", "c"] * 2
    assert found["products_365d"].tolist() == [2, 1] * 2
    pd.testing.assert_frame_equal(found, alike)


def test_who_orders_as_another_record_has_not_churned(joined, lines):
    days = customer_days(lines)

    def churned(persons, day):
        ((_, rows),) = persons.customer_days_of(days, [day])
        labels = churn_labels(rows, [day], horizon_days=30).to_pandas()
        return dict(zip(labels["customer_id"], labels["churned"], strict=True))

    one = Persons.of(members(("b", "a", BEGINNING, None)))
    assert churned(ALONE, DAY) == {"a": True, "b": False, "c": True}
    assert churned(one, DAY) == {"a": False, "c": True}
    # On that day they were two yet.
    assert churned(joined, DAY) == {"a": True, "b": False, "c": True}


def test_scores_of_a_day_are_compared_with_what_the_persons_of_that_day_did(lines):
    days = customer_days(lines).mutate(day=ibis._.day.cast("date"))
    change = DAY + timedelta(1)
    persons = Persons.of(members(("b", "a", change, None)))
    scores = ibis.memtable(
        [(DAY, "a", 0.5), (DAY, "b", 0.5), (change, "a", 0.5)],
        schema={"as_of": "date", "customer_id": "string", "churn_probability": "float64"},
    )
    found = realised_outcomes(
        scores, days, DAY + timedelta(60), dict.fromkeys((DAY, change), ChurnTerms(30, 60)), persons
    )
    found["as_of"] = pd.to_datetime(found["as_of"]).dt.date
    columns = ["as_of", "customer_id", "recency_days", "churned"]
    assert found[columns].values.tolist() == [
        [DAY, "a", 0, True],
        [DAY, "b", 0, False],
        [change, "a", 1, False],
    ]
