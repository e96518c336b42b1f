"""Which months have to be added up again: a few orders of two persons with three records."""

from datetime import date

import ibis
import pytest

from crm_assets.contracts.behaviour import BEHAVIOUR_SALES
from crm_assets.contracts.model import Column
from crm_assets.mining import sales_months
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.sales_months import changed_since, mattered, states
from crm_assets_tests.mining.feature_tables import line, product_versions_table, transactions_table

CONNECTION = ibis.duckdb.connect()
JANUARY, FEBRUARY, MARCH = date(2024, 1, 15), date(2024, 2, 15), date(2024, 3, 15)
LINES = [
    line("ann", JANUARY, "o1", "tea", "10"),
    line("bob", FEBRUARY, "o2", "soap", "5"),
    line("cid", MARCH, "o3", "tea", "7"),
    line(None, MARCH, "o4", "pens", "1"),
]
MADE = [("2024-01-15", 1), ("2024-02-15", 1), ("2024-03-15", 1)]
CATEGORIES = {"tea": "food", "soap": "home", "pens": "office"}


def state(lines=LINES, made=MADE, categories=CATEGORIES, persons=None):
    """The state of each month."""
    transactions = transactions_table(CONNECTION, lines)
    versions = [
        {"product_id": product, "category": category, "valid_from": JANUARY, "valid_to": None}
        for product, category in categories.items()
    ]
    others = persons and ibis.memtable(
        [{"customer_id": record, "person_id": person} for record, person in persons.items()]
    )
    products = product_versions_table(CONNECTION, versions)
    told = mattered(transactions, customer_days(transactions), products, others)
    return states(made, [told.to_pyarrow()])


@pytest.mark.parametrize(
    ("changed", "since"),
    [
        ({}, 3),
        ({"made": [*MADE, ("2024-03-16", 1)]}, 3),
        ({"made": [("2024-01-15", 1), ("2024-02-15", 2), ("2024-03-15", 1)]}, 2),
        ({"made": MADE[1:]}, None),
        ({"categories": {**CATEGORIES, "soap": "care"}}, 2),
        ({"categories": {"tea": "food", "pens": "office"}}, 2),
        ({"categories": {**CATEGORIES, "tea": None}}, None),
        ({"categories": {**CATEGORIES, "gone": "food"}}, 3),
        ({"persons": {"bob": "ann"}}, 2),
        ({"persons": {"ann": "bob"}}, 2),
        ({"persons": {"ann": "cid", "bob": "cid"}}, 2),
        ({"persons": {"ann": "cid"}}, 3),
        ({"persons": {"ann": "nobody"}}, 3),
    ],
)
def test_a_month_changes_with_what_its_sales_depend_on(changed, since):
    expected = since and date(2024, since, 1)
    assert changed_since(state(), state(**changed)) == expected
    assert changed_since(state(**changed), state()) == expected


def test_who_leads_a_person_matters_and_its_name_does_not():
    assert state(persons={"ann": "bob"}) == state(persons={"bob": "ann"})
    before, now = state(persons={"ann": "bob", "cid": "bob"}), state(persons={"cid": "bob"})
    assert changed_since(before, now) == date(2024, 2, 1)


def test_no_month_stays_of_which_nothing_is_known_and_the_newest_is_always_added_up():
    assert changed_since({}, state()) is None
    assert changed_since(state(), {}) is None
    assert changed_since({}, {}) is None
    assert changed_since({"2023-12": "x"}, {"2024-01": "y"}) is None
    assert changed_since({"2024-01": "x"}, {"2024-01": "x"}) is None
    assert changed_since({"2024-01": "x"}, {"2024-01": "x", "2024-02": "y"}) == date(2024, 2, 1)


def test_rows_of_another_version_s_columns_are_not_kept(monkeypatch):
    before = state()
    more = Column("margin", "float64", "Not there before.")
    monkeypatch.setattr(sales_months, "BEHAVIOUR_SALES", BEHAVIOUR_SALES.with_columns(more, key=BEHAVIOUR_SALES.key))
    assert changed_since(before, state()) is None
