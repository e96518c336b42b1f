"""Cards of models: what they say of the customers a model learnt from, and of what churn is."""

import json
from datetime import date
from pathlib import Path

import ibis
import pytest

from crm_assets.assets.models import saying_who
from crm_assets.lake.models import CARD_FILE, StoredModel
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
