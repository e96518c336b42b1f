"""Forecasts of sales: values a person can work out, what must hold, and the figures of real data."""

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.behaviour import DIMENSIONS
from crm_assets.contracts.forecast import MONTH, SALES_FORECAST, WEEK
from crm_assets.mining.forecast import ForecastModel, SeriesModel, choose_forecasters, forecast_sales
from crm_assets.mining.forecast_methods import (
    CAMPAIGNS,
    ETS,
    MEAN,
    MONTH_DAYS,
    MONTH_DAYS_CAMPAIGNS,
    NAIVE,
    SEASONAL_NAIVE,
    candidates,
    forecast_by,
)
from crm_assets.mining.sales_series import (
    OTHER,
    campaigns_running,
    dated_campaigns,
    largest_parts,
    sales_by_day,
    whole_periods,
)

FIRST = date(2024, 1, 1)
HORIZONS = {WEEK: 4, MONTH: 2}


def sold(*lines: tuple) -> ibis.Table:
    names = ["day", "order_id", "customer_id", "product_id", "channel", "amount", "is_return"]
    rows = [dict(zip(names, line, strict=True)) for line in lines]
    types = dict.fromkeys(names, "string") | {"day": "date", "amount": "decimal(18, 4)", "is_return": "boolean"}
    return ibis.memtable(pd.DataFrame(rows, columns=names), schema=types)


def known(**values: str) -> ibis.Table:
    """Versions of a dimension: one column by key, valid from the beginning."""
    (key, keys), (name, found) = ((name, column.split()) for name, column in values.items())
    rows = {key: keys, name: found, "valid_from": [date(1, 1, 1)] * len(keys), "valid_to": [None] * len(keys)}
    types = {key: "string", name: "string", "valid_from": "date", "valid_to": "date"}
    return ibis.memtable(pd.DataFrame(rows), schema=types)


def test_days_add_up_lines_to_a_total_and_its_parts() -> None:
    lines = sold(
        (FIRST, "o1", "a", "p1", "web", 10, False),
        (FIRST, "o1", "a", "p2", "shop", 5, False),
        (FIRST, "o2", None, "p1", None, 7, False),
        (FIRST, "r1", "a", "p1", "web", -4, True),
        (FIRST + timedelta(1), "late", "a", "p1", "web", 99, False),
    )
    found = sales_by_day(
        lines, known(product_id="p1 p2", category="茶 bread"), known(customer_id="a", region="north"), FIRST
    )
    rows = found.drop("day").to_pandas().astype(object).where(lambda frame: frame.notna(), None).to_numpy().tolist()
    assert rows == [
        ["category", "bread", 5, None],
        ["category", "茶", 13, None],
        ["channel", "shop", 15, 1],
        ["channel", "unknown", 7, 1],
        ["channel", "web", -4, 0],
        ["region", "north", 11, 1],
        ["region", "unknown", 7, 1],
        ["total", "all", 18, 2],
    ]


def test_sums_of_a_day_do_not_depend_on_the_order_of_its_lines() -> None:
    # As floats 0.1 ten times is 0.9999999999999999, and a billion before or after it gives different last digits.
    amounts = ["0.1"] * 10 + ["1000000000.7", "-1000000000.7"]
    for ordered in (amounts, amounts[::-1]):
        lines = [(FIRST, f"o{number}", "a", "p1", "web", amount, False) for number, amount in enumerate(ordered)]
        dimensions = known(product_id="p1", category="bread"), known(customer_id="a", region="north")
        found = sales_by_day(sold(*lines), *dimensions, FIRST).to_pandas()
        assert set(found["revenue"]) == {1.0}
        assert len(found) == 4


def daily(days: int, parts: dict[str, float], first: date = FIRST) -> pd.DataFrame:
    """Every day the same revenue of each category and one order."""
    rows = []
    for number in range(days):
        day = pd.Timestamp(first) + pd.Timedelta(days=number)
        rows += [("category", name, day, amount, None) for name, amount in parts.items()]
        rows.append(("total", "all", day, sum(parts.values()), 1.0))
    return pd.DataFrame(rows, columns=["dimension", "value", "day", "revenue", "orders"])


def test_only_whole_weeks_and_months_count_and_small_parts_are_one() -> None:
    days = daily(40, {"a": 5.0, "b": 3.0, "c": 2.0, "d": 1.0}, FIRST + timedelta(3))
    parts = largest_parts(days, 2)
    assert parts == {"category": ["a", "b"], "total": ["all"]}
    found = whole_periods(days, parts, FIRST + timedelta(3), FIRST + timedelta(42))
    weeks = found["revenue", "week", "category", OTHER]
    assert [str(start.date()) for start in weeks.index] == [f"2024-01-{day:02}" for day in (8, 15, 22, 29)] + [
        "2024-02-05"
    ]
    assert weeks.tolist() == [21.0] * 5
    assert found["orders", "week", "total", "all"].tolist() == [7.0] * 5
    # January began before the data and February has not ended.
    assert ("revenue", "month", "total", "all") not in found
    assert ("orders", "week", "category", "a") not in found


def test_naive_forecasts_repeat_and_the_mean_is_the_mean() -> None:
    weeks = pd.Series([1.0, 2.0, 6.0], pd.date_range("2024-01-01", periods=3, freq="7D"))
    assert forecast_by(NAIVE, weeks, 2, WEEK).tolist() == [6, 6]
    assert forecast_by(MEAN, weeks, 2, WEEK).tolist() == [3, 3]
    years = pd.Series(np.arange(24.0), pd.date_range("2022-01-01", periods=24, freq="MS"))
    assert forecast_by(SEASONAL_NAIVE, years, 3, MONTH).tolist() == [12, 13, 14]
    assert candidates(MONTH, "total", 24)[0] == SEASONAL_NAIVE
    assert candidates(MONTH, "total", 9) == [NAIVE, MEAN]


def test_an_effect_of_the_first_days_of_the_month_is_found() -> None:
    starts = pd.date_range("2024-01-01", periods=60, freq="7D")
    early = np.array([sum((start + pd.Timedelta(days=n)).day <= 10 for n in range(7)) for start in starts], float)
    values = pd.Series(100 + 10 * early, starts)
    ahead = forecast_by(MONTH_DAYS, values[:52], 8, WEEK)
    assert ahead == pytest.approx(values[52:].to_numpy(), abs=0.5)
    assert np.abs(forecast_by(ETS, values[:52], 8, WEEK) - values[52:].to_numpy()).mean() > 10


def planned(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Campaigns that never changed: name, first day, last day, and the day of the export that told of them."""
    frame = pd.DataFrame(rows, columns=["campaign_id", "first_day", "last_day", "told"])
    return frame.assign(valid_from=date(1990, 1, 1), valid_to=None)


def test_campaigns_count_by_their_days_once_they_are_known() -> None:
    weeks = pd.date_range("2024-01-01", periods=3, freq="7D")
    campaigns = planned(
        ("a", "2024-01-01", "2024-01-07", "2024-03-01"), ("b", "2024-01-04", "2024-01-17", "2024-03-01")
    )
    assert campaigns_running(campaigns, weeks, WEEK, date(2024, 1, 31)).tolist() == [1 + 4 / 7, 1, 3 / 7]
    # The second began on the 4th, and no export had told of it before.
    assert campaigns_running(campaigns, weeks, WEEK, date(2024, 1, 3)).tolist() == [1, 0, 0]
    assert campaigns_running(campaigns, weeks, WEEK, date(2024, 1, 4)).tolist() == [1 + 4 / 7, 1, 3 / 7]
    told = campaigns.assign(told="2023-12-30")
    assert campaigns_running(told, weeks, WEEK, date(2023, 12, 31)).tolist() == [1 + 4 / 7, 1, 3 / 7]
    # Prolonged by the export of the 10th.
    again = told.iloc[[0]].assign(valid_from=date(2024, 1, 10), last_day="2024-01-14")
    changed = pd.concat([told.iloc[[0]].assign(valid_to=date(2024, 1, 10)), again])
    assert campaigns_running(changed, weeks, WEEK, date(2024, 1, 9)).tolist() == [1, 0, 0]
    assert campaigns_running(changed, weeks, WEEK, date(2024, 1, 10)).tolist() == [1, 1, 0]
    months = pd.date_range("2024-01-01", periods=2, freq="MS")
    assert campaigns_running(campaigns, months, MONTH, date(2024, 1, 31)).tolist() == [21 / 31, 0]
    assert campaigns_running(campaigns.head(0), weeks, WEEK, date(2024, 1, 31)).tolist() == [0, 0, 0]


def test_campaigns_are_known_from_their_first_export_and_those_without_an_end_are_left_out() -> None:
    days = {"first_day": date(2024, 1, 2), "last_day": date(2024, 1, 5)}
    rows = [{"campaign_id": "a", **days}, {"campaign_id": "open", **days, "last_day": None}]
    versions = ibis.memtable(
        pd.DataFrame(rows).assign(valid_from=date(1990, 1, 1), valid_to=None),
        schema={
            "campaign_id": "string",
            "first_day": "date",
            "last_day": "date",
            "valid_from": "date",
            "valid_to": "date",
        },
    )
    exports = [("a", date(2024, 1, 9)), ("a", date(2023, 12, 1)), ("open", date(2023, 12, 1))]
    delivered = ibis.memtable(
        pd.DataFrame(exports, columns=["campaign_id", "_export_date"]),
        schema={"campaign_id": "string", "_export_date": "date"},
    )
    found = dated_campaigns(versions, delivered).to_pandas()
    assert found["campaign_id"].tolist() == ["a"]
    dates = [pd.Timestamp(found.loc[0, name]).date() for name in ("first_day", "last_day", "told")]
    assert dates == [date(2024, 1, 2), date(2024, 1, 5), date(2023, 12, 1)]


def monthly_campaigns(told: str) -> pd.DataFrame:
    """One of two weeks in every other month, the first after eight weeks of none."""
    starts = pd.date_range("2024-02-26", periods=8, freq="56D")
    days = [(start, start + pd.Timedelta(days=13)) for start in starts]
    return planned(*[(f"c{first:%m}", str(first.date()), str(last.date()), told) for first, last in days])


def test_an_effect_of_campaigns_is_found_and_put_where_they_are_planned() -> None:
    starts = pd.date_range("2024-01-01", periods=60, freq="7D")
    campaigns = monthly_campaigns(told="2023-12-01")
    running = campaigns_running(campaigns, starts, WEEK, date(2025, 12, 31))
    assert running[44:52].sum() > 0
    values = pd.Series(100 + 30 * running, starts)
    ahead = forecast_by(CAMPAIGNS, values[:44], 8, WEEK, campaigns)
    assert ahead == pytest.approx(values[44:52].to_numpy(), abs=0.5)
    untold = forecast_by(CAMPAIGNS, values[:44], 8, WEEK, monthly_campaigns(told="2026-01-01"))
    assert untold == pytest.approx([100] * 8, abs=0.5)
    both = forecast_by(MONTH_DAYS_CAMPAIGNS, values[:44], 8, WEEK, campaigns)
    assert both == pytest.approx(values[44:52].to_numpy(), abs=0.5)


def test_planned_campaigns_are_looked_at_where_that_forecasts_better() -> None:
    campaigns = monthly_campaigns(told="2023-12-01")
    days = daily(364, {"a": 100.0})
    running = campaigns_running(campaigns, pd.DatetimeIndex(days["day"]), WEEK, date(2025, 12, 31))
    noise = np.random.default_rng(3).normal(0, 2, len(days))
    days["revenue"] = days["revenue"] + 30 * running + noise
    arguments = days, FIRST, date(2024, 12, 30), {WEEK: 8, MONTH: 2}, 5, 1
    model, board, _ = choose_forecasters(*arguments, campaigns)
    assert model is not None
    assert model.series["revenue by week: total"].method in (CAMPAIGNS, MONTH_DAYS_CAMPAIGNS)
    without, board_without, _ = choose_forecasters(*arguments)
    assert without is not None
    assert CAMPAIGNS not in set(board_without["candidate"])
    empty = choose_forecasters(*arguments, campaigns.head(0))
    assert (empty[0], empty[2]) == (without, choose_forecasters(*arguments)[2])
    weekly = board[board["model"] == "forecast revenue by week: total"].set_index("candidate")["value"]
    assert weekly[CAMPAIGNS] < 0.5 * weekly[NAIVE]


def test_intervals_widen_where_errors_grow_with_the_distance() -> None:
    walk = daily(700, {"a": 1.0})
    week = (pd.to_datetime(walk["day"]) - pd.Timestamp(FIRST)).dt.days // 7
    steps = np.random.default_rng(5).normal(0, 10, int(week.max()) + 1)
    walk["revenue"] = (1_000 + np.cumsum(steps))[week]
    month, horizons = date(2025, 12, 1), {WEEK: 13, MONTH: 2}
    model, _, _ = choose_forecasters(walk, FIRST, month, horizons, 5, 1)
    assert model is not None
    assert model.series["revenue by week: total"].growth > 0
    found = forecast_sales(model, walk, FIRST, month - timedelta(days=1), horizons)
    weekly = found[found["series"] == "revenue by week: total"]
    widths = (weekly["high"] - weekly["low"]).to_numpy()
    assert (np.diff(widths) >= 0).all()
    assert widths[-1] > 1.2 * widths[0]
    # The nearest ones are as wide as without growth: four of five errors of the worst origin.
    assert widths[0] == pytest.approx(2 * model.series["revenue by week: total"].width)
    steady = daily(700, {"a": 100.0})
    steady["revenue"] += np.random.default_rng(6).normal(0, 5, len(steady))
    model, _, _ = choose_forecasters(steady, FIRST, month, horizons, 5, 1)
    assert model is not None
    of_total = model.series["revenue by week: total"]
    assert of_total.growth * max(0, horizons[WEEK] - 1 - of_total.steady) < of_total.width / 2


def test_a_model_of_an_earlier_version_can_be_read() -> None:
    model = ForecastModel("m", {"total": ["all"]}, {"revenue by week: total": SeriesModel(NAIVE, 0.5, 7.0)}, {})
    document = model.to_document()
    for name in ("growth", "steady"):
        del document["series"]["revenue by week: total"][name]
    assert ForecastModel.from_document(document) == model


def test_where_nothing_beats_naive_naive_is_used_and_said() -> None:
    """A straight climb: the mean lags far behind, and a walk of steps has nothing to smooth."""
    climb = daily(300, {"a": 1.0, "b": 1.0})
    climb["revenue"] *= np.arange(len(climb)) // 3 + 1.0
    model, board, message = choose_forecasters(climb, FIRST, date(2024, 10, 1), HORIZONS, 5, 1)
    assert model is not None
    weekly = board[(board["model"] == "forecast revenue by week: total")].set_index("candidate")
    assert weekly.loc[MEAN, "value"] > weekly.loc[NAIVE, "value"]
    champion = weekly.index[weekly["is_champion"]].item()
    assert weekly.loc[champion, "value"] <= weekly.loc[NAIVE, "value"]
    flat = daily(300, {"a": 1.0, "b": 1.0})
    model, _, message = choose_forecasters(flat, FIRST, date(2024, 10, 1), HORIZONS, 5, 1)
    assert model is not None
    assert {series.method for name, series in model.series.items() if "week" in name} == {NAIVE}
    assert "naive" in message


def test_too_little_history_says_so() -> None:
    model, board, message = choose_forecasters(daily(3, {"a": 1.0}), FIRST, date(2024, 1, 4), HORIZONS, 5, 1)
    assert (model, len(board)) == (None, 0)
    assert "needs" in message
    nothing = daily(0, {})
    assert choose_forecasters(nothing, FIRST, FIRST, HORIZONS, 5, 1)[0] is None
    model, _, message = choose_forecasters(daily(20, {"a": 1.0}), FIRST, date(2024, 1, 21), HORIZONS, 5, 1)
    assert model is not None
    assert model.series["revenue by week: total"].mase is None
    assert "too little history" in message


@settings(max_examples=25, deadline=None)
@given(
    amounts=st.lists(st.tuples(*[st.integers(-20, 400)] * 3), min_size=12, max_size=30),
    methods=st.lists(st.sampled_from([NAIVE, MEAN, ETS, MONTH_DAYS]), min_size=4, max_size=4),
)
def test_parts_add_up_and_intervals_hold_their_forecast(amounts, methods) -> None:
    days, as_of = by_week(amounts), FIRST + timedelta(days=7 * len(amounts) - 1)
    series = {f"revenue by week: category {name}": method for name, method in zip("abc", methods, strict=False)}
    series["revenue by week: total"] = methods[3]
    chosen = {name: SeriesModel(method, 0.5, 30.0) for name, method in series.items()}
    model = ForecastModel("m", {"category": ["a", "b", "c"], "total": ["all"]}, chosen, {})
    found = forecast_sales(ForecastModel.from_document(model.to_document()), days, FIRST, as_of, HORIZONS)
    assert list(found.columns) == list(SALES_FORECAST.by_name)
    assert (found["low"] >= 0).all()
    assert ((found["low"] <= found["forecast"]) & (found["forecast"] <= found["high"])).all()
    sums = found.groupby(["measure", "grain", "dimension", "period"])["forecast"].sum().unstack("dimension")
    parts = sums.loc["revenue", "category"] if len(found[found["dimension"] == "category"]) else sums["total"].head(0)
    assert np.allclose(parts, sums.loc["revenue", "total"].reindex(parts.index))
    assert set(found["dimension"]) <= set(DIMENSIONS)


def test_parts_that_sold_nothing_lately_share_the_total_as_before() -> None:
    days = by_week([(30, 10, 0)] * 3 + [(0, 0, 0)])
    names = [f"revenue by week: category {name}" for name in "abc"]
    chosen = {name: SeriesModel(NAIVE, 0.5, 1.0) for name in names}
    chosen["revenue by week: total"] = SeriesModel(MEAN, 0.5, 1.0)
    model = ForecastModel("m", {"category": ["a", "b", "c"], "total": ["all"]}, chosen, {})
    found = forecast_sales(model, days, FIRST, FIRST + timedelta(days=27), HORIZONS)
    of_series = found[found["grain"] == WEEK].groupby("series")["forecast"].first()
    # Amounts of a week are sold on each of its days: (40 * 3 + 0) / 4 weeks * 7 days = 210, shared 3 to 1.
    assert of_series["revenue by week: total"] == pytest.approx(210)
    assert [of_series[name] for name in names] == pytest.approx([157.5, 52.5, 0])


def test_the_order_of_rows_does_not_matter_and_later_days_are_not_seen() -> None:
    chance = np.random.default_rng(1)
    days = by_week([tuple(chance.integers(50, 90, 3)) for _ in range(40)])
    month = date(2024, 10, 1)
    model, board, _ = choose_forecasters(days, FIRST, month, HORIZONS, 2, 1)
    again, board_again, _ = choose_forecasters(days.sample(frac=1, random_state=3), FIRST, month, HORIZONS, 2, 1)
    assert again == model
    assert board_again.equals(board)
    earlier = days[pd.to_datetime(days["day"]) < pd.Timestamp(month)]
    assert choose_forecasters(earlier, FIRST, month, HORIZONS, 2, 1)[0] == model


def by_week(amounts: list[tuple]) -> pd.DataFrame:
    """Revenue of three categories on each day of a week, as given for the week."""
    days = daily(7 * len(amounts), {"a": 0.0, "b": 0.0, "c": 0.0})
    week = (pd.to_datetime(days["day"]) - pd.Timestamp(FIRST)).dt.days // 7
    given = pd.DataFrame(amounts, columns=list("abc"), dtype="float64")
    given["all"] = given.sum(axis=1)
    return days.assign(revenue=[given.loc[number, name] for number, name in zip(week, days["value"], strict=True)])
