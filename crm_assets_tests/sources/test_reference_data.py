"""Public data sets load by the mappings of docs/examples alone, every row accounted for, and a re-delivery changes nothing.

Rows go through reading, judging and cleaning without orchestration, which the chain tests hold.
"""

import json
import os
import re
import shutil
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

import ibis
import pytest

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.mining.cleaning import clean_dimension
from crm_assets.sources.deliveries import list_files
from crm_assets.sources.mapping import read_source
from crm_assets.sources.readers import read_files
from crm_assets.sources.rows import judge, rejected_rows, valid_rows

REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
EXPORTED, AGAIN = date(2024, 3, 1), date(2024, 4, 1)

pytestmark = pytest.mark.slow


class Loaded:
    """A table of a data set: rows as judged, held in the engine."""

    def __init__(self, table, judged):
        self.contract = CANONICAL[table]
        self.valid = valid_rows(judged)
        self.rejected = rejected_rows(judged, self.contract)

    def count(self, condition=None):
        rows = self.valid if condition is None else self.valid.filter(condition)
        return int(rows.count().to_pyarrow().as_py())

    def distinct(self, column):
        return int(self.valid[column].nunique().to_pyarrow().as_py())

    def sum(self, column):
        return self.valid[column].sum().to_pyarrow().as_py()

    def reasons(self):
        reason = self.rejected.mutate(reason=self.rejected["reasons"].join("; "))
        counts = reason.group_by("reason").agg(rows=reason.count()).to_pyarrow().to_pylist()
        return {row["reason"]: row["rows"] for row in counts}


@pytest.fixture(scope="module")
def load(engine, tmp_path_factory):
    """Load a table of a data set whose files are delivered as they are; each file is read once for a table."""
    kept = ExitStack()

    @cache
    def delivered(name):
        if not (REFERENCE / name).is_dir():
            pytest.skip(f"reference data {name} not found; set CRM_REFERENCE_DATA to its folder")
        folder = tmp_path_factory.mktemp(name) / EXPORTED.isoformat()
        return Path(shutil.copytree(REFERENCE / name, folder))

    @cache
    def raw(name, table):
        folder, source = delivered(name), read_source(EXAMPLES / f"{name}.yaml")
        files = [file.name for file in list_files(folder)]
        return kept.enter_context(engine.held(read_files(engine.backend, folder, source.tables[table], files)))

    @cache
    def load(name, table, exported=EXPORTED):
        rows = raw(name, table).mutate(_source=ibis.literal(name), _export_date=ibis.literal(exported))
        judged = judge(rows, read_source(EXAMPLES / f"{name}.yaml"), CANONICAL[table])
        return Loaded(table, kept.enter_context(engine.held(judged)))

    with kept:
        yield load


def without_export(rows):
    return rows.drop("_export_date")


def same_rows(left, right):
    left, right = without_export(left), without_export(right)
    # The counts are equal and so are the distinct rows; a row's place in its file makes each distinct.
    gone, new = left.difference(right), right.difference(left)
    return gone.count().to_pyarrow().as_py() == 0 and new.count().to_pyarrow().as_py() == 0


TABLES = {
    "online_retail": ["transactions", "products", "customers"],
    "telco": ["customers", "subscriptions"],
    "cdnow": ["transactions", "customers"],
    "marketing_campaign": ["customers", "campaign_contacts", "feedback"],
    "hillstrom": ["customers", "campaigns", "campaign_contacts"],
    "bank_marketing": ["customers", "campaigns", "campaign_contacts", "interactions"],
    "reviews_zh": ["feedback", "products"],
}


def test_each_example_maps_the_tables_that_are_tested_and_the_retail_one_in_under_40_lines():
    for name, tables in TABLES.items():
        assert list(read_source(EXAMPLES / f"{name}.yaml").tables) == tables
    assert len((EXAMPLES / "online_retail.yaml").read_text("utf-8").splitlines()) < 40


def test_every_line_of_online_retail_is_accounted_for(load):
    lines = load("online_retail", "transactions")
    rejected = lines.reasons()
    assert lines.count() + sum(rejected.values()) == 541_909
    assert [re.sub(r":.*", "", reason) for reason in rejected] == ["left out by the mapping"]
    assert lines.count() == 538_963
    delivered = {json.loads(row)["InvoiceNo"] for row in lines.rejected.to_pyarrow()["raw_row"].to_pylist()}
    delivered |= set(lines.valid.select("order_id").distinct().to_pyarrow()["order_id"].to_pylist())
    assert len(delivered) == 25_900
    # Anonymous lines stay for baskets, cancellations with negative amounts for what is left to net.
    valid = lines.valid
    assert lines.count(valid.customer_id.isnull()) == 134_050
    assert lines.count(valid.is_return) == 8_704
    assert lines.sum("quantity") == 5_166_141
    assert lines.sum("amount") == Decimal("9792708.883")
    assert valid.filter(valid.is_return).amount.sum().to_pyarrow().as_py() == Decimal("-478724.18")


def test_service_codes_are_no_products(load):
    products = load("online_retail", "products")
    codes = set(products.valid.select("product_id").distinct().to_pyarrow()["product_id"].to_pylist())
    assert not codes & {"POST", "DOT", "D", "M", "m", "C2", "S", "B", "BANK CHARGES", "AMAZONFEE", "CRUK"}
    assert len(codes) == 4_054


def test_customers_of_online_retail(load):
    customers = load("online_retail", "customers")
    assert customers.distinct("customer_id") == 4_372
    assert customers.count() == 541_909 - 135_080


def test_telco(load):
    customers, contracts = load("telco", "customers"), load("telco", "subscriptions")
    assert customers.count() == contracts.count() == 7_043
    assert contracts.count(contracts.valid.ended_at.notnull()) == 1_869
    assert not customers.reasons()
    assert not contracts.reasons()


def test_cdnow(load):
    purchases = load("cdnow", "transactions")
    assert purchases.count() == 69_659
    assert sum(purchases.reasons().values()) == 1  # the header
    assert purchases.distinct("customer_id") == 23_570
    assert load("cdnow", "customers").distinct("customer_id") == 23_570
    assert purchases.sum("quantity") == 167_881
    assert purchases.sum("amount") == Decimal("2500315.63")


def test_marketing_campaign(load):
    customers, contacts = load("marketing_campaign", "customers"), load("marketing_campaign", "campaign_contacts")
    assert customers.count() == contacts.count() == 2_240
    assert contacts.count(contacts.valid.responded_at.notnull()) == 334
    complaints = load("marketing_campaign", "feedback")
    assert complaints.count() == 21
    assert sum(complaints.reasons().values()) == 2_240 - 21


def test_hillstrom(load):
    contacts = load("hillstrom", "campaign_contacts")
    assert contacts.count() == contacts.distinct("customer_id") == 64_000
    arms = contacts.valid.group_by("campaign_id").agg(
        visits=contacts.valid.responded_at.notnull().mean().round(5),
        conversion=(contacts.valid.response_value > 0).mean().round(5),
        spend=contacts.valid.response_value.cast("float64").mean().round(5),
        control=contacts.valid.is_control.all(),
    )
    assert {
        row["campaign_id"]: (row["visits"], row["conversion"], row["spend"], row["control"])
        for row in arms.to_pyarrow().to_pylist()
    } == {
        "Mens E-Mail": (0.18276, 0.01253, 1.42262, False),
        "Womens E-Mail": (0.15140, 0.00884, 1.07720, False),
        "No E-Mail": (0.10617, 0.00573, 0.65279, True),
    }
    assert load("hillstrom", "customers").count() == 64_000
    assert load("hillstrom", "campaigns").distinct("campaign_id") == 3


def test_bank_marketing(load):
    contacts, calls = load("bank_marketing", "campaign_contacts"), load("bank_marketing", "interactions")
    assert contacts.count() == calls.count() == load("bank_marketing", "customers").count() == 41_188
    assert contacts.count(contacts.valid.responded_at.notnull()) == 4_640
    assert contacts.valid.contacted_at.max().to_pyarrow().as_py().year == 2010


def test_reviews_zh(load):
    reviews = load("reviews_zh", "feedback")
    assert reviews.count() == 62_774
    assert not reviews.reasons()
    assert load("reviews_zh", "products").distinct("product_id") == 10


@pytest.mark.parametrize("name", [name for name in TABLES if name != "online_retail"])
def test_a_redelivery_gives_the_same_rows_and_changes_no_customer(load, name):
    for table in TABLES[name]:
        first, second = load(name, table), load(name, table, AGAIN)
        assert same_rows(first.valid, second.valid), table
        if table in ("customers", "products", "campaigns"):
            contract = CANONICAL[table]
            once = clean_dimension(first.valid, contract)
            twice = clean_dimension(first.valid.union(second.valid), contract)
            assert once.count().to_pyarrow() == twice.count().to_pyarrow()
