"""From records to persons: rules, the untrained model, time, and counting persons downstream."""

import json
from datetime import date

import ibis
import pandas as pd
import pytest

from crm_assets.contracts.canonical import CUSTOMERS
from crm_assets.contracts.identity import IDENTITY_MEMBERS
from crm_assets.mining.identity import (
    BEGINNING,
    due_model,
    find_identity,
    has_personal_values,
    identity_nodes,
)
from crm_assets.mining.identity_persons import Decisions
from crm_assets.mining.identity_quality import measure_decisions, measure_labels
from crm_assets.mining.identity_survivors import surviving_customers

DAY, LATER = date(2024, 1, 1), date(2024, 2, 1)


def versions(*rows):
    """Versions of records from (customer_id, day, fields)."""
    frame = pd.DataFrame([{"customer_id": customer, "day": day, **fields} for customer, day, fields in rows])
    frame["first_day"] = frame.groupby("customer_id")["day"].transform("min")
    return frame.sort_values(["day", "customer_id"], ignore_index=True)


@pytest.fixture
def find(engine):
    def find(rows, decisions=None, threshold=0.5):
        nodes = identity_nodes(versions(*rows), "CN")
        with engine.scratch() as connection:
            return find_identity(nodes, {}, decisions or Decisions(), connection, threshold)

    return find


def person_of(identity):
    current = identity.members[identity.members["valid_to"].isna()]
    return dict(zip(current["customer_id"], current["person_id"], strict=True))


def test_the_same_email_address_is_one_person_with_evidence(find):
    found = find(
        [
            ("a", DAY, {"full_name": "Ann Lee", "email": "Ann.Lee@x.com"}),
            ("b", DAY, {"full_name": "A. Lee", "email": "ann.lee@x.com"}),
            ("c", DAY, {"full_name": "Bo King", "email": "bo@x.com"}),
        ]
    )
    assert person_of(found) == {"a": "a", "b": "a", "c": "c"}
    link = found.links.iloc[0]
    assert (link["customer_id"], link["other_customer_id"], link["method"]) == ("a", "b", "email")
    evidence = json.loads(link["evidence"])
    assert evidence["email"]["outcome"] == "same address"
    assert evidence["name"]["outcome"] == "same family name and initial"


def test_the_same_phone_number_written_in_two_ways_is_one_person(find):
    found = find(
        [
            ("a", DAY, {"full_name": "张伟", "phone": "138 1234 5678"}),
            ("b", DAY, {"full_name": "Zhang Wei", "phone": "+86-13812345678"}),
        ]
    )
    assert person_of(found)["b"] == "a"
    assert found.links["method"].tolist() == ["phone"]


def test_two_people_of_a_household_share_a_number_and_stay_two(find):
    found = find(
        [
            ("a", DAY, {"full_name": "Ann Lee", "phone": "13812345678", "birth_date": date(1990, 5, 1)}),
            ("b", DAY, {"full_name": "Tom Lee", "phone": "13812345678", "birth_date": date(2001, 11, 23)}),
        ]
    )
    assert person_of(found) == {"a": "a", "b": "b"}


def test_an_address_that_many_records_share_links_nobody(find):
    rows = [(f"c{n}", DAY, {"email": "info@x.com"}) for n in range(21)]
    assert set(person_of(find(rows[:20])).values()) == {"c0"}
    assert len(set(person_of(find(rows)).values())) == 21


def test_a_name_and_a_city_are_not_enough_but_a_birth_date_is(find):
    wei = {"full_name": "王伟", "city": "上海"}
    assert len(set(person_of(find([("a", DAY, wei), ("b", DAY, wei)])).values())) == 2
    born = {**wei, "birth_date": date(1988, 3, 9)}
    assert len(set(person_of(find([("a", DAY, born), ("b", DAY, born)])).values())) == 1


def test_names_of_any_order_and_script_width_with_the_same_birth_date_are_one_person(find):
    born = {"birth_date": date(1988, 3, 9)}
    names = ["Zhang Wei", "WEI ZHANG", "Ｚｈａｎｇ，Ｗｅｉ", "Zhang Wéi"]
    found = find([(f"r{n}", DAY, {"full_name": name, **born}) for n, name in enumerate(names)])
    assert set(person_of(found).values()) == {"r0"}


def test_a_record_that_is_corrected_leaves_the_person_on_that_day(find):
    lee = {"full_name": "Ann Lee", "email": "ann@x.com"}
    found = find([("a", DAY, lee), ("b", DAY, lee), ("b", LATER, {"full_name": "Bob Ray", "email": "bob@x.com"})])
    rows = found.members.sort_values(["customer_id", "valid_from"])
    assert rows[["customer_id", "person_id", "valid_from", "valid_to"]].values.tolist() == [
        ["a", "a", BEGINNING, None],
        ["b", "a", BEGINNING, LATER],
        ["b", "b", LATER, None],
    ]
    assert found.ledger[found.ledger["event"] == "split"]["export_date"].tolist() == [LATER]


def test_a_record_that_joins_later_holds_from_its_first_export(find):
    lee = {"full_name": "Ann Lee", "email": "ann@x.com"}
    found = find([("a", DAY, lee), ("b", DAY, lee), ("c", LATER, lee), ("d", LATER, {"full_name": "Bo King"})])
    rows = found.members.sort_values("customer_id")
    assert rows[["customer_id", "person_id", "valid_from"]].values.tolist() == [
        ["a", "a", BEGINNING],
        ["b", "a", BEGINNING],
        ["c", "a", LATER],
        ["d", "d", BEGINNING],
    ]


def test_people_decide_against_and_without_evidence(find):
    lee = {"full_name": "Ann Lee", "email": "ann@x.com"}
    rows = [("a", DAY, lee), ("b", DAY, lee), ("c", DAY, {"full_name": "Bo King"})]
    decisions = Decisions(always=[(BEGINNING, "a", "c")], never=[(BEGINNING, "a", "b")])
    found = find(rows, decisions)
    assert person_of(found) == {"a": "a", "b": "b", "c": "a"}
    methods = found.links.set_index(["customer_id", "other_customer_id"])["method"]
    assert methods.to_dict() == {("a", "b"): "manual", ("a", "c"): "manual"}
    quality = measure_decisions(decisions, found.links, 0.5).set_index("threshold").loc[0.5]
    assert (quality["true_pairs"], quality["found_pairs"], quality["right_pairs"]) == (1, 1, 0)


def test_precision_and_recall_against_labels(find):
    lee = {"full_name": "Ann Lee", "email": "ann@x.com"}
    found = find([("a", DAY, lee), ("b", DAY, lee), ("c", DAY, {"full_name": "Bo King"})])
    rows = measure_labels({"a": "p", "b": "q", "c": "q"}, person_of(found), found.links, 0.5)
    persons = rows[rows["measured"] == "persons"].iloc[0]
    assert persons[["true_pairs", "found_pairs", "right_pairs"]].tolist() == [1, 1, 0]
    assert persons[["precision", "recall", "f1"]].tolist() == [0, 0, 0]


def test_a_small_workspace_trains_nothing(engine):
    nodes = identity_nodes(versions(("a", DAY, {"full_name": "Ann Lee"})))
    with engine.scratch() as connection:
        assert due_model(nodes, {}, connection, 1) is None


def test_nothing_personal_is_found_at_once():
    rows = ibis.memtable(
        [{**dict.fromkeys(CUSTOMERS.by_name), "customer_id": "a", "city": "x"}], schema=CUSTOMERS.schema
    )
    assert not has_personal_values(rows)
    assert has_personal_values(rows.mutate(email=ibis.literal("a@x.com")))


def members(*rows):
    return ibis.memtable(pd.DataFrame(rows, columns=list(IDENTITY_MEMBERS.by_name)), schema=IDENTITY_MEMBERS.schema)


def test_the_newest_value_survives_unless_a_source_is_trusted_more():
    fields = [("a", "Ann Lee", "old@x.com"), ("b", "A. Lee", None), ("c", "Bo", None)]
    none = dict.fromkeys(CUSTOMERS.by_name)
    customers = ibis.memtable(
        [{**none, "customer_id": key, "full_name": name, "email": email} for key, name, email in fields],
        schema=CUSTOMERS.schema,
    )
    delivered = ibis.memtable(
        [("a", DAY, "crm"), ("b", LATER, "shop"), ("c", DAY, "crm")],
        schema={"customer_id": "string", "seen_on": "date", "source": "string"},
    )
    known = members(("a", "a", BEGINNING, None), ("b", "a", BEGINNING, None))
    ann = surviving_customers(customers, known, delivered).order_by("person_id").to_pandas().iloc[0]
    assert (ann["full_name"], ann["email"], ann["records"], list(ann["customer_ids"])) == (
        "A. Lee",
        "old@x.com",
        2,
        ["a", "b"],
    )
    assert json.loads(ann["provenance"])["email"] == {"customer_id": "a", "source": "crm", "export_date": "2024-01-01"}
    trusted = surviving_customers(customers, known, delivered, ["crm"]).order_by("person_id").to_pandas()
    assert trusted["full_name"].tolist() == ["Ann Lee", "Bo"]
