"""Checks of models: each beats the simple rule it replaces, when trained and once its scores have come true.

Belongs here: model gates. Not here: choosing the champion (`mining/churn_training.py`), the figures themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from crm_assets.checks.rows import chosen, rows_of_run
from crm_assets.contracts.churn import CHURN_PERFORMANCE
from crm_assets.contracts.drift import DRIFT, VERDICTS
from crm_assets.contracts.registry import contract_of
from crm_assets.contracts.subscriptions import SUBSCRIPTION_PERFORMANCE
from crm_assets.lake.layout import Lake

RULE = "recency"
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
JUDGED = {
    CHURN_PERFORMANCE: ("churn_scores", RULE),
    SUBSCRIPTION_PERFORMANCE: ("subscription_churn_scores", "tenure"),
}
"""The scores and the rule of each table of what came true."""

CAME_TRUE = [
    dg.AssetCheckSpec(name, asset=dg.AssetKey(["quality", contract.name]), description=text)
    for contract, (_, rule) in JUDGED.items()
    for name, text in {
        "calibrated": f"The mean ECE is at most {MAX_ECE}.",
        "beats_rule": f"The mean AUC is above that of {rule}.",
    }.items()
]


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


@dg.multi_asset_check(name="churn_scores_came_true", specs=CAME_TRUE, can_subset=True)
def churn_scores_came_true(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """Whether published scores turned out as promised, over all days whose horizon has ended."""
    wanted = chosen(context, CAME_TRUE)
    for contract, (scores, rule) in JUDGED.items():
        of_table = [spec for spec in wanted if spec.asset_key.path[-1] == contract.name]
        rows: list[Row] = []
        if of_table and lake.has_rows("quality", contract.name):
            table = lake.read("quality", contract)
            rows = table.filter(table.value.notnull()).order_by(*contract.key).to_pyarrow().to_pylist()
        ece, auc, of_rule = _mean(rows, scores, "ece"), _mean(rows, scores, "auc"), _mean(rows, rule, "auc")
        for spec in of_table:
            if spec.name == "calibrated":
                yield _came_true(spec, ece is None or ece <= MAX_ECE, {"mean ece": ece})
            else:
                is_better = auc is None or of_rule is None or auc > of_rule
                yield _came_true(spec, is_better, {"mean auc": auc, "mean auc of the rule": of_rule})


@dg.asset_check(asset=DRIFTED, description="Scores and features are of the population their model was trained on.")
def same_population(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Whether the score or many features of a day have drifted away from a model."""
    table = rows_of_run(context, lake, "quality", contract_of("quality", DRIFT.name))
    rows = table.filter(table.kind != "population").order_by(*DRIFT.key).to_pyarrow().to_pylist()
    verdicts = {
        name: _drifted([row for row in rows if row["model"] == name]) for name in sorted({r["model"] for r in rows})
    }
    gone = [row["name"] for row in rows if row["kind"] == "feature" and row["verdict"] == VERDICTS[-1]]
    return dg.AssetCheckResult(
        passed=all(holds for holds, _ in verdicts.values()),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{name}: {text}" for name, (_, text) in verdicts.items()) or "no model scored",
        metadata={"features": dg.MetadataValue.json(sorted(set(gone)))},
    )


def _drifted(rows: Sequence[Row]) -> tuple[bool, str]:
    """Whether the score and most features of a model are those of its population, and what to say of it."""
    gone = [row for row in rows if row["verdict"] == VERDICTS[-1]]
    scores = [f"psi of the score {row['psi']:.2f} on {row['as_of']}" for row in gone if row["kind"] == "score"]
    features = sum(row["kind"] == "feature" for row in rows)
    drifted = len(gone) - len(scores)
    text = ", ".join([*scores, f"{drifted} of {features} features are of another population"])
    return not scores and drifted <= MAX_DRIFTED_SHARE * features, text


def _came_true(spec: dg.AssetCheckSpec, passed: bool, figures: Mapping[str, float | None]) -> dg.AssetCheckResult:
    known = {figure: value for figure, value in figures.items() if value is not None}
    text = ", ".join(f"{figure} {value:.3f}" for figure, value in known.items())
    return dg.AssetCheckResult(
        passed=passed,
        asset_key=spec.asset_key,
        check_name=spec.name,
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
