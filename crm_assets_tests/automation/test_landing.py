"""What has landed and what is stale: exactly what changed, and nothing twice."""

import os
import shutil
import time
from datetime import date, timedelta
from itertools import pairwise

import ibis
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.assets.identity import IDENTITY_ASSETS, persons_made_with
from crm_assets.automation.landing import (
    day_ranges,
    landed_deliveries,
    stale_days,
    stale_dimensions,
    stale_identity,
    tables_of_deliveries,
    touched_days,
)
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.layers import DELIVERED_DAYS, DELIVERED_FILES
from crm_assets.contracts.registry import contract_of
from crm_assets.sources.deliveries import Delivery, list_files, sha256
from crm_assets.sources.mapping import mapping_sha256, read_sources

PERSONS = [("profile", "customers_current"), *(tuple(key) for key in IDENTITY_ASSETS if key[0] != "models")]

FIRST, SECOND = date(2024, 3, 1), date(2024, 3, 2)


def record_files(lake, settings, delivery, tables=()):
    """Note the delivery's files in the lake, as the last step of an ingestion does."""
    folder = delivery.folder(settings.exports)
    rows = [
        {
            "file": file.name,
            "bytes": file.bytes,
            "modified_ns": file.modified_ns,
            "sha256": sha256(folder / file.name),
            "tables": list(tables),
            "mapping_sha256": mapping_sha256(read_sources(settings.sources)[delivery.source]),
            "_source": delivery.source,
            "_export_date": delivery.export_date,
        }
        for file in list_files(folder)
    ]
    table = ibis.memtable(pa.Table.from_pylist(rows, DELIVERED_FILES.schema.to_pyarrow()))
    lake.write("quality", DELIVERED_FILES, table, [(delivery.source, delivery.export_date.isoformat())])


def record_days(lake, exported, *days, table="transactions"):
    rows = [
        {
            "table_name": table,
            "day": day,
            "rows": 1,
            "late_rows": 0,
            "shared_days": [],
            "_source": "crm",
            "_export_date": exported,
        }
        for day in days
    ]
    rows_table = ibis.memtable(pa.Table.from_pylist(rows, DELIVERED_DAYS.schema.to_pyarrow()))
    lake.write("quality", DELIVERED_DAYS, rows_table, [("crm", exported.isoformat())])
    time.sleep(0.01)


def clean(lake, *days, tables=(("clean", "transactions"), ("profile", "customer_days"))):
    for layer, name in tables:
        lake.write(layer, contract_of(layer, name), None, [(day.isoformat(),) for day in days])
    time.sleep(0.01)


def test_exports_are_landed_and_not_ingested_until_the_lake_holds_their_files(workspace, lake):
    landed = landed_deliveries(workspace, lake)
    assert [found.delivery for found in landed] == [Delivery("crm", FIRST), Delivery("crm", SECOND)]
    assert not any(found.is_ingested for found in landed)
    record_files(lake, workspace, Delivery("crm", FIRST))
    assert [found.is_ingested for found in landed_deliveries(workspace, lake)] == [True, False]


def test_a_file_that_is_written_again_is_not_ingested_any_more(workspace, lake):
    record_files(lake, workspace, Delivery("crm", FIRST))
    path = workspace.exports / "crm" / "2024-03-01" / "orders.csv"
    os.utime(path, ns=(1, 1))
    found = landed_deliveries(workspace, lake)[0]
    assert not found.is_ingested
    assert found.newest_ns == (path.parent / "customers.csv").stat().st_mtime_ns


def test_a_changed_mapping_makes_every_delivery_of_its_source_new_and_a_comment_does_not(workspace, lake):
    for day in (FIRST, SECOND):
        record_files(lake, workspace, Delivery("crm", day))
    mapping = workspace.sources / "crm.yaml"
    mapping.write_text("# a comment\n" + mapping.read_text("utf-8"), "utf-8")
    assert all(found.is_ingested for found in landed_deliveries(workspace, lake))
    mapping.write_text(mapping.read_text("utf-8").replace("full_name: name, ", ""), "utf-8")
    assert not any(found.is_ingested for found in landed_deliveries(workspace, lake))


def test_a_delivery_whose_folder_is_gone_stays_ingested_until_its_mapping_changes(workspace, lake):
    record_files(lake, workspace, Delivery("crm", FIRST))
    shutil.rmtree(workspace.exports / "crm" / "2024-03-01")
    assert [found.is_ingested for found in landed_deliveries(workspace, lake)] == [True, False]
    mapping = workspace.sources / "crm.yaml"
    mapping.write_text(mapping.read_text("utf-8").replace("full_name: name, ", ""), "utf-8")
    gone = landed_deliveries(workspace, lake)[0]
    assert (gone.delivery, gone.is_ingested, gone.newest_ns) == (Delivery("crm", FIRST), False, 0)
    mapping.unlink()
    assert landed_deliveries(workspace, lake) == []


def test_a_file_that_joins_a_delivery_makes_it_new(workspace, lake):
    record_files(lake, workspace, Delivery("crm", FIRST))
    (workspace.exports / "crm" / "2024-03-01" / "orders_2.csv").write_text("order\n")
    assert not landed_deliveries(workspace, lake)[0].is_ingested


def test_an_empty_folder_and_an_unfinished_file_have_not_landed(workspace, lake):
    (workspace.exports / "crm" / "2024-03-03").mkdir()
    (workspace.exports / "crm" / "2024-03-04").mkdir()
    (workspace.exports / "crm" / "2024-03-04" / "orders.csv.part").write_text("order")
    assert [found.delivery.export_date for found in landed_deliveries(workspace, lake)] == [FIRST, SECOND]


def test_touched_days_are_those_of_the_deliveries_asked_for(lake):
    record_days(lake, FIRST, FIRST)
    record_days(lake, SECOND, SECOND, FIRST)
    assert touched_days(lake) == {"transactions": [FIRST, SECOND]}
    assert touched_days(lake, ["crm--2024-03-01"]) == {"transactions": [FIRST]}
    assert touched_days(lake, ["crm--2024-03-09"]) == {}


def test_days_that_were_never_cleaned_are_stale(lake):
    assert stale_days(lake) == {}
    record_days(lake, FIRST, FIRST, SECOND)
    assert stale_days(lake) == {"transactions": [FIRST, SECOND]}
    clean(lake, FIRST)
    assert stale_days(lake) == {"transactions": [SECOND]}


def test_a_later_delivery_makes_its_days_stale_again_and_no_other(lake):
    record_days(lake, FIRST, FIRST, SECOND)
    clean(lake, FIRST, SECOND)
    assert stale_days(lake) == {}
    record_days(lake, SECOND, SECOND)
    assert stale_days(lake) == {"transactions": [SECOND]}


def test_a_day_that_was_cleaned_and_is_empty_is_not_stale(lake):
    record_days(lake, FIRST, FIRST)
    clean(lake, FIRST)
    record_days(lake, SECOND, FIRST)
    clean(lake, FIRST)
    assert stale_days(lake) == {}


def test_order_lines_without_their_customer_days_are_stale(lake):
    record_days(lake, FIRST, FIRST)
    clean(lake, FIRST, tables=[("clean", "transactions")])
    assert stale_days(lake) == {"transactions": [FIRST]}


def test_each_event_table_has_its_own_stale_days(lake):
    record_days(lake, FIRST, FIRST, table="feedback")
    clean(lake, FIRST)
    assert stale_days(lake) == {"feedback": [FIRST]}
    clean(lake, FIRST, tables=[("clean", "feedback")])
    assert stale_days(lake) == {}


def test_a_dimension_is_stale_when_a_delivery_came_after_it_was_cleaned(workspace, lake):
    names = ["products", "campaigns", "customers"]
    stale = stale_dimensions(workspace, lake)
    assert [key for key in stale if key[0] == "clean"] == [["clean", name] for name in stale_order(names)]
    contract = contract_of("validated", "products")
    lake.write("validated", contract, None, [("crm", "2024-03-01")])
    time.sleep(0.01)
    for layer, name in (*(("clean", name) for name in names), *PERSONS):
        made = contract_of(layer, name)
        lake.write(layer, made, lake.engine.empty(made.schema), [()], persons_made_with(workspace))
    assert stale_dimensions(workspace, lake) == []
    time.sleep(0.01)
    lake.write("validated", contract, None, [("crm", "2024-03-02")])
    assert stale_dimensions(workspace, lake) == [["clean", "products"]]


def stale_order(names):
    return [name for name in CANONICAL if name in names]


def test_stale_customers_make_persons_stale_too(workspace, lake):
    lake.write("validated", contract_of("validated", "customers"), None, [("crm", "2024-03-01")])
    assert ["profile", "identity_members"] in stale_dimensions(workspace, lake)


def test_persons_are_stale_when_a_run_was_killed_after_it_cleaned_customers(workspace, lake):
    def make(*places):
        for layer, name in places:
            contract = contract_of(layer, name)
            lake.write(layer, contract, lake.engine.empty(contract.schema), [()], persons_made_with(workspace))
            time.sleep(0.01)

    make(*(("clean", name) for name in ("products", "campaigns", "customers")))
    expected = [["profile", "customers_current"], *IDENTITY_ASSETS]
    assert stale_dimensions(workspace, lake) == expected
    make(*PERSONS[:-1])
    assert stale_dimensions(workspace, lake) == expected
    make(*PERSONS)
    assert stale_dimensions(workspace, lake) == []


def test_a_delivery_feeds_the_tables_of_its_files_and_of_those_it_held(workspace, lake):
    key = "crm--2024-03-01"
    assert tables_of_deliveries(workspace, lake, [key]) == {"transactions", "customers"}
    record_files(lake, workspace, Delivery("crm", FIRST), tables=["transactions"])
    (workspace.exports / "crm" / "2024-03-01" / "orders.csv").unlink()
    assert tables_of_deliveries(workspace, lake, [key]) == {"transactions", "customers"}
    assert tables_of_deliveries(workspace, lake, ["crm--2030-01-01"]) == set()


@pytest.mark.parametrize("changed", [{"identity_threshold": 0.9}, {"phone_region": "CN"}, {"source_priority": ["crm"]}])
def test_persons_are_stale_when_a_setting_they_depend_on_changes(workspace, lake, changed):
    members = contract_of("profile", "identity_members")
    assert not stale_identity(workspace, lake)  # they were never found, which `stale_dimensions` says
    lake.write("profile", members, ibis.memtable([], schema=members.schema), [()], persons_made_with(workspace))
    assert not stale_identity(workspace, lake)
    assert not stale_identity(workspace.model_copy(update={"seed": 1}), lake)
    assert stale_identity(workspace.model_copy(update=changed), lake)


def test_persons_are_stale_when_it_is_not_known_what_they_were_found_with(workspace, lake):
    members = contract_of("profile", "identity_members")
    lake.write("profile", members, ibis.memtable([], schema=members.schema), [()])
    assert stale_identity(workspace, lake)


@given(st.lists(st.dates(date(2023, 12, 1), date(2024, 3, 31))))
def test_day_ranges_hold_exactly_the_days_and_are_as_few_as_can_be(days):
    ranges = day_ranges(days)
    held = [first + timedelta(n) for first, last in ranges for n in range((last - first).days + 1)]
    assert held == sorted(set(days))
    assert all(second - last > timedelta(1) for (_, last), (second, _) in pairwise(ranges))
