"""Rows take values from the rows above them and from rows of other files, and lose nothing by it."""

import json
from datetime import date

import ibis
import pytest

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.sources.filling import fill_down
from crm_assets.sources.mapping import FillDown, Source
from crm_assets.sources.readers import read_files
from crm_assets.sources.rows import judge

SALES = {
    "order_id": "Name",
    "line_id": {"row_number": ["Name"]},
    "customer_id": "Email",
    "product_id": "Sku",
    "ordered_at": "At",
    "quantity": "Units",
    "amount": "Paid",
}


def raw_of(engine, folder, source, files):
    rows = read_files(engine.backend, folder, source.tables["transactions"], files)
    return rows.mutate(_source=ibis.literal("shop"), _export_date=ibis.literal(date(2024, 3, 10)))


def source_of(**part):
    return Source.model_validate(
        {"source": "shop", "tables": {"transactions": {"files": "lines*.csv", "columns": SALES, **part}}}
    )


@pytest.fixture
def folder(tmp_path):
    def lay(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.csv").write_text(text, "utf-8")
        return tmp_path

    return lay


ON_FIRST_LINE = """Name,Email,At,Sku,Units,Paid,Cancelled
#1,ann@example.com,2024-03-01 10:00,a,1,5.00,
#1,,,b,2,6.00,
#2,bob@example.com,2024-03-02 10:00,a,1,5.00,2024-03-03
#2,,,c,1,9.00,
#1,,,c,1,9.00,
"""


def test_what_stands_on_the_first_line_of_an_order_holds_for_its_other_lines(engine, folder):
    source = source_of(
        fill_down={"within": ["Name"], "columns": ["Email", "At", "Cancelled", "Absent"]},
        where='"Cancelled" is null or "Cancelled" = \'\'',
    )
    raw = raw_of(engine, folder(lines=ON_FIRST_LINE), source, ["lines.csv"])
    rows = judge(raw, source, CANONICAL["transactions"]).order_by("_line").to_pyarrow().to_pylist()
    valid = [
        (row["order_id"], row["line_id"], row["customer_id"], row["product_id"]) for row in rows if not row["_reasons"]
    ]
    assert valid == [
        ("#1", "1", "ann@example.com", "a"),
        ("#1", "2", "ann@example.com", "b"),
        ("#1", "3", "ann@example.com", "c"),
    ]
    assert all(row["_reasons"][0].startswith("left out by the mapping") for row in rows if row["_reasons"])


def test_quarantine_shows_the_row_as_it_was_delivered(engine, folder):
    source = source_of(fill_down={"within": ["Name"], "columns": ["Email", "At"]})
    raw = raw_of(engine, folder(lines=ON_FIRST_LINE.replace("2,6.00", "two,6.00")), source, ["lines.csv"])
    rows = judge(raw, source, CANONICAL["transactions"]).to_pyarrow().to_pylist()
    (rejected,) = [row for row in rows if row["_reasons"]]
    assert rejected["customer_id"] == "ann@example.com"
    assert json.loads(rejected["_raw_row"])["Email"] in (None, "")


def test_a_file_without_the_columns_is_left_as_it_is(engine, folder):
    source = source_of()
    raw = raw_of(engine, folder(lines=ON_FIRST_LINE), source, ["lines.csv"])
    assert fill_down(raw, FillDown(within=("Order",), columns=("Email",))).equals(raw)
    assert fill_down(raw, FillDown(within=("Name",), columns=("Mail",))).equals(raw)


LINES = """Id,OrderId,Sku,Units,Paid
l1,o1,a,1,5.00
l2, o2 ,b,2,6.00
l3,o9,c,1,9.00
l4,o1,c,1,9.00
"""
ORDERS = """Id,AccountId,At
o1,x,2024-03-01
o2,y,2024-03-02
o1,z,2024-03-04
"""


def test_lines_take_the_columns_of_their_order_from_another_file(engine, folder):
    lookup = {"files": "orders*.csv", "match": {"OrderId": "Id"}, "prefix": "Order."}
    source = source_of(lookup=[lookup])
    raw = raw_of(engine, folder(lines=LINES, orders_1=ORDERS), source, ["lines.csv", "orders_1.csv"])
    rows = raw.to_pyarrow().to_pylist()
    assert [row["_line"] for row in rows] == [1, 2, 3, 4]
    # Of two rows of one order the last counts; a line without an order stays.
    assert [row["Order.AccountId"] for row in rows] == ["z", "y", None, "z"]
    assert [row["Id"] for row in rows] == ["l1", "l2", "l3", "l4"]


def test_a_lookup_without_its_file_or_key_adds_nothing(engine, folder):
    lookup = {"files": "orders*.csv", "match": {"OrderId": "Id"}, "prefix": "Order."}
    source = source_of(lookup=[lookup, {**lookup, "match": {"OrderNumber": "Id"}, "prefix": "By number."}])
    home = folder(lines=LINES, orders=ORDERS)
    alone = raw_of(engine, home, source, ["lines.csv"])
    assert not [name for name in alone.columns if "." in name]
    both = raw_of(engine, home, source, ["lines.csv", "orders.csv"])
    assert [name for name in both.columns if "." in name] == ["Order.Id", "Order.AccountId", "Order.At"]


def test_a_column_that_the_file_has_itself_is_not_looked_up(engine, folder):
    lookup = {"files": "orders*.csv", "match": {"OrderId": "Id"}, "prefix": "Order."}
    own = LINES.replace("Paid\n", "Paid,Order.AccountId\n").replace(".00\n", ".00,own\n")
    raw = raw_of(engine, folder(lines=own, orders=ORDERS), source_of(lookup=[lookup]), ["lines.csv", "orders.csv"])
    assert {row["Order.AccountId"] for row in raw.to_pyarrow().to_pylist()} == {"own"}


def test_a_row_without_its_order_belongs_to_the_row_above(engine, folder):
    source = source_of(fill_down={"within": ["Name"], "columns": ["Email", "At"]})
    lines = (
        "Name,Email,At,Sku,Units,Paid\n#1,ann@example.com,2024-03-01,a,1,5\n,,,b,1,5\n#2,,2024-03-02,a,1,5\n,,,c,1,5\n"
    )
    raw = raw_of(engine, folder(lines=lines), source, ["lines.csv"])
    rows = judge(raw, source, CANONICAL["transactions"]).order_by("_line").to_pyarrow().to_pylist()
    assert [(row["order_id"], row["line_id"], row["customer_id"]) for row in rows] == [
        ("#1", "1", "ann@example.com"),
        ("#1", "2", "ann@example.com"),
        ("#2", "1", None),
        ("#2", "2", None),
    ]
