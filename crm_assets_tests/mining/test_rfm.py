"""RFM measures, cut points, scores, segments and value tiers."""

import os
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.segments import CUSTOMER_SEGMENTS, RFM_CUTS, RFM_SEGMENTS
from crm_assets.mining.rfm import SEGMENT_GRID, rfm_cuts, rfm_measures, rfm_scores, value_tiers
from crm_assets.mining.segments import customer_segments

AS_OF = date(2024, 6, 30)
MEASURE_TYPES = pa.schema(
    {
        "as_of": pa.date32(),
        "customer_id": pa.string(),
        "recency_days": pa.int64(),
        "frequency": pa.int64(),
        "monetary": pa.decimal128(18, 4),
    }
)
REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
ONLINE_RETAIL = REFERENCE / "online_retail" / "online_retail.parquet"

CONNECTION = ibis.duckdb.connect()


def customer_days(*rows: tuple[date, str | None, int, str]) -> ir.Table:
    names = ("day", "customer_id", "orders", "amount")
    types = (pa.date32(), pa.string(), pa.int64(), pa.decimal128(18, 4))
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    values = [
        [Decimal(v) for v in column] if name == "amount" else list(column)
        for name, column in zip(names, columns, strict=True)
    ]
    return ibis.memtable(pa.table([pa.array(v, t) for v, t in zip(values, types, strict=True)], names=list(names)))


def measures(
    recency: Sequence[int], frequency: Sequence[int], monetary: Sequence[int], *, as_of: date = AS_OF
) -> ir.Table:
    rows = [
        {
            "as_of": as_of,
            "customer_id": f"c{position:04}",
            "recency_days": r,
            "frequency": f,
            "monetary": Decimal(m),
        }
        for position, (r, f, m) in enumerate(zip(recency, frequency, monetary, strict=True))
    ]
    return ibis.memtable(pa.Table.from_pylist(rows, schema=MEASURE_TYPES))


def frame(table: ir.Table) -> pd.DataFrame:
    return CONNECTION.to_pandas(table)


@pytest.fixture(scope="module")
def online_retail() -> ir.Table:
    if not ONLINE_RETAIL.exists():
        pytest.skip("Online Retail reference data not found; set CRM_REFERENCE_DATA to its folder")
    return online_retail_days(CONNECTION)


def online_retail_days(connection: ibis.BaseBackend) -> ir.Table:
    """Days of customers without cancelled lines, free lines and lines without a customer."""
    lines = connection.read_parquet(ONLINE_RETAIL)
    lines = lines.filter(
        lines.CustomerID.notnull(), ~lines.InvoiceNo.startswith("C"), lines.Quantity > 0, lines.UnitPrice > 0
    )
    return (
        lines.mutate(
            day=lines.InvoiceDate.cast("timestamp").date(),
            customer_id=lines.CustomerID.cast("int64").cast("string"),
            paid=(lines.UnitPrice.cast("decimal(18,4)") * lines.Quantity).cast("decimal(18,4)"),
        )
        .group_by("day", "customer_id")
        .aggregate(orders=ibis._.InvoiceNo.nunique(), amount=ibis._.paid.sum().cast("decimal(18,4)"))
    )


def test_measures_count_orders_and_net_returns_up_to_as_of():
    days = customer_days(
        (date(2024, 6, 1), "ann", 1, "10"),
        (date(2024, 6, 20), "ann", 2, "30.50"),
        (date(2024, 6, 25), "ann", 0, "-5"),
        (date(2024, 7, 1), "ann", 1, "99"),
        (date(2024, 6, 30), "bob", 1, "7"),
        (date(2024, 7, 1), "late", 1, "7"),
        (date(2024, 6, 2), "returns only", 0, "-7"),
        (date(2024, 6, 2), None, 1, "7"),
    )
    rows = frame(rfm_measures(days, AS_OF))
    assert rows.drop(columns="as_of").values.tolist() == [["ann", 10, 3, Decimal("35.5")], ["bob", 0, 1, Decimal(7)]]


def test_no_customers_give_no_rows():
    empty = rfm_measures(customer_days(), AS_OF)
    assert frame(empty).empty
    assert frame(rfm_cuts(empty)).empty
    assert frame(value_tiers(empty)).empty
    assert frame(customer_segments(empty, rfm_cuts(empty))).empty


def test_ten_customers_are_cut_into_pairs():
    ten = measures(list(range(10)), list(range(1, 11)), [10 * n for n in range(1, 11)])
    cuts = frame(rfm_cuts(ten)).set_index(["measure", "score"])
    assert cuts.loc["frequency"].upper_bound.tolist()[:4] == [2, 4, 6, 8]
    assert pd.isna(cuts.loc[("frequency", 5)].upper_bound)
    assert cuts.loc["recency_days"].upper_bound.tolist()[1:] == [7, 5, 3, 1]
    assert (cuts.customers == 2).all()
    assert (cuts.fitted_on == pd.Timestamp(AS_OF)).all()
    scores = frame(rfm_scores(ten, rfm_cuts(ten)))
    assert scores.f_score.tolist() == scores.m_score.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert scores.r_score.tolist() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]


@pytest.mark.parametrize("bins", [2, 3, 10])
def test_other_bins_count_from_one_and_keep_the_names(bins):
    table = measures(list(range(30)), list(range(1, 31)), [10 * n for n in range(1, 31)])
    cuts = rfm_cuts(table, bins)
    assert frame(cuts).groupby("measure").size().tolist() == [bins] * 3
    assert (frame(cuts).customers == 30 // bins).all()
    scores = frame(rfm_scores(table, cuts))
    assert scores.f_score.tolist() == [1 + n * bins // 30 for n in range(30)]
    assert scores.r_score.tolist() == [bins - n * bins // 30 for n in range(30)]
    assert scores.rfm_segment.iloc[0] in ("new", "potential_loyalist")
    assert scores.rfm_segment.iloc[-1] in ("at_risk", "cant_lose")


def test_ten_bins_halve_to_the_five_of_the_grid():
    table = measures(list(range(30)), list(range(1, 31)), [10 * n for n in range(1, 31)])
    five, ten = (frame(rfm_scores(table, rfm_cuts(table, bins))) for bins in (5, 10))
    assert ten.rfm_segment.tolist() == five.rfm_segment.tolist()


def test_the_weighted_score_is_the_mean_by_the_weights_and_its_version_says_so():
    ten = measures(list(range(10)), list(range(1, 11)), [10 * n for n in range(1, 11)])
    alike = frame(rfm_scores(ten, rfm_cuts(ten)))
    assert alike.rfm_score.iloc[0] == pytest.approx((5 + 1 + 1) / 3)
    assert set(alike.rfm_version) == {"2024-06-30 5 bins, weights 1:1:1"}
    weighted = frame(rfm_scores(ten, rfm_cuts(ten, weights=[0.5, 0, 1.5])))
    assert weighted.rfm_score.iloc[0] == pytest.approx((0.5 * 5 + 1.5 * 1) / 2)
    assert set(weighted.rfm_version) == {"2024-06-30 5 bins, weights 0.5:0:1.5"}


@pytest.mark.parametrize(
    ("bins", "weights"), [(1, [1, 1, 1]), (11, [1, 1, 1]), (5, [0, 0, 0]), (5, [1, -1, 1]), (5, [1])]
)
def test_bins_and_weights_that_mean_nothing_are_refused(bins, weights):
    with pytest.raises(ValueError, match="RFM needs 2 to 10 bins"):
        rfm_cuts(measures([1], [1], [1]), bins, weights)


def test_one_customer_counts_as_new():
    one = measures([3], [1], [20])
    segments = frame(customer_segments(one, rfm_cuts(one)))
    assert segments[["r_score", "f_score", "m_score", "rfm_segment", "value_tier"]].values.tolist() == [
        [5, 1, 1, "new", "A"]
    ]


def test_mostly_single_orders_all_score_one_on_frequency():
    table = measures(list(range(100)), [1] * 90 + [2] * 6 + [9] * 4, list(range(100)))
    scores = frame(rfm_scores(table, rfm_cuts(table)))
    assert scores.f_score.tolist() == [1] * 90 + [5] * 10


def test_old_cuts_score_a_later_day_and_values_never_seen():
    cuts = rfm_cuts(measures(list(range(10)), list(range(1, 11)), [10 * n for n in range(1, 11)]))
    later = measures([500, 0], [1000, 1], [-50, 100_000], as_of=date(2024, 12, 31))
    scores = frame(rfm_scores(later, cuts))
    assert scores[["r_score", "f_score", "m_score"]].values.tolist() == [[1, 5, 1], [5, 1, 5]]
    assert scores.rfm_segment.tolist() == ["at_risk", "potential_loyalist"]


def test_every_grid_cell_lies_in_a_published_range():
    published = {  # name: lowest and highest recency score, lowest and highest mean of frequency and monetary score
        "champions": (4, 5, 4, 5),
        "loyal": (2, 5, 3, 5),
        "potential_loyalist": (3, 5, 1, 3),
        "new": (4, 5, 0, 1),
        "promising": (3, 4, 0, 1),
        "need_attention": (2, 3, 2, 3),
        "about_to_sleep": (2, 3, 0, 2),
        "at_risk": (0, 2, 2, 5),
        "cant_lose": (0, 1, 4, 5),
        "hibernating": (1, 2, 1, 2),
        "lost": (0, 2, 0, 2),
    }
    for recency, names in SEGMENT_GRID.items():
        for position, name in enumerate(names, start=1):
            low_r, high_r, low_fm, high_fm = published[name]
            assert low_r <= recency <= high_r
            assert low_fm <= position <= high_fm
    assert {name for names in SEGMENT_GRID.values() for name in names} == set(RFM_SEGMENTS)


def test_tier_a_stops_at_the_customer_who_reaches_80_percent():
    table = measures([0] * 6, [1] * 6, [40, 40, 10, 10, 0, -20])
    assert frame(value_tiers(table)).value_tier.tolist() == ["A", "A", "B", "B", "C", "C"]


def test_equal_values_are_ranked_by_customer_id():
    assert frame(value_tiers(measures([0] * 10, [1] * 10, [5] * 10))).value_tier.tolist() == ["A"] * 8 + ["B"] * 2


def test_no_positive_value_leaves_everyone_in_tier_c():
    assert frame(value_tiers(measures([0, 0], [1, 1], [0, -3]))).value_tier.tolist() == ["C", "C"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(-50, 50)), min_size=1, max_size=40))
def test_scores_are_monotone_and_equal_for_equal_values(rows):
    table = measures(*zip(*rows, strict=True))
    scores = frame(rfm_scores(table, rfm_cuts(table)))
    for measure, score, ascending in (
        ("recency_days", "r_score", False),
        ("frequency", "f_score", True),
        ("monetary", "m_score", True),
    ):
        assert scores[score].between(1, 5).all()
        assert (scores.groupby(measure)[score].nunique() == 1).all()
        per_value = scores.groupby(measure)[score].first().sort_index()
        assert per_value.is_monotonic_increasing if ascending else per_value.is_monotonic_decreasing
    assert scores.rfm_segment.isin(RFM_SEGMENTS).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-20, 200), min_size=1, max_size=40))
def test_tier_a_is_the_shortest_list_with_80_percent_of_value(amounts):
    table = measures([0] * len(amounts), [1] * len(amounts), amounts)
    tiers = frame(value_tiers(table)).value_tier
    assert tiers.isin(["A", "B", "C"]).all()
    assert len(tiers) == len(amounts)
    positive = sum(amount for amount in amounts if amount > 0)
    in_a = sorted(amount for amount, tier in zip(amounts, tiers, strict=True) if tier == "A")
    if positive:
        assert sum(in_a) * 100 >= positive * 80
        assert (sum(in_a) - in_a[0]) * 100 < positive * 80
        assert in_a[0] >= max((a for a, tier in zip(amounts, tiers, strict=True) if tier != "A"), default=0)
    else:
        assert not in_a


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(-50, 50)), min_size=1, max_size=40))
def test_cut_rows_count_the_customers_they_score(rows):
    table = measures(*zip(*rows, strict=True))
    cuts = frame(rfm_cuts(table)).set_index(["measure", "score"]).customers
    scores = frame(rfm_scores(table, rfm_cuts(table)))
    for measure, score in (("recency_days", "r_score"), ("frequency", "f_score"), ("monetary", "m_score")):
        counted = scores[score].value_counts()
        assert all(cuts[measure, s] == counted.get(s, 0) for s in range(1, 6))


def test_tables_have_the_columns_and_types_of_their_contracts():
    table = measures([1, 2], [1, 2], [3, 4])
    assert dict(rfm_cuts(table).schema()) == dict(RFM_CUTS.schema)
    clusters = ibis.memtable({"customer_id": ["c0000"], "cluster_name": ["frequent"]})
    segments = customer_segments(table, rfm_cuts(table), clusters)
    assert list(segments.columns) == list(CUSTOMER_SEGMENTS.schema.names)
    assert dict(segments.schema()) == dict(CUSTOMER_SEGMENTS.schema)
    assert frame(segments).cluster_name.fillna("none").tolist() == ["frequent", "none"]


def test_files_have_the_types_of_the_contract_too(tmp_path):
    """What Ibis takes for 64 bits the engine may hold in 32, and a day written alone would differ from one of a range."""
    table = measures([1, 2], [1, 2], [3, 4])
    path = tmp_path / "segments.parquet"
    customer_segments(table, rfm_cuts(table)).to_parquet(path)
    found = pq.read_schema(path)
    assert {found.field(name).type for name in ("r_score", "f_score", "m_score")} == {pa.int64()}


def test_online_retail_has_the_known_customers(online_retail):
    segments = frame(customer_segments(m := rfm_measures(online_retail, date(2011, 12, 9)), rfm_cuts(m)))
    assert len(segments) in (4338, 4339)
    assert segments.rfm_segment.nunique() == 11
    value = segments.groupby("value_tier").monetary.sum().astype(float)
    assert value["A"] / value.sum() == pytest.approx(0.80, abs=0.001)


def test_rebuilding_with_other_threads_gives_equal_bytes(online_retail, tmp_path):
    contents = []
    for threads in (1, 4):
        connection = ibis.duckdb.connect(threads=threads)
        table = rfm_measures(online_retail_days(connection), date(2011, 12, 9))
        path = tmp_path / f"{threads}.parquet"
        connection.to_parquet(customer_segments(table, rfm_cuts(table)), path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
