"""A check names what is wrong with a mapping and its files, where, and what to do."""

from datetime import date

import pytest

from crm_assets.sources.check import Landed, check_source
from crm_assets.sources.mapping import Source

SALES = {
    "order_id": "order",
    "line_id": {"row_number": ["order_id"]},
    "product_id": "sku",
    "ordered_at": "at",
    "quantity": "units",
    "amount": "total",
}
HEADER = "order,sku,at,units,total"


@pytest.fixture
def check(engine, tmp_path):
    """Check files, by name and text, against a mapping of transactions."""

    def run(given, columns=SALES, rows=1000, **part):
        for name, text in given.items():
            (tmp_path / name).write_text(text, "utf-8")
        mapping = {"files": "orders*.csv", "columns": columns, **part}
        source = Source.model_validate({"source": "shop", "tables": {"transactions": mapping}})
        return check_source(engine, source, [Landed(tmp_path, name, date(2024, 3, 10)) for name in given], rows)

    return run


def messages(report):
    return [(finding.place, finding.message) for finding in report.problems]


def test_a_mapping_that_fits_has_no_problem(check):
    report = check({"orders.csv": f"{HEADER}\no1,p1,2024-03-01,1,9.99\n"})
    assert report.findings == []
    ((judged),) = report.judged
    assert (judged.table, judged.file, judged.rows, judged.valid, judged.rejected) == (
        "transactions",
        "orders.csv",
        1,
        1,
        0,
    )


def test_files_and_globs_that_do_not_meet_are_named(check):
    assert messages(check({"order_march.csv": f"{HEADER}\n"})) == [
        ("order_march.csv", "no `files` of shop.yaml matches it; did you mean 'orders*.csv'?"),
        ("shop.yaml", "transactions: `files: orders*.csv`: matches no file; did you mean 'order_march.csv'?"),
    ]


def test_an_absent_header_is_named_with_the_nearest(check):
    report = check({"orders.csv": "order,sku,at,units,totl\no1,p1,2024-03-01,1,9.99\n"}, {**SALES, "channel": "kanal"})
    assert ("orders.csv", "transactions.amount: the file has no column 'total'; did you mean 'totl'?") in messages(
        report
    )
    (note,) = [finding for finding in report.findings if not finding.is_problem]
    assert note.message == "transactions.channel: the file has no column 'kanal'; it has: order, sku, at, units, totl"


def test_every_expression_that_cannot_be_evaluated_is_named(check):
    columns = {**SALES, "discount": {"sql": "nothing(1)"}, "channel": {"sql": "upper("}}
    report = check({"orders.csv": f"{HEADER}\no1,p1,2024-03-01,1,9.99\n"}, columns, where="nix(sku)")
    found = [message for place, message in messages(report) if place == "shop.yaml"]
    assert [message.split(":")[0] for message in found] == [
        "transactions.discount",
        "transactions.channel",
        "transactions.where",
    ]
    assert report.judged == []


def test_a_column_that_an_expression_lacks_is_named(check):
    columns = {**SALES, "amount": {"sql": "unit::INT * total::DOUBLE"}}
    report = check({"orders.csv": f"{HEADER}\no1,p1,2024-03-01,1,9.99\n"}, columns)
    assert ("orders.csv", "transactions.amount: the file has no column 'unit'; did you mean 'units'?") in messages(
        report
    )


def test_reasons_are_counted_with_their_first_example_and_what_to_do(check):
    lines = ["o1,p1,2024-03-01,1,9.99", "o2,p1,03/04/2024,1,1", 'o3,p1,2024-03-01,1,"9,99"', 'o4,p1,2024-03-01,2,"1,5"']
    report = check({"orders.csv": "\n".join([HEADER, *lines])})
    assert [(finding.place, finding.message, finding.is_problem) for finding in report.findings] == [
        (
            "orders.csv:3",
            "transactions.amount: 2 of 4 rows: '9,99' is not a number; "
            'write `decimal: ","` in the mapping if the comma is the decimal sign',
            True,
        ),
        (
            "orders.csv:2",
            "transactions.ordered_at: 1 of 4 rows: '03/04/2024' may be day or month first: "
            "write `dates: dmy` or `dates: mdy` in the mapping",
            False,
        ),
    ]
    assert report.judged[0].valid == 1


def test_rows_left_out_on_purpose_are_no_problem(check):
    report = check({"orders.csv": f"{HEADER}\no1,p1,2024-03-01,1,9.99\n"}, where="sku <> 'p1'")
    assert report.problems == []
    assert "left out by the mapping: not (sku <> 'p1')" in report.findings[0].message


def test_only_the_first_rows_are_judged(check):
    lines = "\n".join(f"o{n},p1,2024-03-01,1,1" for n in range(50))
    assert check({"orders.csv": f"{HEADER}\n{lines}\n"}, rows=10).judged[0].rows == 10


def test_a_file_that_cannot_be_read_does_not_stop_the_others(check):
    report = check(
        {"orders1.parquet": "no parquet", "orders2.csv": f"{HEADER}\no1,p1,2024-03-01,1,1\n"}, files="orders*"
    )
    assert [finding.place.split(":")[0] for finding in report.problems] == ["orders1.parquet"]
    assert any(judged.file == "orders2.csv" and judged.valid == 1 for judged in report.judged)
