"""Training features of a shop that look ahead stop its churn model; rows that came late do not."""

import json
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import ibis
import pytest

from crm_assets.assets import persons
from crm_assets.assets.look_ahead import features_looking_ahead
from crm_assets.automation.instance import open_instance
from crm_assets.contracts.registry import TRAINING_FEATURES, contract_of
from crm_assets.definitions import build_defs, lake_of
from crm_assets.lake.models import CARD_FILE
from crm_assets.mining.churn import CHURN_FEATURES
from crm_assets.mining.features import customer_features
from crm_assets.partitions import range_tags
from crm_assets.runs import QUIET
from crm_assets.settings import load_settings
from crm_assets_tests import shop

AS_OF, KEPT_IN, MONTH = date(2024, 4, 20), "2024-05-01", "2024-06-01"
"""The newest labelled day of the model of a month that is not the end of one, and where its features stand."""

CUSTOMER_DAYS = contract_of("profile", "customer_days")


def found(home: Path, logged: list[str] | None = None) -> dict[str, float]:
    """What is found of the training day as the lake holds it."""
    settings, context = load_settings(home), dg.build_asset_context()
    lake = lake_of(settings)
    rows = lake.read("features", TRAINING_FEATURES)
    if logged is not None:
        context.log.warning = lambda text, *values: logged.append(text % values)
    return features_looking_ahead(context, lake, rows, AS_OF, CHURN_FEATURES, settings)


def rewrite_orders(home: Path) -> None:
    """Bring a line late: the orders of a past day are other ones than when features were made."""
    lake = lake_of(load_settings(home))
    day = AS_OF - timedelta(days=5)
    rows = lake.read("profile", CUSTOMER_DAYS)
    late = rows.filter(rows.day == day).mutate(orders=rows.orders + 1).to_pyarrow()
    lake.write("profile", CUSTOMER_DAYS, ibis.memtable(late, schema=CUSTOMER_DAYS.schema), [(day.isoformat(),)])


def count_later_orders(features: ibis.Table, customer_days: ibis.Table) -> ibis.Table:
    """Orders of 30 days that wrongly go on beyond the day."""
    near = customer_days.filter(customer_days.day > AS_OF, customer_days.day <= AS_OF + timedelta(days=5))
    later = near.group_by("customer_id").agg(later=near.orders.sum())
    both = features.left_join(later, "customer_id").drop("customer_id_right")
    wrong = both.orders_30d + (both.as_of == AS_OF).ifelse(both.later.fill_null(0), 0)
    return both.mutate(orders_30d=wrong.cast("int64")).drop("later")


def plant(home: Path) -> None:
    """Let the training features of a day look ahead."""
    lake = lake_of(load_settings(home))
    rows = lake.read("features", TRAINING_FEATURES)
    leaky = count_later_orders(
        rows.filter(rows.month == date.fromisoformat(KEPT_IN)), lake.read("profile", CUSTOMER_DAYS)
    )
    lake.write(
        "features", TRAINING_FEATURES, ibis.memtable(leaky.to_pyarrow(), schema=TRAINING_FEATURES.schema), [(KEPT_IN,)]
    )


def test_honest_features_pass_and_late_rows_are_told_apart(finished: Path, tmp_path: Path) -> None:
    assert found(finished) == {}
    home, logged = shop.copy_of(finished, tmp_path / "home"), []
    rewrite_orders(home)
    assert found(home, logged) == {}
    assert "made from other rows than there are now" in logged[0]
    assert "orders_7d" in logged[0]


def test_a_planted_look_ahead_stops_the_model_and_is_named(finished: Path, tmp_path: Path) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    plant(home)
    assert 0 < found(home)["orders_30d"] < 1
    settings = load_settings(home)
    with open_instance(home) as instance:
        result = (
            build_defs(settings)
            .resolve_job_def("train")
            .execute_in_process(
                run_config=QUIET,
                instance=instance,
                tags=range_tags(MONTH, MONTH),
                asset_selection=[
                    dg.AssetKey(["models", "churn_model"]),
                    dg.AssetKey(["quality", "leaderboard_churn"]),
                ],
                raise_on_error=False,
            )
        )
    assert not result.success
    (check,) = (found for found in result.get_asset_check_evaluations() if found.check_name == "no_leaks")
    assert not check.passed
    assert "orders_30d" in check.description
    folder = home / "models" / "churn_model" / MONTH
    assert set(json.loads((folder / CARD_FILE).read_text("utf-8"))["leaks"]) == {"orders_30d"}
    assert not (folder / "model.skops").exists()


def test_code_that_looks_ahead_is_found_though_rows_came_late_since(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    plant(home)
    rewrite_orders(home)

    def leaky(customer_days: ibis.Table, *tables: object) -> ibis.Table:
        return count_later_orders(customer_features(customer_days, *tables), customer_days)

    monkeypatch.setattr(persons, "customer_features", leaky)
    assert set(found(home)) == {"orders_30d"}
