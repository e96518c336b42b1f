"""A draft says what a file may be, in a form that a check takes, and marks what a person must look at."""

import os
from datetime import date
from pathlib import Path

import pytest
import yaml

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.sources.check import Landed, check_source
from crm_assets.sources.mapping import Source, read_source
from crm_assets.sources.sketch import sketch
from crm_assets.sources.vocabulary import COLUMNS, TABLES, column_words, plain

CHINESE = """订单编号,客户编号,商品编码,下单时间,数量,实付金额,订单来源,备注
A1,C1,P1,2024年2月3日 10:00,1,"¥1,234.50",小程序,x
A1,C1,P2,2024年2月3日 10:00,2,¥10,小程序,x
A2,C2,P1,2024年2月13日 14时30分,1,¥5,小程序,x
"""
ONLINE_RETAIL = Path(os.environ.get("CRM_REFERENCE_DATA", "none")) / "online_retail" / "online_retail.parquet"


@pytest.fixture
def draft(engine, tmp_path):
    """Draft a mapping of files, by name and text; give the text and what it means."""

    def run(**files):
        paths = []
        for name, text in files.items():
            paths.append(tmp_path / f"{name}.csv")
            paths[-1].write_text(text, "utf-8")
        text = sketch(engine, paths, "shop")
        return text, Source.model_validate(yaml.safe_load(text))

    return run


def problems(engine, path, source):
    return check_source(engine, source, [Landed(path.parent, path.name, date(2024, 3, 10))]).problems


def test_the_draft_of_a_chinese_export_is_checked_without_change(engine, tmp_path, draft):
    text, source = draft(orders_20240301=CHINESE)
    (part,) = source.tables["transactions"]
    assert part.files == ("orders_*.csv",)
    assert {name: column.column for name, column in part.columns.items() if column.column} == {
        "order_id": ("订单编号",),
        "customer_id": ("客户编号",),
        "product_id": ("商品编码",),
        "ordered_at": ("下单时间",),
        "quantity": ("数量",),
        "amount": ("实付金额",),
        "channel": ("订单来源",),
    }
    assert part.columns["line_id"].row_number == ("order_id",)
    assert "# not used: 备注" in text
    (tmp_path / "shop.yaml").write_text(text, "utf-8")
    assert problems(engine, tmp_path / "orders_20240301.csv", read_source(tmp_path / "shop.yaml")) == []


@pytest.mark.parametrize("table", CANONICAL.values(), ids=lambda table: table.name)
def test_a_file_of_canonical_headers_is_drafted_as_its_table(draft, table):
    header = ",".join(table.by_name)
    _, source = draft(**{f"export_{table.name}": f"{header}\n{',' * (len(table.columns) - 1)}\n"})
    (part,) = source.tables[table.name]
    assert {name: column.column for name, column in part.columns.items()} == {name: (name,) for name in table.by_name}


def test_what_is_required_and_not_found_is_to_do(engine, tmp_path, draft):
    text, source = draft(people="unique,email,town\n1,a@b.c,Leeds\n2,d@e.f,York\n")
    assert "customer_id: TODO  # ? required: The CRM's own identifier. Unique in the file: unique, email, town" in text
    (problem,) = [
        p for p in problems(engine, tmp_path / "people.csv", source) if "TODO" in p.message and "rows" not in p.message
    ]
    assert "the file has no column 'TODO'" in problem.message


def test_forms_of_numbers_and_dates_are_taken_from_the_values(draft):
    lines = ['o1,p1,13/02/2024,1,"1.234,50"', 'o2,p1,01/02/2024,1,"9,99"']
    _, source = draft(orders="\n".join(["order no,sku,order date,qty,total", *lines]))
    (part,) = source.tables["transactions"]
    assert (part.decimal, part.dates) == (",", "dmy")


def test_an_order_of_day_and_month_that_nothing_tells_is_marked(draft):
    text, _ = draft(orders="order no,sku,order date,qty,total\no1,p1,01/02/2024,1,9\n")
    assert "dates: dmy  # ? nothing in the values tells the order of day and month" in text


def test_customers_and_products_of_an_order_are_drafted_too(draft):
    _, source = draft(
        orders="order no,sku,order date,qty,price,customer id,country,product name\no1,p1,2024-01-02,1,2,c,UK,Cup\n"
    )
    assert set(source.tables) == {"transactions", "customers", "products"}
    assert source.tables["transactions"][0].columns["amount"].sql == '"qty"::DECIMAL(18, 4) * "price"::DECIMAL(18, 4)'


def test_files_of_different_columns_become_parts_and_those_of_one_form_one(draft):
    old, new = "customer id,city\n1,Leeds\n", "client id,town\n2,York\n"
    _, source = draft(customers_20240101=old, customers_20240102=old, clients=new)
    assert [part.files for part in source.tables["customers"]] == [("customers_*.csv",), ("clients.csv",)]


def test_keys_are_measured_on_the_file(draft):
    text, _ = draft(customers="customer id,city\n1,Leeds\n2,York\n2,Hull\n")
    assert "customer_id: customer id  # 2 in 3 rows; the last one counts" in text


def test_a_name_that_cannot_be_a_source_s_is_refused(engine, tmp_path):
    (tmp_path / "a.csv").write_text("id\n1\n", "utf-8")
    with pytest.raises(ValueError, match="cannot name a source"):
        sketch(engine, [tmp_path / "a.csv"], "My Shop")


def test_a_file_that_cannot_be_read_is_noted(engine, tmp_path):
    (tmp_path / "a.parquet").write_text("no parquet", "utf-8")
    assert "# a.parquet cannot be read:" in sketch(engine, [tmp_path / "a.parquet"], "shop")


def test_every_word_is_for_a_canonical_column_and_plain():
    assert set(COLUMNS) == set(TABLES) == set(CANONICAL)
    for table, columns in COLUMNS.items():
        assert set(columns) <= set(CANONICAL[table].by_name)
        for column in columns:
            words = column_words(table, column)
            assert [plain(word) for word in words] == list(words)


@pytest.mark.skipif(not ONLINE_RETAIL.exists(), reason="needs the reference data: set CRM_REFERENCE_DATA")
def test_online_retail_is_drafted_so_that_a_check_takes_it(engine):
    source = Source.model_validate(yaml.safe_load(sketch(engine, [ONLINE_RETAIL], "online_retail")))
    assert set(source.tables) == {"transactions", "customers", "products"}
    assert source.tables["transactions"][0].columns["amount"].sql == '"Quantity" * "UnitPrice"'
    landed = Landed(ONLINE_RETAIL.parent, ONLINE_RETAIL.name, date(2011, 12, 10))
    assert check_source(engine, source, [landed]).problems == []
