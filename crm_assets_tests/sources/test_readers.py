"""Files as they are: formats, encodings, line numbers and files that differ."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from crm_assets.sources.deliveries import sha256
from crm_assets.sources.mapping import TableMapping
from crm_assets.sources.readers import read_files, union_by_name
from crm_assets_tests.sources.exports import gzipped


@pytest.fixture
def read(engine, tmp_path):
    """Read the files of one delivery, given by name and content; give the rows in order, without the digest."""
    folder = tmp_path / "crm" / "2024-01-01"

    def written(files, **csv):
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        mapping = TableMapping(files="*", csv=csv, columns={})
        table = read_files(engine.backend, folder, [mapping], sorted(files))
        rows = table.order_by("_file", "_line").to_pyarrow().to_pylist()
        assert {row.pop("_file_sha256") for row in rows} <= {sha256(folder / name) for name in files}
        return rows

    return written


def row(line, file="a.csv", error=None, line_text=None, **values):
    return {**values, "_file": file, "_line": line, "_error": error, "_line_text": line_text}


def test_csv_values_stay_text_and_rows_are_numbered_from_one(read):
    assert read({"a.csv": "id,amount\n007,1.50\n8,\n"}) == [
        row(1, id="007", amount="1.50"),
        row(2, id="8", amount=None),
    ]


def test_a_quoted_value_may_hold_newlines_delimiters_and_quotes(read):
    rows = read({"a.csv": 'id,text\n1,"two\nlines, and ""quotes"""\n2,plain\n'})
    assert rows == [row(1, id="1", text='two\nlines, and "quotes"'), row(2, id="2", text="plain")]


def test_a_byte_order_mark_is_not_part_of_the_first_header(read):
    assert read({"a.csv": b"\xef\xbb\xbfid,name\n1,\xe5\xbc\xa0\n"}) == [row(1, id="1", name="张")]


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.csv", "id;name\n1;Ann\n2;Bo\n", {}),
        ("a.csv", "id;name\n1;Ann\n2;Bo\n", {"delimiter": ";"}),
        ("a.csv", "id|name\n1|'Ann'\n2|Bo\n", {"delimiter": "|", "quote": "'"}),
        ("a.tsv", "id\tname\n1\tAnn\n2\tBo\n", {}),
        ("a.csv", "id,name\r\n1,Ann\r\n2,Bo\r\n", {}),
        ("a.csv", "id,name\n1,Ann\n2,Bo", {}),
        ("a.csv.gz", gzipped(b"id,name\n1,Ann\n2,Bo\n"), {}),
        ("a.txt", "id,name\n1,Ann\n2,Bo\n", {}),
        ("a.jsonl", '{"id": "1", "name": "Ann"}\n{"id": "2", "name": "Bo"}\n', {}),
        ("a.json", '[{"id": "1", "name": "Ann"}, {"id": "2", "name": "Bo"}]', {}),
    ],
)
def test_text_formats_give_the_same_rows(read, name, text, options):
    assert read({name: text}, **options) == [row(1, name, id="1", name="Ann"), row(2, name, id="2", name="Bo")]


def test_latin_1_is_read_when_the_mapping_says_so(read):
    assert read({"a.csv": "id,name\n1,José\n".encode("latin-1")}, encoding="latin-1") == [row(1, id="1", name="José")]


def test_a_file_without_a_header_has_numbered_columns(read):
    assert read({"a.csv": "1,Ann\n2,Bo\n"}, header=False) == [
        row(1, column0="1", column1="Ann"),
        row(2, column0="2", column1="Bo"),
    ]


def test_a_file_with_only_a_header_has_no_rows(read):
    assert read({"a.csv": "id,name\n"}) == []


def test_parquet_keeps_its_types(read):
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"id": [1, 2], "price": [0.5, None]}), sink)
    rows = read({"a.parquet": sink.getvalue().to_pybytes()})
    assert rows == [row(1, "a.parquet", id=1, price=0.5), row(2, "a.parquet", id=2, price=None)]


def test_files_with_different_columns_are_joined_by_name(read):
    rows = read({"a.csv": "id,name\n1,Ann\n", "b.csv": "city,id\nYork,2\n"})
    assert rows == [row(1, id="1", name="Ann", city=None), row(1, "b.csv", id="2", name=None, city="York")]


def test_columns_of_different_types_become_text(read):
    lines = json.dumps({"id": 2})
    assert [found["id"] for found in read({"a.csv": "id\n01\n", "b.jsonl": lines})] == ["01", "2"]


def test_many_rows_keep_their_order(read):
    text = "id\n" + "".join(f"{n}\n" for n in range(1, 300_001))
    rows = read({"a.csv": text})
    assert len(rows) == 300_000
    assert all(found["id"] == str(found["_line"]) for found in rows)


def test_no_matching_file_is_no_table(engine, tmp_path):
    mapping = TableMapping.model_validate({"files": "orders*.csv", "columns": {}})
    assert read_files(engine.backend, tmp_path, [mapping], ["customers.csv"]) is None


def errors(rows):
    return [(found["_file"], found["_line"], found["_error"]) for found in rows if found["_error"]]


def test_an_unknown_format_is_one_row_that_says_so(read):
    ((file, line, error),) = errors(read({"a.doc": "id"}))
    assert (file, line) == ("a.doc", 0)
    assert error.startswith("the format '.doc' is not known; use csv,")


def test_a_file_that_is_not_of_its_format_is_one_row_and_stops_no_other(read):
    rows = read({"a.parquet": "no parquet", "b.csv": "id\n1\n"})
    ((file, line, error),) = errors(rows)
    assert (file, line) == ("a.parquet", 0)
    assert "not parquet" in error
    assert [found["id"] for found in rows] == [None, "1"]


def test_a_row_is_not_lost_by_a_union_of_equal_rows(engine):
    import ibis

    table = ibis.memtable({"id": ["1"]})
    assert union_by_name([table, table]).count().execute() == 2


def test_more_files_than_fit_in_one_expression_are_read(read):
    files = {f"{n:03}.csv": f"id\n{n}\n" for n in range(150)}
    assert len(read(files)) == 150
