"""Deliveries on their way in, by real runs."""

import pandas as pd

from crm_assets.automation.instance import open_instance
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.runs import Runs
from crm_assets.settings import load_settings

MAPPING = """
source: crm
tables:
  transactions:
    files: "orders.*"
    columns: {order_id: order, line_id: line, product_id: sku, ordered_at: at, quantity: units, amount: total}
"""


def ingest(home):
    with open_instance(home) as instance:
        Runs(load_settings(home), instance, lambda doing: None).ingest()


def deliver(home, day):
    folder = home / "exports" / "crm" / day
    folder.mkdir(parents=True)
    if day == "2024-03-01":
        # Numbers beyond 2^53, which a column of floating-point numbers would round.
        order = pd.DataFrame({"order": [9007199254740993], "line": [1], "sku": ["tea"], "at": ["2024-02-29"]})
        order.assign(units=[1.0], total=[2.5]).to_parquet(folder / "orders.parquet", index=False)
    elif day == "2024-03-02":
        order = pd.DataFrame({"order": [1.0], "line": [1], "sku": ["tea"], "at": ["2024-03-02"], "units": ["1"]})
        order.assign(total=[4.5], colour=["red"]).to_parquet(folder / "orders.parquet", index=False)
    else:
        (folder / "orders.csv").write_text("order,line,sku,at,units\n3,1,tea,2024-03-03,1\n", "utf-8")


def judged(home):
    """What the lake holds of each delivery, valid and rejected."""
    lake = lake_of(load_settings(home))
    tables = (("validated", "transactions"), ("quality", "quarantine_transactions"))
    return {
        name: lake.read(layer, contract_of(layer, name)).order_by("_export_date").to_pyarrow().to_pylist()
        for layer, name in tables
    }


def test_what_a_row_says_does_not_depend_on_the_deliveries_it_is_ingested_with(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name in ("together", "apart"):
        (tmp_path / name / "sources").mkdir(parents=True)
        (tmp_path / name / "sources" / "crm.yaml").write_text(MAPPING, "utf-8")
    for day in ("2024-03-01", "2024-03-02", "2024-03-03"):
        deliver(tmp_path / "together", day)
        deliver(tmp_path / "apart", day)
        ingest(tmp_path / "apart")
    ingest(tmp_path / "together")
    found = judged(tmp_path / "together")
    assert found == judged(tmp_path / "apart")
    assert [row["order_id"] for row in found["transactions"]] == ["9007199254740993", "1"]
    (rejected,) = found["quarantine_transactions"]
    assert rejected["reasons"] == [
        "amount: missing, since the file has no column 'total'; it has: order, line, sku, at, units"
    ]
    assert "colour" not in rejected["raw_row"]
