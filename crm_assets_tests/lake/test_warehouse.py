"""The published file: what people see, and that publishing never gets in their way."""

import multiprocessing
import os
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import ibis
import pytest

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.model import Column
from crm_assets.contracts.registry import contract_of, lake_tables
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.layout import Lake
from crm_assets.lake.warehouse import Warehouse

CURRENT = contract_of("profile", "customers_current")
DAYS = contract_of("profile", "customer_days")


def query(warehouse, sql):
    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def row_of(contract, **values):
    """A row of a table with the values that matter to a test, and any for the columns that must not be null."""
    some = {
        "string": "x",
        "int64": 1,
        "float64": 0.5,
        "boolean": True,
        "array<string>": ["x"],
        "date": date(2024, 1, 1),
    }
    made = {column.name: some.get(column.dtype, Decimal(1)) if column.required else None for column in contract.columns}
    assert set(values) <= set(made)
    return {**made, **values}


def write(lake, layer, contract, rows, partitions=((),)):
    lake.write(layer, contract, ibis.memtable(rows, schema=contract.schema), list(partitions))


def test_every_table_can_be_queried_before_it_has_rows(warehouse):
    warehouse.publish((layer, contract) for (layer, _), contract in lake_tables().items())
    for layer, name in lake_tables():
        assert query(warehouse, f"SELECT count(*) FROM {layer}.{name}") == [(0,)]
    columns = [name for name, *_ in query(warehouse, "DESCRIBE marts.churn_scores")]
    assert columns == list(contract_of("marts", "churn_scores").by_name)


def test_types_are_those_of_the_contract_with_and_without_rows(warehouse, lake):
    warehouse.publish([("profile", DAYS)])
    before = query(warehouse, "DESCRIBE profile.customer_days")
    write(lake, "profile", DAYS, [row_of(DAYS, day=date(2024, 1, 1))], [("2024-01-01",)])
    warehouse.publish([("profile", DAYS)])
    assert query(warehouse, "DESCRIBE profile.customer_days") == before


def test_new_partitions_show_without_publishing(warehouse, lake):
    write(lake, "profile", DAYS, [row_of(DAYS, day=date(2024, 1, 1))], [("2024-01-01",)])
    warehouse.publish([("profile", DAYS)])
    write(lake, "profile", DAYS, [row_of(DAYS, day=date(2024, 1, 2))], [("2024-01-02",)])
    assert query(warehouse, "SELECT day FROM profile.customer_days ORDER BY day") == [
        (date(2024, 1, 1),),
        (date(2024, 1, 2),),
    ]


def test_rows_of_a_killed_process_show_once_anything_is_published(warehouse, lake):
    """It was killed after the first rows of a table were in place and before the view of it was."""
    write(lake, "profile", CURRENT, [row_of(CURRENT)])
    warehouse.publish()
    assert warehouse.is_current()
    write(lake, "profile", DAYS, [row_of(DAYS, day=date(2024, 1, 1))], [("2024-01-01",)])
    assert query(warehouse, "SELECT count(*) FROM profile.customer_days") == [(0,)]
    # As a process finds it that has not asked before.
    os.utime(warehouse.path, (0, 0))
    assert not warehouse.is_current()
    warehouse.publish([("profile", CURRENT)])
    assert query(warehouse, "SELECT count(*) FROM profile.customer_days") == [(1,)]
    assert warehouse.is_current()


def test_a_column_that_files_of_an_earlier_version_lack_is_null(warehouse, lake):
    added = Column("added", "string", "There since this version.")
    now = replace(DAYS, columns=(*DAYS.columns, added))
    write(lake, "profile", DAYS, [row_of(DAYS, day=date(2024, 1, 1))], [("2024-01-01",)])
    warehouse.publish()
    warehouse.publish([("profile", now)])
    assert query(warehouse, "SELECT day, added FROM profile.customer_days") == [(date(2024, 1, 1), None)]
    write(lake, "profile", now, [row_of(now, day=date(2024, 1, 2), added="x")], [("2024-01-02",)])
    found = query(warehouse, "SELECT day, added FROM profile.customer_days ORDER BY day")
    assert found == [(date(2024, 1, 1), None), (date(2024, 1, 2), "x")]


def test_publishing_does_not_disturb_an_open_reader(warehouse, lake):
    write(lake, "profile", CURRENT, [row_of(CURRENT, customer_id="old")])
    warehouse.publish([("profile", CURRENT)])
    with duckdb.connect(str(warehouse.path), read_only=True) as reader:
        write(lake, "profile", CURRENT, [row_of(CURRENT, customer_id="new")])
        warehouse.publish([("profile", CURRENT), ("profile", DAYS)])
        assert reader.execute("SELECT customer_id FROM profile.customers_current").fetchall() == [("new",)]
    assert query(warehouse, "SELECT count(*) FROM profile.customer_days") == [(0,)]


def test_the_first_publication_shows_every_table(warehouse):
    warehouse.publish([("profile", CURRENT)])
    views = query(warehouse, "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal")
    assert set(views) == {*lake_tables(), ("quality", "quarantine"), ("quality", "model_leaderboard")}


def test_a_warehouse_is_current_once_published_and_no_longer_when_the_workspace_has_moved(engine, tmp_path):
    old, new = tmp_path / "old shop's", tmp_path / "new"
    before = Warehouse(old / "warehouse.duckdb", Lake(old / "lake", engine))
    assert not before.is_current()
    write(before.lake, "profile", CURRENT, [row_of(CURRENT, customer_id="a")])
    before.publish([("profile", CURRENT)])
    assert before.is_current()
    old.rename(new)
    after = Warehouse(new / "warehouse.duckdb", Lake(new / "lake", engine))
    assert not after.is_current()
    after.publish()
    assert after.is_current()
    assert query(after, "SELECT customer_id FROM profile.customers_current") == [("a",)]


def test_publishing_that_fails_leaves_the_old_file_and_no_other(warehouse, lake):
    warehouse.publish([("profile", CURRENT)])
    before = warehouse.path.read_bytes()
    write(lake, "profile", DAYS, [row_of(DAYS, day=date(2024, 1, 1))], [("2024-01-01",)])
    lake.file_of("profile", DAYS, ("2024-01-01",)).write_bytes(b"not a table")
    with pytest.raises(duckdb.Error):
        warehouse.publish([("profile", DAYS)])
    assert warehouse.path.read_bytes() == before
    assert [path.name for path in warehouse.path.parent.glob(".warehouse*") if path.suffix != ".lock"] == []


def test_a_workspace_with_a_quote_in_its_path_is_published(engine, tmp_path):
    lake = Lake(tmp_path / "it's" / "lake", engine)
    warehouse = Warehouse(tmp_path / "it's" / "warehouse.duckdb", lake)
    write(lake, "profile", CURRENT, [row_of(CURRENT, customer_id="a")])
    warehouse.publish([("profile", CURRENT)])
    assert query(warehouse, "SELECT customer_id FROM profile.customers_current") == [("a",)]


def test_quarantine_shows_the_rejected_rows_of_all_tables(warehouse, lake):
    for name in ("customers", "transactions"):
        contract = contract_of("quality", f"quarantine_{name}")
        row = row_of(contract, table_name=name, reasons=["bad"], raw_row="{}", _source="crm", _line=7)
        write(lake, "quality", contract, [row], [("crm", "2024-01-01")])
    warehouse.publish([("quality", contract_of("quality", f"quarantine_{name}")) for name in CANONICAL])
    rows = query(
        warehouse, "SELECT export_date, table_name, reasons, raw_row, source, line FROM quality.quarantine ORDER BY 2"
    )
    assert rows == [(date(2024, 1, 1), name, ["bad"], "{}", "crm", 7) for name in ("customers", "transactions")]


def test_model_leaderboard_shows_the_candidates_of_all_models(warehouse, lake):
    contract = contract_of("quality", "leaderboard_churn")
    row = row_of(contract, model="churn", candidate="recency", metric="auc", value=0.75, month=date(2024, 1, 1))
    write(lake, "quality", contract, [row], [("2024-01-01",)])
    warehouse.publish([("quality", contract)])
    rows = query(warehouse, "SELECT * FROM quality.model_leaderboard")
    assert rows == [("churn", date(2024, 1, 1), "recency", "auc", 0.75, None, None, True)]


def test_a_raw_table_shows_the_columns_of_all_files(warehouse, lake):
    for day, column in (("2024-01-01", "old"), ("2024-01-02", "new")):
        folder = lake.folder("raw", "customers") / "_source=007" / f"_export_date={day}"
        folder.mkdir(parents=True)
        lake.engine.write_file(ibis.memtable({"id": ["1"], column: ["x"]}), folder / "part.parquet", [])
    warehouse.publish(raw_tables=["customers"])
    rows = query(warehouse, "SELECT id, old, new, _source, _export_date FROM raw.customers ORDER BY 5")
    assert rows == [("1", "x", None, "007", date(2024, 1, 1)), ("1", None, "x", "007", date(2024, 1, 2))]


def test_a_raw_table_without_rows_is_left_out(warehouse):
    warehouse.publish(raw_tables=["customers"])
    assert query(warehouse, "SELECT view_name FROM duckdb_views() WHERE schema_name = 'raw'") == []


def _publish_all(folder, layers):
    lake = Lake(folder / "lake", DuckDBEngine("200MB", 1, str(folder / "spill")))
    for (layer, _), contract in lake_tables().items():
        if layer in layers:
            Warehouse(folder / "warehouse.duckdb", lake).publish([(layer, contract)])


def test_two_processes_publishing_at_once_lose_no_table(tmp_path: Path, lake):
    write(lake, "profile", CURRENT, [row_of(CURRENT, customer_id="a")])
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=_publish_all, args=(tmp_path, layers)) for layers in (("clean", "marts"), ("quality",))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        views = set(
            connection.execute("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        )
    assert views == {*lake_tables(), ("quality", "quarantine"), ("quality", "model_leaderboard")}
