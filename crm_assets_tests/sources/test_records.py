"""Rows of delimited texts: none lost, whatever is wrong with a line."""

import csv
import io
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.sources.dialect import Dialect
from crm_assets.sources.mapping import CsvOptions, TableMapping
from crm_assets.sources.readers import peek, read_files
from crm_assets.sources.records import read_rows
from crm_assets_tests.sources.exports import read_delivery, values

TWO = Dialect(",", '"', 1, 2, ("id", "name"))


def rows_of(content, dialect=TWO, block=4096):
    """Values of each row in order, or the reason and the line of those that are none."""
    found = []
    # As files are read: a megabyte at a time.
    pieces = (content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20))
    for rows in read_rows(pieces, dialect, block):
        columns = [column.to_pylist() if hasattr(column, "to_pylist") else column for column in rows.columns]
        found += [
            (rows.errors[at], rows.lines[at]) if at in rows.errors else [column[at] for column in columns]
            for at in range(rows.count)
        ]
    return found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"1,a\n2\n3,c\n", [["1", "a"], ("1 values, but the file has 2 columns", "2"), ["3", "c"]]),
        (b"1,a\n2,b,x\n3,c\n", [["1", "a"], ("3 values, but the file has 2 columns", "2,b,x"), ["3", "c"]]),
        (b'1,"a\n2,b\n3,"c"\n', [("a quote is opened and never closed", '1,"a'), ["2", "b"], ["3", "c"]]),
        (b'1,"a"b\n2,b\n', [("text follows a closing quote", '1,"a"b'), ["2", "b"]]),
        (b'1,5" nail\n2,b\n3,6" nail\n', [["1", '5" nail'], ["2", "b"], ["3", '6" nail']]),
        (b'1,"a\nb"\n2,"c\r\nd"\r\n', [["1", "a\nb"], ["2", "c\r\nd"]]),
        (b"1,a\r\n2,b\n3,c\r4,d", [["1", "a"], ["2", "b"], ["3", "c"], ["4", "d"]]),
        (b"1,a\n\n  \n\r\n2,b\n", [["1", "a"], ["2", "b"]]),
        (b"1,a\n,\n2,b\n", [["1", "a"], [None, None], ["2", "b"]]),
        (b"1,a\xff\n2,b\n", [("bytes that are not of the file's encoding", r"1,a\xff"), ["2", "b"]]),
        (b"1,a\x80\n2,b\n", [("bytes that are not UTF-8, at byte 4 of the row", r"1,a\x80"), ["2", "b"]]),
        (b"1,a\0\n2,b\n", [("zero bytes", "1,a\0"), ["2", "b"]]),
        (b'1, "a, b"\n2,"c"\n', [["1", "a, b"], ["2", "c"]]),
        (b'1,"say \\"a, b\\" now"\n', [["1", 'say "a, b" now']]),
        (b'1,"say ""a, b"""\n2,""\n', [["1", 'say "a, b"'], ["2", None]]),
    ],
)
@pytest.mark.parametrize("block", [1, 7, 4096])
def test_a_bad_line_is_one_row_that_says_why_and_all_others_are_kept(lines, expected, block):
    assert rows_of(b"id,name\n" + lines, block=block) == expected


def test_a_line_longer_than_any_row_is_one_bad_row():
    huge = b"1," + b"x" * (20 << 20)
    first, second = rows_of(b"id,name\n" + huge + b"\n2,b\n")
    assert first[0] == "a line longer than 16 MB"
    assert len(first[1]) < 200_000
    assert second == ["2", "b"]


def test_a_wide_value_is_kept():
    assert rows_of(b'id,name\n1,"' + b"x" * 5_000_000 + b'"\n') == [["1", "x" * 5_000_000]]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@given(st.lists(st.tuples(cells, cells), max_size=12), st.sampled_from(["\n", "\r\n"]), st.integers(1, 80))
@settings(max_examples=150, deadline=None)
def test_what_csv_writes_is_read_back_in_blocks_of_any_size(table, end, block):
    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("id", "name"), *table])
    expected = [[value or None for value in row] for row in table]
    assert rows_of(sink.getvalue().encode(), block=block) == expected


@given(st.binary(max_size=200), st.integers(1, 80))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_all_in_some_row(content, block):
    found = rows_of(b"id,name\n" + content, block=block)
    assert found == rows_of(b"id,name\n" + content)
    assert_all_lines_are_in(found, content, ",")


def assert_all_lines_are_in(found, content, delimiter):
    """Each physical line is in exactly one row: rows span as many lines as there are, but for blank ones."""
    lines = re.split(rb"\r\n|\n|\r", content)
    blank = [line for line in lines if delimiter.encode() not in line and not line.strip()]
    spanned = 0
    for row in found:
        # Of a bad row the text is kept; a good one spans the line ends within its values.
        text = row[1] if isinstance(row, tuple) else "".join(value or "" for value in row)
        spanned += 1 + len(re.findall(r"\r\n|\n|\r", text))
    assert len(lines) - len(blank) <= spanned <= len(lines)


def valid_export(chance):
    """A valid export with what real ones hold: quotes, delimiters and line ends in values, and Chinese."""
    notes = ["plain", "a, b", 'say "hi"', "two\nlines", "备注，中文", "", "5' nail"]
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["order", "customer", "at", "amount", "note"])
    for n in range(40):
        day = f"2024-03-{chance.randint(1, 28):02}"
        writer.writerow([f"o{n}", f"c{chance.randrange(9)}", day, f"{chance.random():.2f}", chance.choice(notes)])
    return sink.getvalue().encode()


def truncated(data, chance):
    return data[: chance.randrange(len(data))]


def flipped(data, chance):
    changed = bytearray(data)
    for _ in range(chance.randint(1, 10)):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def swapped(data, chance):
    lines = data.split(b"\n")
    for at in chance.sample(range(len(lines)), 5):
        lines[at] = b",".join(chance.sample(parts := lines[at].split(b","), len(parts)))
    return b"\n".join(lines)


def wrong_delimiter(data, chance):
    lines = data.split(b"\n")
    for at in chance.sample(range(len(lines)), chance.choice([3, len(lines)])):
        lines[at] = lines[at].replace(b",", b";")
    return b"\n".join(lines)


def emptied(data, chance):
    return chance.choice([b"", b"\n", b"\n\n  \n", b"\xef\xbb\xbf", data.split(b"\n")[0]])


def with_zeros(data, chance):
    at = chance.randrange(len(data))
    return data[:at] + b"\0" * chance.choice([1, 512]) + data[at:]


def with_huge_field(data, chance):
    at = chance.randrange(len(data))
    return data[:at] + b"x" * chance.choice([70_000, 300_000]) + data[at:]


def mixed_line_ends(data, chance):
    return b"".join(line + chance.choice([b"\n", b"\r\n", b"\r"]) for line in data.split(b"\n"))


def with_noise(data, chance):
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.randint(1, 40)) + data[at:]


def without_a_quote(data, chance):
    places = [at for at, byte in enumerate(data) if byte == ord('"')]
    at = chance.choice(places) if places else 0
    return data[:at] + data[at + 1 :]


CORRUPTIONS = [
    truncated,
    flipped,
    swapped,
    wrong_delimiter,
    emptied,
    with_zeros,
    with_huge_field,
    mixed_line_ends,
    with_noise,
    without_a_quote,
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_of_a_corrupted_export_every_line_is_a_row_or_says_what_is_wrong(engine, tmp_path, corrupt):
    any_file = TableMapping.model_validate({"files": "*", "columns": {}})
    variants = {}
    for seed in range(20):
        chance = random.Random(f"{corrupt.__name__} {seed}")
        # In UTF-8 whatever was broken, so that lines can be counted.
        variants[f"{seed:02}.csv"] = corrupt(valid_export(chance), chance)
    rows = read_delivery(engine, tmp_path, variants, csv={"encoding": "utf-8"})
    assert rows == read_delivery(engine, tmp_path, variants, csv={"encoding": "utf-8"})
    for name, content in variants.items():
        mine = [row for row in rows if row["_file"] == name]
        assert [row["_line"] for row in mine] in ([0], [*range(1, len(mine) + 1)]), name
        if mine and mine[0]["_line"] == 0:
            assert mine[0]["_error"].startswith("it is empty"), name
            assert not content.strip(b"\xef\xbb\xbf\n ")
            continue
        any_file = any_file.model_copy(update={"csv": CsvOptions(encoding="utf-8")})
        seen = peek(engine.backend, tmp_path, name, any_file, rows=1)
        body = re.split(rb"(?<=\n)|(?<=\r)(?!\n)", content)
        after = b"".join(body[seen.header_line + header_ends_later(seen) :])
        own = [column for column in mine[0] if not column.startswith("_")] if mine else []
        found = [
            (row["_error"], row["_line_text"]) if row["_error"] else [row[column] for column in own] for row in mine
        ]
        assert_all_lines_are_in(found, after, seen.delimiter)


def header_ends_later(seen):
    """Lines that a damaged header spans besides its first."""
    return sum(column.count("\n") for column in seen.columns)


def test_a_broken_line_changes_no_other(engine, tmp_path):
    data = valid_export(random.Random(1))
    whole = values(read_delivery(engine, tmp_path, {"a.csv": data}))
    lines = data.split(b"\n")
    at = next(at for at, line in enumerate(lines[1:], 1) if b'"' not in line)
    lines[at] = lines[at].rsplit(b",", 1)[0]
    broken = read_delivery(engine, tmp_path, {"a.csv": b"\n".join(lines)})
    bad = [row["_line"] for row in broken if row["_error"]]
    assert len(bad) == 1
    assert [row for row in values(broken) if any(row.values())] == [
        row for line, row in enumerate(whole, 1) if line not in bad
    ]


def test_files_with_bad_lines_read_the_same_each_time_and_twice_in_one_query(engine, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"id,name\n" + b"1,a\n2\n" * 1000)
    mapping = TableMapping.model_validate({"files": "*", "columns": {}})
    table = read_files(engine.backend, tmp_path, [mapping], ["a.csv"])
    both = table.union(table).count().execute()
    assert both == 4000
    assert table.filter(table["_error"].notnull()).count().execute() == 1000
