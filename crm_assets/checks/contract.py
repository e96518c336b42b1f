"""Checks of tables against their contracts, one per expectation.

Belongs here: the one factory that makes them. Not here: which expectations there are (`suite.py`).
"""

from collections.abc import Iterator

import dagster as dg

from crm_assets.checks.pages import write_page
from crm_assets.checks.rows import Sample, is_empty, keys_of_run, sample
from crm_assets.checks.suite import COLUMNS, Finding, Rule, rules_of, validate
from crm_assets.contracts.churn import CHURN_PERFORMANCE
from crm_assets.contracts.diagnosis import BEHAVIOUR_CAMPAIGN_EFFECTS
from crm_assets.contracts.drift import DRIFT
from crm_assets.contracts.identity import IDENTITY_QUALITY
from crm_assets.contracts.lifecycle import LIFECYCLE_TRANSITIONS
from crm_assets.contracts.model import Table
from crm_assets.contracts.offers import UP_SELL_LEADERBOARD, UP_SELL_OFFERS
from crm_assets.contracts.registry import lake_tables
from crm_assets.contracts.response import CAMPAIGN_RESPONSES, CONTACT_PREFERENCES, RESPONSE_SCORES
from crm_assets.contracts.segments import SEGMENT_MIGRATION, SEGMENT_STABILITY
from crm_assets.contracts.subscriptions import SUBSCRIPTION_CHURN_SCORES, SUBSCRIPTION_PERFORMANCE
from crm_assets.lake.io_manager import read_partitions
from crm_assets.lake.layout import Lake, LakeError
from crm_assets.settings import Settings

CHECKED_LAYERS = ("validated", "profile", "marts")
CHECKED_BESIDES = (
    ("quality", IDENTITY_QUALITY.name),
    ("quality", "leaderboard_churn"),
    ("quality", "leaderboard_customer_value"),
    ("quality", "leaderboard_subscription_churn"),
    ("quality", "leaderboard_purchases"),
    ("quality", "leaderboard_recommendations"),
    ("quality", "leaderboard_forecast"),
    ("quality", "leaderboard_response"),
    ("quality", "leaderboard_propensity"),
    ("quality", UP_SELL_LEADERBOARD.name),
    ("quality", CHURN_PERFORMANCE.name),
    ("quality", SUBSCRIPTION_PERFORMANCE.name),
    ("quality", DRIFT.name),
    ("quality", LIFECYCLE_TRANSITIONS.name),
    ("quality", SEGMENT_STABILITY.name),
    ("quality", SEGMENT_MIGRATION.name),
)

HAS_ROWS = "has_rows"

MADE_OF = {
    SUBSCRIPTION_CHURN_SCORES.name: "subscriptions",
    RESPONSE_SCORES.name: "campaign_contacts",
    CAMPAIGN_RESPONSES.name: "campaign_contacts",
    CONTACT_PREFERENCES.name: "interactions",
    BEHAVIOUR_CAMPAIGN_EFFECTS.name: "campaign_contacts",
}
"""The table without which a mart has no rows; for all others it is transactions."""

MAY_BE_EMPTY = (UP_SELL_OFFERS.name,)
"""Marts that have no rows in many a workspace: where products of a kind cost the same, there is nothing above them."""


def contract_check(layer: str, contract: Table) -> dg.AssetChecksDefinition:
    """Whether the run's rows of a table meet its contract."""
    key, rules = dg.AssetKey([layer, contract.name]), rules_of(contract)
    specs = [dg.AssetCheckSpec(r.name, asset=key, description=r.description, blocking=r.is_blocking) for r in rules]
    has_rows = layer == "marts" and contract.name not in MAY_BE_EMPTY
    if has_rows:
        # Sources need not deliver every table, but people look at marts.
        specs.append(
            dg.AssetCheckSpec(
                HAS_ROWS,
                asset=key,
                description="There are rows to look at, where the workspace has what they are made of.",
            )
        )

    @dg.multi_asset_check(name=f"contract_{layer}_{contract.name}", specs=specs)
    def check(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
    ) -> Iterator[dg.AssetCheckResult]:
        try:
            wanted = keys_of_run(context, lake, layer, contract)
            rows = (
                Sample.none()
                if is_empty(lake, layer, contract, wanted)
                else sample(read_partitions(lake, layer, contract, wanted), contract, settings.check_rows)
            )
        except LakeError as error:
            yield from _unreadable(key, [spec.name for spec in specs], str(error))
            return
        metadata: dict[str, dg.MetadataValue] = {"rows": dg.MetadataValue.int(rows.rows)}
        findings = {rule.name: Finding(True) for rule in rules}
        if rows.rows:
            name = ".".join(key.path)
            findings, page = validate(name, contract, rows.frame)
            metadata["data docs"] = dg.MetadataValue.path(write_page(settings.reports / "data_docs", name, page))
            metadata["looked at"] = dg.MetadataValue.text(rows.coverage)
        for rule in rules:
            yield _result(key, rule, findings[rule.name], rows, metadata)
        if has_rows:
            yield _has_rows(key, rows, lake)

    return check


def _has_rows(key: dg.AssetKey, rows: Sample, lake: Lake) -> dg.AssetCheckResult:
    needed = MADE_OF.get(key.path[-1], "transactions")
    is_possible = lake.has_rows("validated", needed)
    text = None
    if not rows.rows:
        needs = "the asset's log says what they need" if is_possible else f"the workspace has no {needed}"
        text = f"no rows were made; {needs}"
    return dg.AssetCheckResult(
        passed=rows.rows > 0 or not is_possible,
        asset_key=key,
        check_name=HAS_ROWS,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
    )


def _result(
    key: dg.AssetKey, rule: Rule, finding: Finding, rows: Sample, metadata: dict[str, dg.MetadataValue]
) -> dg.AssetCheckResult:
    description = None
    if not finding.holds:
        examples = f", such as {'; '.join(finding.examples)}" if finding.examples else ""
        description = f"{finding.violations} rows ({rows.coverage}) break it{examples}"
        metadata = {**metadata, "violations": dg.MetadataValue.int(finding.violations)}
    return dg.AssetCheckResult(
        passed=finding.holds,
        asset_key=key,
        check_name=rule.name,
        severity=dg.AssetCheckSeverity.ERROR if rule.is_blocking else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _unreadable(key: dg.AssetKey, names: list[str], message: str) -> Iterator[dg.AssetCheckResult]:
    """The columns are wrong, so nothing else can be said."""
    for name in names:
        is_columns = name == COLUMNS
        yield dg.AssetCheckResult(
            passed=False,
            asset_key=key,
            check_name=name,
            severity=dg.AssetCheckSeverity.ERROR if is_columns else dg.AssetCheckSeverity.WARN,
            description=message if is_columns else f"not looked at, since the check {COLUMNS} failed",
        )


contract_checks = [
    contract_check(layer, contract)
    for (layer, name), contract in lake_tables().items()
    if layer in CHECKED_LAYERS or (layer, name) in CHECKED_BESIDES
]
