"""Checks that no model learnt from a feature that knows the outcome.

Belongs here: what the cards of a run's models say of leaks. Not here: finding them (`mining/leaks.py`).
"""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from crm_assets.lake.models import CARD_FILE, trained_months
from crm_assets.partitions import PARTITION, RANGE_END, RANGE_START
from crm_assets.settings import Settings

CHECKED_MODELS = ("churn_model", "subscription_churn")


def leak_check(model: str) -> dg.AssetChecksDefinition:
    """Whether the models of the run's months were stopped by a leak; then nothing is made of them."""

    @dg.asset_check(
        asset=dg.AssetKey(["models", model]),
        name="no_leaks",
        blocking=True,
        description="No feature alone tells who leaves, which only one written after the fact can.",
    )
    def no_leaks(context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        cards = {month: _card(settings, model, month) for month in _months(context, settings, model)}
        found = {month: card["needs"] for month, card in cards.items() if card.get("leaks")}
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(f"{month[:7]}: {text}" for month, text in found.items()) or "no feature leaks",
            metadata={"months": dg.MetadataValue.json(sorted(cards))},
        )

    return no_leaks


def _months(context: dg.AssetCheckExecutionContext, settings: Settings, model: str) -> list[str]:
    """Months of the run that have a card; the newest one when the run has none."""
    trained = sorted(trained_months(settings.models, model))
    tags = context.run.tags
    first, last = tags.get(RANGE_START, tags.get(PARTITION)), tags.get(RANGE_END, tags.get(PARTITION))
    if first is None or last is None:
        return trained[-1:]
    return [month for month in trained if first <= month <= last]


def _card(settings: Settings, model: str, month: str) -> Mapping[str, Any]:
    card: Mapping[str, Any] = json.loads((settings.models / model / month / CARD_FILE).read_text("utf-8"))
    return card


leak_checks = [leak_check(model) for model in CHECKED_MODELS]
