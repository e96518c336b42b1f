"""Sizes of packages as catalogues write them."""

import ibis
import pandas as pd
import pytest

from crm_assets.mining.package_sizes import package_size_of, package_sizes

READ = {
    "16 OZ": ("g", 16 * 28.349523125),
    "1.5升": ("ml", 1500),
    "500 g": ("g", 500),
    "500克": ("g", 500),
    "2 LT": ("ml", 2000),
    "2 LTR": ("ml", 2000),
    "12 FL OZ": ("ml", 12 * 29.5735295625),
    ".5 L": ("ml", 500),
    "1 GAL": ("ml", 3785.411784),
    "5 GA": ("ml", 5 * 3785.411784),
    "2斤": ("g", 1000),
    "3 LB": ("g", 3 * 453.59237),
    "12 CT": ("pieces", 12),
    "2 DZ": ("pieces", 24),
    "16 OZ BTL": ("g", 16 * 28.349523125),
    "1/2 GAL": ("ml", 3785.411784 / 2),
    "10 1/2 OZ": ("g", 10.5 * 28.349523125),
    "6 PK/12 OZ": ("g", 72 * 28.349523125),
    "1 PK/12 OZ": ("g", 12 * 28.349523125),
    "24/12 OZ": ("g", 288 * 28.349523125),
    "4 x 125 g": ("g", 500),
    "4×125克": ("g", 500),
    "20 OZ/4 PK": ("g", 80 * 28.349523125),
}
UNREAD = ["LARGE", "OZ", "18 IN", "3 STEM", "0 OZ", "AB 8 OZ", "5 gallopers", "12", "", "100 SQ FT"]


def sizes_of(texts):
    rows = package_sizes(ibis.memtable(pd.DataFrame({"package_size": texts}), schema={"package_size": "string"}))
    return {row.package_size: (row.measure, row.size) for row in rows.to_pandas().itertuples(index=False)}


def test_sizes_are_read_in_grams_millilitres_and_pieces():
    found = sizes_of([*READ, *READ])
    assert set(found) == set(READ)
    assert {text: measure for text, (measure, _) in found.items()} == {
        text: measure for text, (measure, _) in READ.items()
    }
    assert {text: size for text, (_, size) in found.items()} == pytest.approx(
        {text: size for text, (_, size) in READ.items()}
    )


def test_what_cannot_be_read_is_no_size():
    assert sizes_of([*UNREAD, None]) == {}


def test_the_size_is_an_attribute_of_the_product():
    texts = ['{"department":"A","package_size":"16 OZ"}', '{"package_size" : " 1.5升 ","x":1}', '{"package_size":null}']
    texts += ['{"size":"16 OZ"}', "no JSON", None]
    table = ibis.memtable(pd.DataFrame({"attributes": texts}), schema={"attributes": "string"})
    found = table.select(size=package_size_of(table.attributes)).to_pyarrow()["size"].to_pylist()
    assert found == ["16 OZ", "1.5升", "null", None, None, None]
    assert sizes_of(["null"]) == {}
