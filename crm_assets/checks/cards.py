"""Checks of what a model's card says: no feature knows the outcome, and retraining made nothing worse.

Belongs here: checks that read cards. Not here: finding leaks (`mining/leaks.py`), comparing models
(`mining/challenger.py`).
"""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from crm_assets.lake.models import CARD_FILE, trained_months
from crm_assets.partitions import PARTITION, RANGE_END, RANGE_START
from crm_assets.settings import Settings

RESPONSE_MODEL = "response_model"
CHALLENGED_MODELS = ("churn_model", "subscription_churn")
CHECKED_MODELS = (*CHALLENGED_MODELS, RESPONSE_MODEL)


def leak_check(model: str) -> dg.AssetChecksDefinition:
    """Whether models of the run's months were stopped by a leak; then nothing is made of them."""

    @dg.asset_check(
        asset=dg.AssetKey(["models", model]),
        name="no_leaks",
        # A kind of campaign that leaks has no model, and the others are scored.
        blocking=model != RESPONSE_MODEL,
        description="No feature alone tells the outcome, which only one written after the fact can.",
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


def challenger_check(model: str) -> dg.AssetChecksDefinition:
    """Whether retraining made a model worse beyond chance."""

    @dg.asset_check(
        asset=dg.AssetKey(["models", model]),
        name="challenger_holds",
        description="The retrained model is not worse than last month's on days that neither had learnt from.",
    )
    def challenger_holds(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> dg.AssetCheckResult:
        cards = {month: _card(settings, model, month) for month in _months(context, settings, model)}
        challenges = {month: card.get("challenge") for month, card in cards.items()}
        known = {month: challenge for month, challenge in challenges.items() if isinstance(challenge, dict)}
        listed = [
            f"{month[:7]}: AUC {found['auc']:.3f}, {found['previous']} {found['auc of previous']:.3f} "
            f"(difference {found['low']:+.3f} to {found['high']:+.3f})"
            for month, found in known.items()
        ]
        return dg.AssetCheckResult(
            passed=all(found["holds"] for found in known.values()),
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(listed) or "there is no model of the month before to compare with",
        )

    return challenger_holds


card_checks = [*map(leak_check, CHECKED_MODELS), *map(challenger_check, CHALLENGED_MODELS)]
