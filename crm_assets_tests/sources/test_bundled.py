"""Made-up exports with the headers of each bundled source go the whole way to marts, in one workspace."""

import shutil
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.runs import Runs
from crm_assets.settings import load_settings, write_settings

EXAMPLES = Path(__file__).parent / "examples"
NEWEST = date(2024, 3, 21)

VALIDATED = {
    "canonical": {
        "customers": 5,
        "products": 4,
        "transactions": 16,
        "interactions": 3,
        "feedback": 3,
        "campaigns": 1,
        "campaign_contacts": 3,
        "subscriptions": 2,
    },
    # Five firms and a contact of each.
    "fxiaoke": {
        "customers": 10,
        "products": 4,
        "transactions": 16,
        "interactions": 3,
        "feedback": 3,
        "campaigns": 1,
        "campaign_contacts": 3,
    },
    # Five contacts and two companies; three calls and a meeting.
    "hubspot": {"customers": 7, "products": 4, "transactions": 16, "interactions": 4, "feedback": 3, "campaigns": 1},
    # Sixteen order lines and one of a won opportunity.
    "salesforce": {
        "customers": 7,
        "products": 4,
        "transactions": 17,
        "interactions": 4,
        "feedback": 3,
        "campaigns": 1,
        "campaign_contacts": 3,
    },
    # Sixteen lines of customers and a receipt of nobody.
    "shopify": {"customers": 5, "products": 5, "transactions": 17},
    # Five contacts and two accounts in English, two contacts in Chinese; three cases and a note with a review.
    "zoho_crm": {"customers": 9, "products": 4, "transactions": 16, "interactions": 4, "feedback": 4, "campaigns": 1},
}

REJECTED = {
    ("canonical", "ordered_at: 'yesterday' is not a date and time"),
    ("fxiaoke", "ordered_at: missing"),
    ("hubspot", "quantity: 'some' is not a number"),
    ("salesforce", "product_id: missing"),
    ("shopify", "quantity: 'two' is not a number"),
    ("shopify", "amount: missing"),
    ("zoho_crm", "quantity: '-' is not a number"),
}

LEFT_OUT = {
    ("fxiaoke", "interactions"): 1,
    ("fxiaoke", "transactions"): 1,
    ("hubspot", "transactions"): 1,
    ("salesforce", "customers"): 1,
    ("salesforce", "interactions"): 1,
    ("salesforce", "transactions"): 2,
    ("shopify", "products"): 1,
    ("shopify", "transactions"): 3,
    ("zoho_crm", "feedback"): 1,
    ("zoho_crm", "interactions"): 1,
    ("zoho_crm", "transactions"): 2,
}

SEGMENTED = {"canonical": 5, "fxiaoke": 5, "hubspot": 5, "salesforce": 6, "shopify": 5, "zoho_crm": 7}
"""Customers with an order: those who bought, and the companies that bought without a contact."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    home = tmp_path_factory.mktemp("bundled")
    shutil.copytree(EXAMPLES, home / "exports")
    write_settings(home, end_date=date(2024, 3, 31), memory_limit="500MB", threads=2)
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.ingest()
        runs.clean()
        runs.score([NEWEST])
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        yield connection


def rows(warehouse, query, *values):
    return warehouse.execute(query, values).fetchall()


@pytest.mark.parametrize("source", VALIDATED)
def test_each_table_of_a_source_is_validated_in_full(warehouse, source):
    tables = sorted({table for counts in VALIDATED.values() for table in counts})
    found = {
        table: count
        for table in tables
        for (count,) in rows(warehouse, f"SELECT count(*) FROM validated.{table} WHERE _source = ?", source)
        if count
    }
    assert found == VALIDATED[source]


def test_only_the_rows_that_were_planted_are_rejected(warehouse):
    reasons = rows(
        warehouse,
        "SELECT DISTINCT source, reason FROM (SELECT source, unnest(reasons) AS reason FROM quality.quarantine) "
        "WHERE reason NOT LIKE 'left out by the mapping%'",
    )
    assert set(reasons) == REJECTED


def test_what_is_no_sale_or_contact_is_left_out_by_the_mapping(warehouse):
    found = rows(
        warehouse,
        "SELECT source, table_name, count(*) FROM quality.quarantine "
        "WHERE reasons[1] LIKE 'left out by the mapping%' GROUP BY ALL",
    )
    assert {(source, table): count for source, table, count in found} == LEFT_OUT


def test_rows_delivered_are_rows_validated_and_rejected(warehouse):
    for table in ("customers", "products", "transactions", "interactions", "feedback"):
        (delivered,) = rows(warehouse, f"SELECT count(*) FROM raw.{table}")
        (kept,) = rows(warehouse, f"SELECT count(*) FROM validated.{table}")
        (rejected,) = rows(warehouse, f"SELECT count(*) FROM quality.quarantine_{table}")
        assert delivered[0] == kept[0] + rejected[0], table


def test_customers_of_every_source_come_to_the_marts_as_persons(warehouse):
    # The examples are of the same people, so records of several sources are one person.
    found = rows(
        warehouse,
        "SELECT _source, count(DISTINCT record.customer_id) "
        "FROM (SELECT DISTINCT _source, customer_id FROM validated.customers) AS record "
        "JOIN profile.identity_members AS member ON member.customer_id = record.customer_id "
        "JOIN marts.customer_segments AS segment ON segment.customer_id = member.person_id "
        "WHERE member.valid_to IS NULL AND segment.as_of = ? "
        "AND record.customer_id IN (SELECT customer_id FROM clean.transactions) GROUP BY ALL",
        NEWEST,
    )
    assert dict(found) == SEGMENTED


def test_the_lines_of_a_shopify_order_are_its_customer_s(warehouse):
    lines = rows(
        warehouse,
        "SELECT line_id, customer_id, product_id, ordered_at, amount, channel FROM validated.transactions "
        "WHERE order_id = '#1003' ORDER BY line_id",
    )
    at = datetime(2024, 1, 12, 20, 5)
    assert lines == [
        ("1", "cara.diaz@example.com", "Iron pot", at, Decimal(48), "web"),
        ("2", "cara.diaz@example.com", "TEA-1", at, Decimal("12.5"), "web"),
        ("3", "cara.diaz@example.com", "CUP-1", at, Decimal(30), "web"),
    ]
    # The product without a stock number goes by its name on both sides; a variant is told by its option.
    products = rows(
        warehouse, "SELECT product_id, product_name, brand FROM validated.products WHERE _source = 'shopify'"
    )
    assert ("Iron pot", "Iron pot", "Example Iron") in products
    assert ("TEA-1-250", "Green tea - 250 g", "Example Goods") in products
    # Its mail was written in another way.
    assert rows(warehouse, "SELECT customer_id FROM validated.transactions WHERE order_id = '#1004'") == [
        ("ann.lee@example.com",)
    ]


def test_order_lines_take_customer_and_day_from_their_order(warehouse):
    query = (
        "SELECT DISTINCT customer_id, ordered_at FROM validated.transactions "
        "WHERE _source = ? AND (order_id = ? OR order_id LIKE ?) ORDER BY ALL"
    )
    # The order of 8 deals is one without a contact: it is the company's.
    assert rows(warehouse, query, "hubspot", "1008", "") == [("company-101", datetime(2024, 3, 20, 19, 40))]
    assert rows(warehouse, query, "salesforce", "", "801%1003") == [("0035g0000000000002", datetime(2024, 1, 12))]
    assert rows(warehouse, query, "salesforce", "", "801%1008") == [("0015g0000000000000", datetime(2024, 3, 20))]
    # A day in China begins at 16:00 UTC of the day before.
    assert rows(warehouse, query, "fxiaoke", "SO1005", "") == [("示例广州市茶行", datetime(2024, 2, 13, 16))]


def test_zoho_exports_of_both_languages_are_read_alike(warehouse):
    people = rows(
        warehouse,
        "SELECT full_name, phone, occupation, city, consent_email FROM validated.customers "
        "WHERE _source = 'zoho_crm' AND email IN ('bob.stone@example.com', 'li.wei@example.com') ORDER BY email",
    )
    assert people == [
        ("Bob Stone", "+1 202 555 0102", "Buyer", "York", False),
        ("李伟", "13800000002", "采购", "上海市", False),
    ]
    lines = rows(
        warehouse,
        "SELECT _file, count(*), sum(amount) FROM validated.transactions WHERE _source = 'zoho_crm' GROUP BY ALL ORDER BY ALL",
    )
    assert lines == [
        ("Sales_Orders_2024_03_31.csv", 11, Decimal("272.9")),
        ("销售订单_2024_03_31.csv", 5, Decimal(152)),
    ]


def test_calls_visits_and_complaints_keep_their_length_and_end(warehouse):
    calls = rows(
        warehouse,
        "SELECT _source, sum(duration_s) FROM validated.interactions WHERE kind = 'call' GROUP BY ALL ORDER BY ALL",
    )
    assert calls == [("canonical", 527), ("fxiaoke", None), ("hubspot", 527), ("salesforce", 527), ("zoho_crm", 527)]
    settled = rows(warehouse, "SELECT _source, count(resolved_at) FROM validated.feedback GROUP BY ALL ORDER BY ALL")
    assert settled == [("canonical", 2), ("fxiaoke", 2), ("hubspot", 2), ("salesforce", 2), ("zoho_crm", 2)]


def test_every_delivered_file_feeds_a_table(warehouse):
    assert rows(warehouse, "SELECT file FROM quality.delivered_files WHERE len(tables) = 0") == []
