"""The same table in every format, encoding and archive gives the same raw values."""

import codecs
from datetime import date, datetime

import pytest

from crm_assets.sources.mapping import TableMapping
from crm_assets.sources.readers import UnreadableFileError, peek
from crm_assets_tests.sources.exports import (
    delimited,
    gzipped,
    lines_of_json,
    read_delivery,
    values,
    workbook,
    zipped,
)

TABLE = [
    ["编号", "姓名", "城市", "金额", "下单时间", "备注"],
    ["007", "张伟", "上海", "12.5", "2024-03-05 10:00:00", '含"引号", 和逗号'],
    ["8", "王芳", "北京", "3", "2024-03-06", None],
    ["9", "欧阳娜娜", "广州市天河区", "-1", "2024-03-07 23:59:59", "两\n行"],
]
CELLS = [
    TABLE[0],
    ["007", "张伟", "上海", 12.5, datetime(2024, 3, 5, 10), TABLE[1][5]],
    [8, "王芳", "北京", 3, date(2024, 3, 6), None],
    [9, "欧阳娜娜", "广州市天河区", -1, datetime(2024, 3, 7, 23, 59, 59), "两\n行"],
]
TEXT = delimited(TABLE)
TWINS = {
    "utf-8.csv": TEXT.encode(),
    "bom.csv": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16-le.csv": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "utf-16-be.csv": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "gb18030.csv": TEXT.encode("gb18030"),
    "crlf.csv": TEXT.replace("\n", "\r\n").replace("两\r\n行", "两\n行").encode("gb18030"),
    "semicolon.csv": delimited(TABLE, ";").encode(),
    "tabs.tsv.gz": gzipped(delimited(TABLE, "\t").encode()),
    "pipe.txt": delimited(TABLE, "|").encode(),
    "titled.csv": ("销售报表\n\n" + TEXT).encode(),
    "wide_title.csv": ("销售报表,,,,,\n,,,,,\n" + TEXT).encode(),
    "book.xlsx": workbook(Empty=[], Orders=CELLS),
    "titled.xlsx": workbook(Orders=[["销售报表"], [], *CELLS]),
    "book.xlsx.gz": gzipped(workbook(Orders=CELLS)),
    "lines.jsonl": lines_of_json(TABLE).encode(),
    "lines.ndjson.gz": gzipped(lines_of_json(CELLS).encode()),
    "array.json": f"[{','.join(lines_of_json(TABLE).splitlines())}]".encode(),
    "answer.json": f'{{"data": [{",".join(lines_of_json(TABLE).splitlines())}], "more": false}}'.encode("utf-16"),
    "one.zip": zipped({"orders.csv": TEXT.encode("gb18030")}),
    "several.zip": zipped(
        {"a/1.jsonl": lines_of_json(TABLE[:3]).encode(), "a/2.jsonl": lines_of_json([TABLE[0], TABLE[3]]).encode()}
    ),
    "book.zip": zipped({"orders.xlsx": workbook(Orders=CELLS)}),
}
EXPECTED = [dict(zip(TABLE[0], row, strict=True)) for row in TABLE[1:]]


@pytest.mark.parametrize("name", TWINS)
def test_twins_give_the_same_values(engine, tmp_path, name):
    rows = read_delivery(engine, tmp_path, {name: TWINS[name]})
    assert values(rows) == EXPECTED
    assert all(row["_error"] is None for row in rows)


def test_members_of_an_archive_are_files_of_their_own(engine, tmp_path):
    rows = read_delivery(engine, tmp_path, {"several.zip": TWINS["several.zip"]})
    places = [(row["_file"], row["_line"]) for row in rows]
    assert places == [("several.zip/a/1.jsonl", 1), ("several.zip/a/1.jsonl", 2), ("several.zip/a/2.jsonl", 1)]


@pytest.mark.parametrize(
    ("glob", "found"), [("s*.zip", 3), ("1.jsonl", 2), ("*/2.jsonl", 1), ("several.zip/a/*", 3), ("b*.zip", 0)]
)
def test_a_glob_matches_a_member_its_archive_or_both(engine, tmp_path, glob, found):
    assert len(read_delivery(engine, tmp_path, {"several.zip": TWINS["several.zip"]}, glob)) == found


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("id,name\n1,José\n", "cp1252"),
        ("id,name,note\n1,Müller,für 5 €\n2,Ængström,naïve café\n", "cp1252"),
        ("id,name\n1,Ñandú\n2,Peña\n3,Señor Ibáñez\n", "latin-1"),
        ("编号,姓名\n1,张伟\n", "gb18030"),
        ("id,name\n1,李\n", "gb18030"),
        ("id,name\n" + "1,Ann\n" * 60_000 + "2,赵敏\n", "gb18030"),
        ("id,name\n" + "1,Ann\n" * 60_000 + "2,Zoë\n", "cp1252"),
    ],
)
def test_the_encoding_is_told_on_few_letters_beyond_ascii(engine, tmp_path, text, encoding):
    rows = read_delivery(engine, tmp_path, {"a.csv": text.encode(encoding)})
    assert list(rows[-1])[1] == text.split("\n")[0].split(",")[1]
    assert values(rows)[-1] == dict(
        zip(*[line.split(",") for line in (text.split("\n")[0], text.split("\n")[-2])], strict=True)
    )


def test_the_mapping_overrides_what_is_detected(engine, tmp_path):
    text = "a;b,c\n'1;2',3\n"
    rows = read_delivery(
        engine,
        tmp_path,
        {"a.csv": text.encode("utf-16-le")},
        csv={"encoding": "utf-16-le", "delimiter": ",", "quote": "'"},
    )
    assert values(rows) == [{"a;b": "1;2", "c": "3"}]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (2, [{"x": "1", "y": "2"}]),
        (False, [{"column0": "a", "column1": "b"}, {"column0": "x", "column1": "y"}, {"column0": "1", "column1": "2"}]),
        (True, [{"a": "x", "b": "y"}, {"a": "1", "b": "2"}]),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_the_mapping_says_where_the_header_is(engine, tmp_path, header, expected, name):
    rows = [["a", "b"], ["x", "y"], ["1", "2"]]
    content = delimited(rows).encode() if name == "a.csv" else workbook(Sheet1=rows)
    assert values(read_delivery(engine, tmp_path, {name: content}, csv={"header": header})) == expected


def test_the_mapping_names_the_sheet(engine, tmp_path):
    book = {"a.xlsx": workbook(Notes=[["x"], ["1"]], Orders=[["id"], ["7"]])}
    assert values(read_delivery(engine, tmp_path, book)) == [{"x": "1"}]
    assert values(read_delivery(engine, tmp_path, book, sheet="Orders")) == [{"id": "7"}]
    (row,) = read_delivery(engine, tmp_path, book, sheet="Order")
    assert (row["_line"], row["_error"]) == (
        0,
        "the workbook has no sheet 'Order'; did you mean 'Orders'?; its sheets: Notes, Orders",
    )


def test_blank_and_repeated_headers_get_names_of_their_own(engine, tmp_path):
    rows = read_delivery(engine, tmp_path, {"a.csv": b"id,,Name,NAME,_line,  id \n1,2,3,4,5,6\n"})
    assert values(rows) == [{"id": "1", "column1": "2", "Name": "3", "NAME_1": "4", "id_1": "6"}]
    assert rows[0]["_line"] == 1
    assert rows[0]["_line_1"] == "5"


def test_headers_that_differ_in_case_between_files_are_one_column(engine, tmp_path):
    rows = read_delivery(engine, tmp_path, {"a.csv": b"ID,n\n1,a\n", "b.csv": b"id,n\n2,b\n"})
    assert values(rows) == [{"ID": "1", "n": "a"}, {"ID": "2", "n": "b"}]


def test_a_delimiter_at_the_end_of_each_row_is_a_column_without_a_name(engine, tmp_path):
    assert values(read_delivery(engine, tmp_path, {"a.csv": b"id,name\n1,Ann,\n2,Bo,\n"})) == [
        {"id": "1", "name": "Ann", "column2": None},
        {"id": "2", "name": "Bo", "column2": None},
    ]


def test_json_keeps_numbers_as_written_and_nested_values_as_json(engine, tmp_path):
    text = '{"id": 1.50, "big": 12345678901234567890, "yes": true, "tags": ["a", {"b": 1}], "no": null}\n{"id": "x"}\n'
    first, second = values(read_delivery(engine, tmp_path, {"a.jsonl": text.encode()}))
    assert first == {"id": "1.50", "big": "12345678901234567890", "yes": "true", "tags": '["a",{"b":1}]', "no": None}
    assert second == {"id": "x", "big": None, "yes": None, "tags": None, "no": None}


@pytest.mark.parametrize("name", ["gb18030.csv", "titled.xlsx", "several.zip", "titled.csv", "tabs.tsv.gz"])
def test_a_peek_shows_columns_rows_and_what_was_detected(engine, tmp_path, name):
    (tmp_path / name).write_bytes(TWINS[name])
    part = TableMapping.model_validate({"files": "nothing", "columns": {}})
    seen = peek(engine.backend, tmp_path, name, part, rows=2)
    assert (list(seen.columns), seen.rows) == (TABLE[0], EXPECTED[:2])
    detected = (seen.encoding, seen.delimiter, seen.header_line, seen.sheet)
    assert (
        detected
        == {
            "gb18030.csv": ("gb18030", ",", 1, None),
            "titled.xlsx": (None, None, 3, "Orders"),
            "several.zip": ("utf-8", None, None, None),
            "titled.csv": ("utf-8", ",", 3, None),
            "tabs.tsv.gz": ("utf-8", "\t", 1, None),
        }[name]
    )


def test_a_peek_at_what_cannot_be_read_says_why(engine, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(UnreadableFileError, match=r"a\.zip: it is not a zip archive"):
        peek(engine.backend, tmp_path, "a.zip", TableMapping.model_validate({"files": "*", "columns": {}}))
