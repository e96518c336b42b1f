"""Checks of models: each beats the simple rule it replaces, when trained and once its scores have come true.

Belongs here: model gates. Not here: choosing the champion (`mining/churn_training.py`), the figures themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from crm_assets.checks.rows import rows_of_run
from crm_assets.contracts.churn import CHURN_PERFORMANCE
from crm_assets.contracts.drift import DRIFT, VERDICTS
from crm_assets.contracts.registry import contract_of
from crm_assets.lake.layout import Lake

SCORES, RULE = "churn_scores", "recency"
MAX_ECE = 0.03
"""Largest mean gap between predicted and observed shares that published scores may have."""

MAX_DRIFTED_SHARE = 0.25
"""Share of the features that may be of another population before a model is called out."""

Row = Mapping[str, Any]

BASELINE = "past_spend"
HYBRID = "hybrid"
RANKING_METRICS = ("top_decile_capture", "rank_correlation")

RECOMMENDATIONS_LEADERBOARD = dg.AssetKey(["quality", "leaderboard_recommendations"])
VALUE_LEADERBOARD = dg.AssetKey(["quality", "leaderboard_customer_value"])
LEADERBOARD = dg.AssetKey(["quality", "leaderboard_churn"])
DRIFTED = dg.AssetKey(["quality", DRIFT.name])
PERFORMANCE = dg.AssetKey(["quality", CHURN_PERFORMANCE.name])


@dg.asset_check(asset=LEADERBOARD, description="The champion of each month has a better AUC than the recency rule.")
def champion_beats_rule(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Whether the model of a month is worth having."""
    rows = rows_of_run(context, lake, "quality", contract_of("quality", "leaderboard_churn"))
    aucs = (
        rows.filter(rows.metric == "auc", rows.value.notnull()).order_by("month", "candidate").to_pyarrow().to_pylist()
    )
    verdicts = {
        month: _verdict([row for row in aucs if row["month"] == month]) for month in sorted({r["month"] for r in aucs})
    }
    listed = [f"{month:%Y-%m}: {text}" for month, (_, text) in verdicts.items()]
    return dg.AssetCheckResult(
        passed=all(holds for holds, _ in verdicts.values()),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(listed) or "no model was trained: the asset's log says what it needs",
        metadata={"months": dg.MetadataValue.json(listed)},
    )


@dg.asset_check(
    asset=VALUE_LEADERBOARD, description="The champion of each month ranks customers better than past spend."
)
def value_beats_past_spend(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Whether the value model of a month is worth having."""
    rows = rows_of_run(context, lake, "quality", contract_of("quality", "leaderboard_customer_value"))
    figures = rows.filter(rows.metric.isin(RANKING_METRICS), rows.value.notnull())
    found = figures.order_by("month", "candidate", "metric").to_pyarrow().to_pylist()
    months = sorted({row["month"] for row in found})
    verdicts = {month: _value_verdict([row for row in found if row["month"] == month]) for month in months}
    listed = [f"{month:%Y-%m}: {text}" for month, (_, text) in verdicts.items()]
    return dg.AssetCheckResult(
        passed=all(holds for holds, _ in verdicts.values()),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(listed) or "no model was tested: the asset's log says what it needs",
        metadata={"months": dg.MetadataValue.json(listed)},
    )


@dg.asset_check(
    asset=RECOMMENDATIONS_LEADERBOARD,
    description="The recommender of each month has a better NDCG@10 than personal frequency and popularity.",
)
def recommender_beats_baselines(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> dg.AssetCheckResult:
    """Whether weighing all signs is worth it."""
    rows = rows_of_run(context, lake, "quality", contract_of("quality", "leaderboard_recommendations"))
    figures = rows.filter(rows.metric == "ndcg_at_10", rows.value.notnull()).order_by("month", "candidate")
    found = figures.to_pyarrow().to_pylist()
    listed = {
        f"{row['month']:%Y-%m}: {row['candidate']} is champion, NDCG@10 {row['value']:.4f}": row["candidate"] == HYBRID
        for row in found
        if row["is_champion"]
    }
    return dg.AssetCheckResult(
        passed=all(listed.values()),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(listed) or "no recommender was tested: the asset's log says what it needs",
        metadata={"months": dg.MetadataValue.json(list(listed))},
    )


@dg.multi_asset_check(
    name="churn_scores_came_true",
    specs=[
        dg.AssetCheckSpec("calibrated", asset=PERFORMANCE, description=f"The mean ECE is at most {MAX_ECE}."),
        dg.AssetCheckSpec("beats_rule", asset=PERFORMANCE, description="The mean AUC is above the recency rule's."),
    ],
)
def churn_scores_came_true(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """Whether published scores turned out as promised, over all days whose horizon has ended."""
    table = lake.read("quality", CHURN_PERFORMANCE)
    rows = table.filter(table.value.notnull()).order_by(*CHURN_PERFORMANCE.key).to_pyarrow().to_pylist()
    ece = _mean(rows, SCORES, "ece")
    auc, rule = _mean(rows, SCORES, "auc"), _mean(rows, RULE, "auc")
    yield _came_true("calibrated", ece is None or ece <= MAX_ECE, {"mean ece": ece})
    yield _came_true(
        "beats_rule", auc is None or rule is None or auc > rule, {"mean auc": auc, "mean auc of the rule": rule}
    )


@dg.asset_check(asset=DRIFTED, description="Scores and features are of the population their model was trained on.")
def same_population(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Whether the score or many features of a day have drifted away from the model."""
    table = rows_of_run(context, lake, "quality", contract_of("quality", DRIFT.name))
    gone = table.filter(table.verdict == VERDICTS[-1]).order_by(*DRIFT.key).to_pyarrow().to_pylist()
    features = table.filter(table.kind == "feature").count().to_pyarrow().as_py()
    scores = [f"{row['as_of']}: psi of the score {row['psi']:.2f}" for row in gone if row["kind"] == "score"]
    drifted = [row["name"] for row in gone if row["kind"] == "feature"]
    many = len(drifted) > MAX_DRIFTED_SHARE * features
    names = f"{len(drifted)} of {features} features are of another population"
    return dg.AssetCheckResult(
        passed=not scores and not many,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join([*scores, names]) if features else "no model scored",
        metadata={"features": dg.MetadataValue.json(sorted(set(drifted)))},
    )


def _came_true(name: str, passed: bool, figures: Mapping[str, float | None]) -> dg.AssetCheckResult:
    known = {figure: value for figure, value in figures.items() if value is not None}
    text = ", ".join(f"{figure} {value:.3f}" for figure, value in known.items())
    return dg.AssetCheckResult(
        passed=passed,
        asset_key=PERFORMANCE,
        check_name=name,
        severity=dg.AssetCheckSeverity.WARN,
        description=text or "no day's horizon has ended yet",
        metadata=known,
    )


def _verdict(aucs: Sequence[Row]) -> tuple[bool, str]:
    """Whether a month's champion holds, and what to say of it."""
    champion = next((row for row in aucs if row["is_champion"]), None)
    rule = next((row for row in aucs if row["candidate"] == RULE), None)
    if champion is None or rule is None:
        return True, "there is no AUC to compare"
    if champion is rule:
        return True, f"the recency rule stayed champion, AUC {rule['value']:.3f}"
    text = f"{champion['candidate']} has AUC {champion['value']:.3f}, the recency rule {rule['value']:.3f}"
    if champion["value"] <= rule["value"]:
        return False, f"{text}: it does not beat the rule"
    if None in (champion["low"], rule["high"]) or champion["low"] <= rule["high"]:
        return True, f"{text}: better, but their intervals overlap"
    return True, f"{text}: clear"


def _value_verdict(rows: Sequence[Row]) -> tuple[bool, str]:
    """Whether a month's value model ranks customers better than past spend in some figure, and what to say of it."""
    champion = {row["metric"]: row["value"] for row in rows if row["is_champion"]}
    baseline = {row["metric"]: row["value"] for row in rows if row["candidate"] == BASELINE}
    name = next((row["candidate"] for row in rows if row["is_champion"]), BASELINE)
    if name == BASELINE:
        return True, "past spend stayed champion"
    shared = [metric for metric in RANKING_METRICS if metric in champion and metric in baseline]
    text = ", ".join(f"{metric} {champion[metric]:.3f} to {baseline[metric]:.3f}" for metric in shared)
    if not any(champion[metric] > baseline[metric] for metric in shared):
        return False, f"{name} against past spend: {text}: it does not rank better"
    return True, f"{name} against past spend: {text}"


def _mean(rows: Sequence[Row], candidate: str, metric: str) -> float | None:
    values = [row["value"] for row in rows if row["candidate"] == candidate and row["metric"] == metric]
    return sum(values) / len(values) if values else None


gate_checks = [
    champion_beats_rule,
    value_beats_past_spend,
    recommender_beats_baselines,
    churn_scores_came_true,
    same_population,
]
