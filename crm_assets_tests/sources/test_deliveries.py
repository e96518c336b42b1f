"""Deliveries in the exports folder: which there are, and whether one has changed."""

import os
from datetime import date

import pytest

from crm_assets.sources.deliveries import (
    Delivery,
    find_deliveries,
    fingerprint,
    list_files,
    sha256,
    tables_of,
    unknown_folders,
)
from crm_assets.sources.mapping import read_source


@pytest.fixture
def exports(tmp_path):
    return tmp_path / "exports"


def lay(exports, *names, text="x"):
    for name in names:
        path = exports / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def test_deliveries_are_found_oldest_export_first(exports):
    lay(exports, "web/2024-01-02/a.csv", "crm/2024-01-03/a.csv", "crm/2024-01-02/a.csv", "other/2024-01-01/a.csv")
    assert find_deliveries(exports, ["web", "crm"]) == [
        Delivery("crm", date(2024, 1, 2)),
        Delivery("web", date(2024, 1, 2)),
        Delivery("crm", date(2024, 1, 3)),
    ]


def test_folders_that_are_no_date_and_files_are_no_deliveries(exports):
    lay(exports, "crm/2024-13-01/a.csv", "crm/latest/a.csv", "crm/2024-01-01")
    assert find_deliveries(exports, ["crm"]) == []


def test_no_exports_folder_means_no_deliveries(exports):
    assert find_deliveries(exports, ["crm"]) == []
    assert unknown_folders(exports, ["crm"]) == []


def test_a_key_names_the_delivery(exports):
    delivery = Delivery("web-shop", date(2024, 1, 2))
    assert delivery.key == "web-shop--2024-01-02"
    assert Delivery.of_key(delivery.key) == delivery
    assert delivery.folder(exports) == exports / "web-shop" / "2024-01-02"


def test_hidden_and_unfinished_files_are_not_delivered(exports):
    names = ["b.csv", "a/c.csv", ".hidden.csv", "d.csv.part", "e.tmp", "f.crdownload", ".staging/g.csv"]
    lay(exports, *names)
    assert [file.name for file in list_files(exports)] == ["a/c.csv", "b.csv"]


def test_a_fingerprint_changes_with_names_sizes_and_times_and_with_nothing_else(exports):
    lay(exports, "a.csv", "b.csv")
    os.utime(exports / "a.csv", ns=(1, 1))
    before = fingerprint(list_files(exports))
    assert fingerprint(list_files(exports)) == before
    os.utime(exports / "a.csv", ns=(2, 2))
    touched = fingerprint(list_files(exports))
    (exports / "a.csv").rename(exports / "c.csv")
    renamed = fingerprint(list_files(exports))
    lay(exports, "c.csv", text="longer")
    os.utime(exports / "c.csv", ns=(2, 2))
    grown = fingerprint(list_files(exports))
    assert len({before, touched, renamed, grown}) == 4


def test_what_no_source_and_no_date_explains_is_named(exports):
    lay(exports, "crm/2024-01-01/a.csv", "crm/jan/a.csv", "crm/loose.csv", "shop/2024-01-01/a.csv")
    assert unknown_folders(exports, ["crm"]) == ["crm/jan", "crm/loose.csv", "shop"]


def test_a_date_in_another_form_is_named_since_it_is_not_found(exports):
    lay(exports, "crm/20240101/a.csv")
    assert find_deliveries(exports, ["crm"]) == []
    assert unknown_folders(exports, ["crm"]) == ["crm/20240101"]


def test_a_digest_is_sha256(exports):
    lay(exports, "a.csv", text="abc")
    assert sha256(exports / "a.csv") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_one_file_may_feed_several_tables_and_another_none(tmp_path):
    path = tmp_path / "crm.yaml"
    path.write_text(
        "source: crm\ntables:\n"
        "  customers: {files: 'all*.csv', columns: {customer_id: c}}\n"
        "  products: {files: '*.csv', columns: {product_id: p}}\n",
        "utf-8",
    )
    source = read_source(path)
    assert tables_of(source, "all_2024.csv") == ["customers", "products"]
    assert tables_of(source, "sub/p.csv") == ["products"]
    assert tables_of(source, "readme.txt") == []
