"""Cards of models: what they say of the customers a model learnt from, and of what churn is."""

import json
from datetime import date, timedelta
from pathlib import Path

import ibis
import pytest

from crm_assets.assets.models import saying_who, terms_of_days
from crm_assets.lake.models import CARD_FILE, StoredModel
from crm_assets.mining.churn_terms import ChurnTerms
from crm_assets.mining.persons import ALONE
from crm_assets.settings import Settings

LEARN_FROM_CUSTOMERS = ["churn_model", "customer_clusters", "customer_value", "purchase_model", "segment_rules"]


def card(home: Path, model: str) -> dict[str, object]:
    return json.loads((home / "models" / model / "2024-06-01" / CARD_FILE).read_text("utf-8"))


@pytest.mark.parametrize("model", LEARN_FROM_CUSTOMERS)
def test_a_small_shop_is_learnt_from_whole(finished: Path, model: str) -> None:
    assert card(finished, model)["customers"] == "all"


@pytest.mark.parametrize(("customers", "said"), [(99, "all"), (100, "at most 100 a day, drawn")])
def test_as_many_customers_as_are_kept_were_drawn(tmp_path: Path, customers: int, said: str) -> None:
    rows = [(date(2024, 5, day), f"c{number}") for day in (20, 31) for number in range(customers)]
    features = ibis.memtable(rows, schema={"as_of": "date", "customer_id": "string"})
    stored = {"2024-06-01": StoredModel({}, {"model": "m"})}
    found = saying_who(stored, features, Settings(home=tmp_path, training_customers=100))
    assert found["2024-06-01"].card["model"] == "m"
    assert found["2024-06-01"].card["customers"].startswith(said)


def test_the_card_says_what_churn_is_and_why(finished: Path) -> None:
    """The shop's customers order every few days, so that a week or two without an order tells."""
    said = card(finished, "churn_model")
    days = int(said["horizon"].split()[0])
    assert days in (7, 14, 30)
    assert f"no order in {days} days" in said["definition"]
    assert f"ordered in the {2 * days} days before" in said["definition"]
    assert "95% of the gaps between orders by 2024-05-31 were at most" in said["horizon"]


def orders_every(gap: int, until: date) -> ibis.Table:
    """Orders of ten customers, each so many days after the one before."""
    days = [until - timedelta(gap * number) for number in range(20)]
    rows = [(day, f"c{number}", 1) for day in days for number in range(10)]
    return ibis.memtable(rows, schema={"day": "date", "customer_id": "string", "orders": "int64"})


def test_late_rows_do_not_change_what_counted_for_a_past_day(tmp_path: Path) -> None:
    """The model meant 7 days when it scored; by orders that came late it would mean 60 now."""
    settings, last = Settings(home=tmp_path), date(2024, 5, 31)
    scores = ibis.memtable([(date(2024, 6, 10),), (date(2024, 6, 20),)], schema={"as_of": "date"})
    on_time, late = orders_every(5, last), orders_every(40, last).mutate(customer_id=ibis._.customer_id + " late")

    def counted(customer_days: ibis.Table) -> list[ChurnTerms]:
        return list(terms_of_days(scores, customer_days, ALONE, settings).values())

    meant = counted(on_time)
    assert meant == [ChurnTerms(7, 14)] * 2
    assert counted(on_time.union(late)) == [ChurnTerms(60, 120)] * 2, "without a card, gaps are all there is"
    folder = tmp_path / "models" / "churn_model" / "2024-06-01"
    folder.mkdir(parents=True)
    (folder / CARD_FILE).write_text(json.dumps(meant[0].on_card()), "utf-8")
    assert counted(on_time.union(late)) == meant


def test_the_card_of_a_trained_model_tells_the_terms(finished: Path) -> None:
    said = card(finished, "churn_model")
    assert ChurnTerms.of_card(said) == ChurnTerms(int(said["horizon"].split()[0]), 2 * said["horizon_days"])
    assert ChurnTerms.of_card({"needs": "customers who churned: 0 rows"}) is None
