"""Which customers models learn from."""

import hashlib
from datetime import date

import ibis
import pytest

from crm_assets.mining.samples import about, as_floats, digest, drawn_by_day, sample_customers

CUSTOMERS = [f"c{number}" for number in range(40)]


def rows(customers):
    return ibis.memtable([{"customer_id": name, "day": day} for name in customers for day in (1, 2)])


def drawn(table, most, seed=1):
    return set(sample_customers(table, most, seed).to_pandas()["customer_id"])


def test_so_many_customers_are_drawn_with_all_their_rows():
    found = sample_customers(rows(CUSTOMERS), 10, 1).to_pandas()
    assert found["customer_id"].nunique() == 10
    assert len(found) == 20


def test_all_customers_stay_where_they_are_few():
    table = rows(CUSTOMERS)
    assert sample_customers(table, 40, 1) is table
    assert len(drawn(table, 39)) == 39


def test_the_same_customers_are_drawn_whatever_the_rows_and_their_order():
    assert drawn(rows(CUSTOMERS), 10) == drawn(rows(CUSTOMERS[::-1] + CUSTOMERS), 10)


def test_those_with_the_smallest_digest_are_drawn():
    order = sorted(CUSTOMERS, key=lambda name: hashlib.md5(f"1\x1f{name}".encode()).hexdigest())
    assert drawn(rows(CUSTOMERS), 10) == set(order[:10])


def test_another_seed_draws_others():
    assert drawn(rows(CUSTOMERS), 10, seed=1) != drawn(rows(CUSTOMERS), 10, seed=2)


def test_whoever_is_drawn_among_many_is_drawn_among_fewer():
    assert drawn(rows(CUSTOMERS), 5) <= drawn(rows(CUSTOMERS), 10)
    few = CUSTOMERS[:20]
    assert drawn(rows(CUSTOMERS), 10) & set(few) <= drawn(rows(few), 10)


def test_about_so_many_are_drawn_by_their_digest_alone():
    names = [f"o{number}" for number in range(2_000)]
    lines = ibis.memtable([{"basket_id": name, "line": line} for name in [*names, None] for line in (1, 2)])
    found, share = about(lines, "basket_id", 500, 1)
    kept = found.to_pandas()
    assert share == 0.25
    low = {name for name in names if hashlib.md5(f"1\x1f{name}".encode()).hexdigest() < "4"}
    assert set(kept["basket_id"].dropna()) == low
    assert len(kept) == 2 * len(low) + 2
    assert 400 < len(low) < 600


@pytest.mark.parametrize("most", [4_002, 2_000])
def test_nothing_is_drawn_where_there_are_no_more(most):
    lines = ibis.memtable([{"basket_id": f"o{number}", "line": line} for number in range(2_000) for line in (1, 2)])
    found, share = about(lines, "basket_id", most, 1)
    assert found is lines
    assert share == 1


def test_a_day_draws_among_those_known_by_then():
    first, second = date(2024, 1, 1), date(2024, 1, 2)
    seen = [{"customer_id": name, "day": first if n < 3 else second} for n, name in enumerate(CUSTOMERS)]
    found = drawn_by_day(ibis.memtable(seen), [second, first], 5, 1).to_pandas()
    by_day = found.groupby("as_of")["customer_id"].agg(set)
    assert by_day.tolist() == [set(CUSTOMERS[:3]), drawn(rows(CUSTOMERS), 5)]


@pytest.mark.parametrize(("texts", "expected"), [(["a", None], "a\x1f"), ([None, None], "\x1f"), (["", "b"], "\x1fb")])
def test_a_digest_counts_null_as_no_text(texts, expected):
    table = ibis.memtable([dict(zip("xy", texts, strict=True))], schema={"x": "string", "y": "string"})
    found = table.select(d=digest([table.x, table.y])).to_pandas()["d"][0]
    assert found == hashlib.md5(expected.encode()).hexdigest()


def test_numbers_are_floats():
    table = ibis.memtable([{"a": 1, "b": None}], schema={"a": "decimal(18, 4)", "b": "int64"})
    assert [str(kind) for kind in table.select(**as_floats(table, ["a", "b"])).to_pandas().dtypes] == ["float64"] * 2
