"""Forecasts of public data, from a delivery by its mapping of docs/examples to the pipeline's own leaderboard."""

import pytest

from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.settings import load_settings
from crm_assets_tests.test_churn_reference import delivered, run

pytestmark = pytest.mark.slow


def test_weekly_revenue_of_online_retail(tmp_path):
    """One year with a steep autumn: no method is better than the naive one's error within the year, all lag behind."""
    home = delivered(tmp_path, "online_retail")
    run(home, "train", "2011-12-01", ("models", "forecaster"), ("quality", "leaderboard_forecast"))
    board = lake_of(load_settings(home)).read("quality", contract_of("quality", "leaderboard_forecast")).to_pandas()
    weekly = board[board["model"] == "forecast revenue by week: total"].set_index("candidate")
    # There are no campaigns, so nothing looks at them.
    assert set(weekly.index) == {"naive", "mean", "ets", "ets_month_days", "theta", "arima"}
    assert weekly.loc["naive", "value"] == pytest.approx(1.483, abs=0.005)
    assert weekly.index[weekly["is_champion"]].tolist() == ["theta"]
    assert weekly.loc["theta", "value"] == pytest.approx(1.280, abs=0.02)
    assert weekly.loc["theta", "value"] < 0.9 * weekly.loc["naive", "value"]
