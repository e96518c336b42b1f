"""Files that cannot be read, or must not be: each is one row that says why, and stops no other."""

import gzip
import io
import json
import os
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from crm_assets.sources import archives
from crm_assets.sources.deliveries import list_files, sha256, tables_of
from crm_assets.sources.mapping import Source, TableMapping
from crm_assets.sources.readers import read_files
from crm_assets_tests.sources.exports import gzipped, read_delivery, values, workbook, zipped

GOOD = {"z.csv": b"id\n1\n"}
MANY = ("id,name\n" + "1,Ann\n" * 5000).encode()


def parquet_of(**columns):
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def raw_zip(*members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content)
    return sink.getvalue()


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return raw_zip((info, target))


def encrypted():
    data = bytearray(zipped({"a.csv": b"id\n1\n"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


UNREADABLE = {
    "cut.csv.gz": (gzipped(MANY)[:-20], "compressed content is damaged or cut off"),
    "no.csv.gz": (b"not gz", "compressed content is damaged or cut off"),
    "cut.zip": (zipped({"a.csv": MANY})[:-40], "it is not a zip archive, or one that was cut off"),
    "damaged.zip": (zipped({"a.csv": MANY}).replace(b"\xed", b"\xee", 3), "damaged or cut off"),
    "cut.parquet": (parquet_of(id=[1, 2, 3])[:-6], "not parquet that can be read"),
    "no.parquet": (b"", "not parquet that can be read"),
    "no.json": (b"{'id': 1}", "it is not JSON, or was cut off"),
    "cut.json": (b'[{"id": 1}, {"id": 2}', "its array is not closed"),
    "deep.json": (b"[" * 100_000, "it is not JSON"),
    "empty.csv": (b"", "it is empty"),
    "cut.xlsx": (workbook(A=[["id"], ["1"]])[:-30], "it is not a zip archive, or one that was cut off"),
    "text.xlsx": (b"id,name\n1,a\n", "it is not a zip archive"),
    "empty.xlsx": (workbook(A=[]), "the workbook is empty"),
    "locked.xlsx": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "needs a password"),
    "no.xls": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "the workbook cannot be read"),
    "scan.pdf": (b"%PDF", "the format '.pdf' is not known"),
    "tar.tar": (b"", "an archive of the format '.tar' is not opened"),
    "nested.zip": (zipped({"in.zip": zipped({"a.csv": b"id\n1\n"})}), "is not opened within another"),
    "up.zip": (zipped({"../a.csv": b"id\n1\n"}), "names a place outside it"),
    "up_windows.zip": (zipped({"..\\a.csv": b"id\n1\n"}), "names a place outside it"),
    "root.zip": (zipped({"/etc/a.csv": b"id\n1\n"}), "names a place outside it"),
    "drive.zip": (zipped({"C:/a.csv": b"id\n1\n"}), "names a place outside it"),
    "link.zip": (link("a.csv", "/etc/passwd"), "is a link; it is not followed"),
    "encrypted.zip": (encrypted(), "needs a password"),
    "wide.csv": (b",".join(b"c%d" % n for n in range(2001)) + b"\n", "it has 2001 columns; at most 2000 are read"),
    "wide.jsonl": (json.dumps({f"c{n}": 1 for n in range(2001)}).encode(), "more than 2000 different keys"),
    "wide.parquet": (parquet_of(**{f"c{n}": [1] for n in range(2001)}), "it has 2001 columns"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_is_one_row_and_stops_no_other(engine, tmp_path, name):
    content, reason = UNREADABLE[name]
    bad, good = read_delivery(engine, tmp_path, {name: content, **GOOD})
    assert bad["_line"] == 0
    assert bad["_file"].startswith(name)
    assert reason in bad["_error"]
    assert all(value is None for value in values([bad])[0].values())
    assert (good["_file"], good["id"]) == ("z.csv", "1")


def test_of_an_archive_the_good_members_are_read(engine, tmp_path):
    archive = zipped({"a.csv": b"id\n1\n", "b.pdf": b"%PDF", "c.xlsx": b"?", ".hidden": b"", "__MACOSX/a.csv": b"?"})
    rows = read_delivery(engine, tmp_path, {"all.zip": archive})
    assert [(row["_file"], row["_line"]) for row in rows] == [
        ("all.zip/a.csv", 1),
        ("all.zip/b.pdf", 0),
        ("all.zip/c.xlsx", 0),
    ]


def test_an_archive_that_cannot_be_opened_may_hold_any_table(engine, tmp_path):
    (tmp_path / "all.zip").write_bytes(b"PK")
    (row,) = read_delivery(engine, tmp_path, {"all.zip": b"PK"}, glob="orders*.csv")
    assert row["_line"] == 0
    part = {"files": "orders*.csv", "columns": {"product_id": "id"}}
    source = Source.model_validate({"source": "crm", "tables": {"products": part}})
    assert tables_of(source, "all.zip", tmp_path) == ["products"]


def test_an_archive_feeds_the_tables_its_members_do(tmp_path):
    (tmp_path / "all.zip").write_bytes(zipped({"products.csv": b"id\n1\n"}))
    source = Source.model_validate(
        {
            "source": "crm",
            "tables": {
                "products": {"files": "products*.csv", "columns": {"product_id": "id"}},
                "customers": {"files": "customers*.csv", "columns": {"customer_id": "id"}},
            },
        }
    )
    assert tables_of(source, "all.zip", tmp_path) == ["products"]


def test_a_bomb_is_not_unpacked_to_its_end(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_COUNTS_FROM", 1 << 20)
    monkeypatch.setattr(archives, "WORKBOOK_RATIO_COUNTS_FROM", 1 << 20)
    zeros = b"id\n" + b"0\n" * (10 << 20)
    bombs = {"a.csv.gz": gzip.compress(zeros), "b.zip": zipped({"b.csv": zeros}), "c.xlsx": zipped({"c.xml": zeros})}
    rows = read_delivery(engine, tmp_path, {**bombs, **GOOD})
    assert len(rows) == 4
    assert all("as a decompression bomb does" in row["_error"] for row in rows[:3])


def test_a_workbook_that_lies_about_its_size_is_measured(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_WORKBOOK_BYTES", 1 << 20)
    data = bytearray(zipped({"xl/a.xml": b"0" * (3 << 20)}))
    for place in (22, data.index(b"PK\x01\x02") + 24):
        assert int.from_bytes(data[place : place + 4], "little") == 3 << 20
        data[place : place + 4] = (100).to_bytes(4, "little")
    (row,) = read_delivery(engine, tmp_path, {"a.xlsx": bytes(data)})
    assert "it unpacks to more than" in row["_error"]


def test_an_archive_of_too_many_members_is_refused(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    (row,) = read_delivery(engine, tmp_path, {"a.zip": zipped({f"{n}.csv": b"id\n1\n" for n in range(4)})})
    assert row["_error"] == "the archive has 4 members; at most 3 are read"


def test_a_table_that_packs_well_is_no_bomb(engine, tmp_path):
    text = b"id,name\n" + b"1,Ann\n" * 500_000
    rows = read_delivery(engine, tmp_path, {"a.zip": zipped({"a.csv": text})}, glob="a.csv")
    assert len(rows) == 500_000


def test_a_link_out_of_the_delivery_is_not_followed(engine, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("id\nhidden\n")
    folder = tmp_path / "crm" / "2024-01-01"
    folder.mkdir(parents=True)
    (folder / "a.csv").symlink_to(secret)
    (folder / "b.csv").symlink_to(folder / "nowhere.csv")
    (folder / "c.csv").write_text("id\n1\n")
    (folder / "d.csv").symlink_to(folder / "c.csv")
    (folder / "e.zip").symlink_to(secret)
    names = [file.name for file in list_files(folder)]
    assert names == ["a.csv", "b.csv", "c.csv", "d.csv", "e.zip"]
    mapping = TableMapping.model_validate({"files": "*", "columns": {}})
    rows = read_files(engine.backend, folder, [mapping], names).order_by("_file", "_line").to_pyarrow().to_pylist()
    assert [(row["_file"], row["id"]) for row in rows] == [
        ("a.csv", None),
        ("b.csv", None),
        ("c.csv", "1"),
        ("d.csv", "1"),
        ("e.zip", None),
    ]
    assert all("leads out of the delivery's folder" in row["_error"] for row in rows if row["id"] is None)
    assert sha256(folder / "a.csv") != sha256(secret)


def test_a_file_that_changes_while_it_is_read_fails_by_name(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id\n1\n")
    mapping = TableMapping.model_validate({"files": "*", "columns": {}})
    rows = read_files(engine.backend, tmp_path, [mapping], ["a.csv"])
    os.utime(path, ns=(1, 1))
    assert rows.count().execute() == 1
    path.write_text("id\n1\n2\n")
    with pytest.raises(Exception, match=r"a\.csv changed while it was read"):
        rows.count().execute()


def test_packed_parquet_keeps_its_types(engine, tmp_path):
    content = parquet_of(id=[1, 2], price=[0.5, None])
    rows = read_delivery(engine, tmp_path, {"a.parquet.gz": gzipped(content), "b.zip": zipped({"b.parquet": content})})
    assert values(rows) == 2 * [{"id": 1, "price": 0.5}, {"id": 2, "price": None}]
