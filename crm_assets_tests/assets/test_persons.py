"""Features of persons: of some that are drawn, and of many days a few at a time."""

from datetime import timedelta

import pandas as pd
import pytest

from crm_assets.assets import persons
from crm_assets.assets.persons import FeatureInputs, features_of_persons
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.settings import load_settings
from crm_assets_tests import shop

DAYS = [shop.HISTORY_ENDS - timedelta(days=n) for n in (60, 30, 1, 0)]
KEY = ["as_of", "customer_id"]


@pytest.fixture(scope="module")
def features(finished):
    """A function of days, and of the most persons to draw, that gives their features."""
    settings = load_settings(finished)
    lake = lake_of(settings)

    def read(layer, name):
        return lake.read(layer, contract_of(layer, name))

    names = ("transactions", "products", "customers", "campaign_contacts")
    inputs = FeatureInputs(
        read("profile", "customer_days"),
        *(read("clean", name) for name in names),
        read("profile", "identity_members"),
        read("validated", "customers"),
    )

    def computed(days, most=None):
        with features_of_persons(lake, inputs, days, settings, most) as rows:
            return rows.to_pandas()

    return computed


def test_days_computed_a_few_at_a_time_are_those_computed_together(features, monkeypatch):
    together = features(DAYS)
    monkeypatch.setattr(persons, "CUSTOMER_DAYS_AT_ONCE", 1)
    pd.testing.assert_frame_equal(features(DAYS).sort_values(KEY, ignore_index=True), together)


def test_so_many_persons_are_drawn_on_each_day_with_the_features_they_have(features):
    everybody, drawn = features(DAYS), features(DAYS, 5)
    assert drawn.groupby("as_of").size().tolist() == [5] * len(DAYS)
    alike = everybody.merge(drawn[KEY], on=KEY).sort_values(KEY, ignore_index=True)
    pd.testing.assert_frame_equal(drawn.sort_values(KEY, ignore_index=True), alike)


def test_whom_a_day_draws_does_not_depend_on_other_days(features):
    alone = pd.concat([features([day], 5) for day in sorted(DAYS)], ignore_index=True)
    pd.testing.assert_frame_equal(features(DAYS, 5).sort_values(KEY, ignore_index=True), alone)


def test_all_are_kept_where_there_are_few(features):
    pd.testing.assert_frame_equal(features(DAYS[-1:], 10_000), features(DAYS[-1:]))
