"""Models on disk: what is stored is read back, as plain values."""

import json

import dagster as dg
import numpy as np
import pytest

from crm_assets.lake.models import ModelIOManager, StoredModel, read_model, trained_months

DOCUMENT = {"trees": "tree\nversion=v4", "features": ["a", "b"], "cuts": {"low": 0.1}, "calibration": np.arange(3.0)}
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2024-01-01", end_date="2024-04-01")


def materialise(tmp_path, models, months):
    """Store models through Dagster and give what a later asset gets of them."""
    seen = {}

    @dg.asset(key=["models", "churn_model"], partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
    def churn_model(context) -> dict[str, StoredModel]:
        return {month: models[month] for month in context.partition_keys if month in models}

    @dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run(), io_manager_key="none")
    def reader(churn_model: dict[str, StoredModel]) -> None:
        seen.update(churn_model)

    tags = {"dagster/asset_partition_range_start": months[0], "dagster/asset_partition_range_end": months[-1]}
    result = dg.materialize(
        [churn_model, reader],
        resources={"io_manager": ModelIOManager(tmp_path), "none": dg.InMemoryIOManager()},
        tags=tags,
        instance=dg.DagsterInstance.ephemeral(),
    )
    assert result.success
    return seen, result


def test_a_model_is_read_back_as_it_was_stored(tmp_path):
    seen, _ = materialise(tmp_path, {"2024-01-01": StoredModel(DOCUMENT, {"auc": 0.8})}, ["2024-01-01"])
    model = seen["2024-01-01"]
    assert model.card == {"auc": 0.8}
    assert {**model.document, "calibration": model.document["calibration"].tolist()} == {
        **DOCUMENT,
        "calibration": [0.0, 1.0, 2.0],
    }


def test_a_range_of_months_gives_the_models_by_month(tmp_path):
    models = {month: StoredModel({"month": month}, {"for": month}) for month in ("2024-01-01", "2024-02-01")}
    seen, result = materialise(tmp_path, models, ["2024-01-01", "2024-03-01"])
    assert seen == models
    assert trained_months(tmp_path, "churn_model") == set(models)
    events = result.asset_materializations_for_node("models__churn_model")
    assert all(event.metadata["card"].value == {"for": "2024-02-01"} for event in events)


def test_a_month_without_enough_to_learn_has_a_card_and_no_model(tmp_path):
    card = {"needs": "orders of 60 days: 12"}
    seen, _ = materialise(tmp_path, {"2024-01-01": StoredModel(None, card)}, ["2024-01-01"])
    assert seen == {"2024-01-01": StoredModel(None, card)}
    assert trained_months(tmp_path, "churn_model") == {"2024-01-01"}


def test_training_again_without_enough_to_learn_removes_the_old_model(tmp_path):
    materialise(tmp_path, {"2024-01-01": StoredModel(DOCUMENT, {})}, ["2024-01-01"])
    materialise(tmp_path, {"2024-01-01": StoredModel(None, {"needs": "more"})}, ["2024-01-01"])
    assert read_model(tmp_path / "churn_model" / "2024-01-01").document is None


def test_a_card_is_json_that_people_can_read(tmp_path):
    materialise(tmp_path, {"2024-01-01": StoredModel(None, {"说明": "数据不足"})}, ["2024-01-01"])
    text = (tmp_path / "churn_model" / "2024-01-01" / "card.json").read_text("utf-8")
    assert "数据不足" in text
    assert json.loads(text) == {"说明": "数据不足"}


def test_no_model_was_trained_where_nothing_is(tmp_path):
    assert trained_months(tmp_path, "churn_model") == set()


def test_a_model_of_a_type_that_runs_code_is_not_read(tmp_path):
    class Runs:
        pass

    folder = tmp_path / "m"
    folder.mkdir()
    from skops import io

    io.dump({"x": np.frompyfunc(len, 1, 1)}, folder / "model.skops")
    (folder / "card.json").write_text("{}")
    with pytest.raises(Exception, match=r"[Uu]ntrusted"):
        read_model(folder)
