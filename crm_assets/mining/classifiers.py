"""Ways to tell a yes-or-no outcome from a matrix of numbers: fitting, scoring and explaining each of them.

Belongs here: learners and rules, each of which is stored as plain numbers and text. Not here: which of them is chosen
(`model_choice.py`), or what the numbers mean (`churn.py`, `subscription_churn.py`).

Decision tree and random forest are grown by LightGBM too, as one tree, and as trees on resampled rows that are averaged
(its `rf` mode; Breiman, Random Forests, 2001): they take missing values as they are and score as fast as the boosted
trees. Linear models and the network see features on a log scale, standardised, nulls as the median.
Columns whose name starts with `_` are for the order process only; learners do not see them.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.bg_nbd import BgNbd
from crm_assets.mining.scaling import fit_scale, signed_log, standardised
from crm_assets.mining.threads import one_algebra_thread

BLEND = "blend"
BLENDED = ("lightgbm", "logistic")
LEARNERS = ("lightgbm", "logistic", BLEND, "random_forest", "neural_network", "linear_svm", "decision_tree")
"""Names of everything that learns from outcomes, in order of preference between equals."""

ORDER_PROCESS = "bg_nbd"
HIDDEN = "_"

_ROUNDS = 200
_LIGHTGBM: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_child_samples": 100,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
_TREES: dict[str, dict[str, Any]] = {
    "lightgbm": {**_LIGHTGBM, "rounds": _ROUNDS},
    "random_forest": {
        **_LIGHTGBM,
        "boosting": "rf",
        "num_leaves": 31,
        "min_child_samples": 20,
        "bagging_fraction": 0.632,
        "lambda_l2": 0.0,
        "rounds": 60,
    },
    "decision_tree": {
        **_LIGHTGBM,
        "learning_rate": 1.0,
        "num_leaves": 16,
        "feature_fraction": 1.0,
        "bagging_freq": 0,
        "lambda_l2": 0.0,
        "rounds": 1,
    },
}
_STRENGTHS = {"logistic": 0.01, "linear_svm": 0.0001}
"""Inverse of the penalty on weights: windows of one measure say nearly the same, so weights are held small."""

_NETWORK: dict[str, Any] = {"hidden_layer_sizes": (16,), "alpha": 3.0, "learning_rate_init": 0.003, "passes": 15}
_PATH_STEPS = 8

Floats = NDArray[np.float64]


def fit(
    name: str,
    inputs: pd.DataFrame,
    outcome: Floats,
    seed: int,
    threads: int = 1,
    weights: Floats | None = None,
) -> dict[str, Any]:
    """Fit one learner.

    Args:
        name: one of `LEARNERS`.
        inputs: one row per observation, float64 columns, NaN for null.
        outcome: 0 or 1 per row; both occur.
        seed: of whatever is drawn.
        threads: for trees; the result does not depend on it.
        weights: how much each row counts; the network takes none.

    Returns:
        What it learnt as plain numbers and text.

    Raises:
        ValueError: weights for the network.
    """
    seen = visible(inputs)
    if name == BLEND:
        return blended({part: fit(part, seen, outcome, seed, threads, weights) for part in BLENDED})
    if name in _TREES:
        # LightGBM's averaged trees give their sum where it gives raw scores.
        share = 1 / _TREES[name]["rounds"] if _TREES[name].get("boosting") == "rf" else 1.0
        return {"boosters": _fit_trees(_TREES[name], seen, outcome, seed, threads, weights), "share": share}
    return _fit_linear(name, seen, outcome, seed, weights)


def blended(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of the log-odds of learners that are fitted already."""
    return {"parts": {name: dict(parts[name]) for name in BLENDED}}


def levelled(learnt: Mapping[str, Any], column: str, inputs: pd.DataFrame) -> dict[str, Any]:
    """A learner's log-odds on top of a column of log-odds that hold for everyone at the time.

    Learners have seen past levels only, and trees cannot go beyond what they saw; what tells rows apart drifts less. The
    learner's own level, the mean over the `inputs` it learnt from, is taken away.
    """
    return {"level": column, "learnt": dict(learnt), "centre": float(raw_scores(learnt, inputs).mean())}


def rule(column: str, sign: int) -> dict[str, Any]:
    """A rule that ranks by one column: the more (`sign` 1) or the less (-1) of it, the likelier."""
    return {"column": column, "sign": sign}


def order_process(fitted: BgNbd, horizon_days: int) -> dict[str, Any]:
    """BG/NBD as a candidate: the fewer orders it expects within the horizon, the likelier nobody orders.

    The probability of still being a customer would say something else: who orders twice a year and did so last month is
    alive, and yet places no order in the next 30 days.
    """
    return {"bg_nbd": fitted.to_document(), "horizon_days": horizon_days}


def parameters(name: str) -> dict[str, Any]:
    """What a learner was set to, for its card."""
    if name == BLEND:
        return {part: parameters(part) for part in BLENDED}
    known = {**_TREES, "neural_network": _NETWORK, **{key: {"C": value} for key, value in _STRENGTHS.items()}}
    return dict(known.get(name, {}))


def visible(inputs: pd.DataFrame) -> pd.DataFrame:
    """The columns learners see."""
    hidden = [name for name in inputs.columns if name.startswith(HIDDEN)]
    return inputs.drop(columns=hidden) if hidden else inputs


def raw_scores(estimator: Mapping[str, Any], inputs: pd.DataFrame, threads: int = 1) -> Floats:
    """Uncalibrated scores of each row, higher for likelier; the unit is the candidate's own."""
    if "column" in estimator:
        return np.asarray(inputs[estimator["column"]].to_numpy() * estimator["sign"])
    if "level" in estimator:
        beyond = raw_scores(estimator["learnt"], inputs, threads) - estimator["centre"]
        return np.asarray(beyond + inputs[estimator["level"]].to_numpy())
    if "bg_nbd" in estimator:
        return _fewest_orders(estimator, inputs)
    if "parts" in estimator:
        return np.asarray(np.mean([raw_scores(part, inputs, threads) for part in estimator["parts"].values()], axis=0))
    if "boosters" in estimator:
        seen, count = visible(inputs), useful_threads(len(inputs), threads)
        raw = [booster.predict(seen, raw_score=True, num_threads=count) for booster in _boosters(estimator)]
        return np.asarray(np.mean(raw, axis=0) * estimator["share"])
    values = _standardised(estimator, visible(inputs))
    with one_algebra_thread():
        if "layers" in estimator:
            return _network(estimator, values)
        return np.asarray(values @ np.asarray(estimator["coefficients"]) + estimator["intercept"])


def contributions(
    estimator: Mapping[str, Any], inputs: pd.DataFrame, typical: Mapping[str, float | None], threads: int = 1
) -> Floats:
    """How far each column moves each row's score: shape (rows, columns).

    For many trees, how the mean of the training rows moves at each split on a row's way to its leaf (Saabas,
    Interpreting random forests, 2014), which adds up to the score as SHAP values do, is close to them and takes a
    fraction of the time; for a single tree, SHAP values (Lundberg, Erion and Lee, 2018: TreeSHAP), which the order of
    its splits does not sway. Coefficient times standardised value for linear models, integrated gradients for the
    network (Sundararajan, Taly and Yan, 2017), and for rules and the order process what putting the column back to its
    typical value would take away.
    """
    seen = visible(inputs)
    if "level" in estimator:
        return contributions(estimator["learnt"], inputs, typical, threads)
    if "parts" in estimator:
        parts = [contributions(part, inputs, typical, threads) for part in estimator["parts"].values()]
        return np.asarray(np.mean(parts, axis=0))
    if "column" in estimator or "bg_nbd" in estimator:
        read = [estimator["column"]] if "column" in estimator else list(_PROCESS_COLUMNS)
        return _one_at_a_time(estimator, inputs, typical, read)
    if "boosters" in estimator:
        count = useful_threads(len(inputs), threads)
        parts = [_moved_by_trees(text, seen, count) for text in estimator["boosters"]]
        moved = np.asarray(np.mean(parts, axis=0)) * estimator["share"]
    elif "layers" in estimator:
        moved = _integrated_gradients(estimator, _standardised(estimator, seen))
    else:
        moved = _standardised(estimator, seen) * np.asarray(estimator["coefficients"])
    result = np.zeros(inputs.shape)
    result[:, [not name.startswith(HIDDEN) for name in inputs.columns]] = moved
    return result


def importance(estimator: Mapping[str, Any]) -> dict[str, float]:
    """What trees look at: total gain by column. Empty for everything else."""
    if "level" in estimator:
        return importance(estimator["learnt"])
    if "parts" in estimator:
        return importance(estimator["parts"]["lightgbm"])
    if "boosters" not in estimator:
        return {}
    boosters = _boosters(estimator)
    gain = np.sum([booster.feature_importance("gain") for booster in boosters], axis=0)
    return dict(zip(boosters[0].feature_name(), map(float, gain), strict=True))


def useful_threads(rows: int, threads: int) -> int:
    """One thread per 5,000 rows: on fewer, threads wait for each other longer than they work."""
    return max(1, min(threads, rows // 5_000))


def _standardised(estimator: Mapping[str, Any], inputs: pd.DataFrame) -> Floats:
    return standardised(estimator, signed_log(inputs.to_numpy()))


def _fit_trees(
    settings: Mapping[str, Any],
    inputs: pd.DataFrame,
    outcome: Floats,
    seed: int,
    threads: int,
    weights: Floats | None,
) -> list[str]:
    import lightgbm

    settings = dict(settings)
    rounds = settings.pop("rounds")
    smallest = min(settings["min_child_samples"], max(5, len(inputs) // 50))
    count = useful_threads(len(inputs), threads)
    grown = {**settings, "min_child_samples": smallest, "num_threads": count, "seed": seed}
    data = lightgbm.Dataset(inputs, outcome, weight=weights, params=grown)
    text = lightgbm.train(grown, data, num_boost_round=rounds).model_to_string()
    # A model's text names the threads it was trained with, which are no part of it.
    return [text.replace(f"[num_threads: {count}]", "[num_threads: 0]")]


def _fit_linear(name: str, inputs: pd.DataFrame, outcome: Floats, seed: int, weights: Floats | None) -> dict[str, Any]:
    """Fit a linear model or the network on standardised features."""
    logs = signed_log(inputs.to_numpy())
    scale = fit_scale(logs)
    values = standardised(scale, logs)
    with one_algebra_thread():
        if name == "neural_network":
            if weights is not None:
                raise ValueError("the neural network takes no weights of rows")
            return {**scale, **_fit_network(values, outcome, seed)}
        if name == "linear_svm":
            from sklearn.svm import LinearSVC

            model = LinearSVC(C=_STRENGTHS[name], dual=False)
        else:
            from sklearn.linear_model import LogisticRegression

            model = LogisticRegression(C=_STRENGTHS[name], max_iter=500)
        model.fit(values, outcome, sample_weight=weights)
    return {**scale, "coefficients": model.coef_[0].tolist(), "intercept": float(model.intercept_[0])}


def _fit_network(values: Floats, outcome: Floats, seed: int) -> dict[str, Any]:
    from sklearn.neural_network import MLPClassifier

    settings = dict(_NETWORK)
    passes = settings.pop("passes")
    model = MLPClassifier(**settings, random_state=seed)
    # Few passes over the rows are the second guard against learning noise, beside the penalty.
    for _ in range(passes):
        model.partial_fit(values, outcome, classes=[0.0, 1.0])
    layers = [
        {"weights": weights.tolist(), "bias": bias.tolist()}
        for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)
    ]
    return {"layers": layers}


def _network(estimator: Mapping[str, Any], values: Floats) -> Floats:
    first, second = estimator["layers"]
    hidden = np.maximum(values @ np.asarray(first["weights"]) + np.asarray(first["bias"]), 0.0)
    return np.asarray((hidden @ np.asarray(second["weights"]) + np.asarray(second["bias"]))[:, 0])


def _integrated_gradients(estimator: Mapping[str, Any], values: Floats) -> Floats:
    """Gradients along the straight way from the mean row, which standardised is zero, times the way."""
    first, second = estimator["layers"]
    weights, bias, out = np.asarray(first["weights"]), np.asarray(first["bias"]), np.asarray(second["weights"])[:, 0]
    steps = (np.arange(_PATH_STEPS) + 0.5) / _PATH_STEPS
    with one_algebra_thread():
        reached = values @ weights
        switched_on = np.mean([reached * step + bias > 0 for step in steps], axis=0)
        return np.asarray((switched_on * out) @ weights.T * values)


_PROCESS_COLUMNS = ("recency_days", "_order_days", "_tenure_days")
"""What the order process reads: days since the last order, days with an order, days since the first one."""


def _fewest_orders(estimator: Mapping[str, Any], inputs: pd.DataFrame) -> Floats:
    pause, order_days, age = (inputs[name].to_numpy() for name in _PROCESS_COLUMNS)
    frequency = np.maximum(order_days - 1, 0)
    recency = np.where(frequency > 0, np.maximum(age - pause, 0), 0.0)
    process = BgNbd.from_document(estimator["bg_nbd"])
    # Medians put in the place of single columns need not be whole; the process counts whole orders.
    expected = process.expected_orders(np.round(frequency), recency, age, estimator["horizon_days"])
    return np.asarray(-np.log(np.maximum(expected, 1e-9)))


def _one_at_a_time(
    estimator: Mapping[str, Any], inputs: pd.DataFrame, typical: Mapping[str, float | None], read: list[str]
) -> Floats:
    raw = raw_scores(estimator, inputs)
    result = np.zeros(inputs.shape)
    for name in read:
        usual = typical.get(name)
        if usual is not None:
            result[:, inputs.columns.get_loc(name)] = raw - raw_scores(estimator, inputs.assign(**{name: usual}))
    return result


def _moved_by_trees(text: str, seen: pd.DataFrame, threads: int) -> Floats:
    """What each column adds, over all trees of a booster."""
    from scipy import sparse

    booster = _booster(text)
    if booster.num_trees() == 1:
        return np.asarray(booster.predict(seen, pred_contrib=True, num_threads=threads))[:, :-1]
    first, moves = _moves_of_leaves(text)
    leaves = np.asarray(booster.predict(seen, pred_leaf=True, num_threads=threads), np.int64)
    leaves = leaves.reshape(len(seen), len(first)) + first
    reached = sparse.csr_matrix(
        (np.ones(leaves.size), leaves.ravel(), np.arange(0, leaves.size + 1, len(first))),
        shape=(len(seen), moves.shape[0]),
    )
    return np.asarray((reached @ moves).toarray())


@lru_cache(maxsize=4)
def _moves_of_leaves(text: str) -> tuple[NDArray[np.int64], Any]:
    """The number of each tree's first leaf, and what the way to each leaf adds by column: sparse, leaves by columns."""
    from scipy import sparse

    booster = _booster(text)
    first, cells, leaves = [], [], 0
    for tree in booster.dump_model()["tree_info"]:
        first.append(leaves)
        ways: list[tuple[dict[str, Any], tuple[tuple[int, float], ...]]] = [(tree["tree_structure"], ())]
        while ways:
            node, way = ways.pop()
            if "split_feature" not in node:
                cells += [(leaves + node.get("leaf_index", 0), column, move) for column, move in way]
                continue
            for child in (node["left_child"], node["right_child"]):
                value = child["internal_value"] if "split_feature" in child else child["leaf_value"]
                ways.append((child, (*way, (node["split_feature"], value - node["internal_value"]))))
        leaves += tree["num_leaves"]
    rows, columns, moves = zip(*cells, strict=True) if cells else ((), (), ())
    shape = leaves, booster.num_feature()
    return np.array(first, np.int64), sparse.csr_matrix((np.array(moves, np.float64), (rows, columns)), shape=shape)


def _boosters(estimator: Mapping[str, Any]) -> list[Any]:
    return [_booster(text) for text in estimator["boosters"]]


@lru_cache(maxsize=4)
def _booster(text: str) -> Any:
    import lightgbm

    return lightgbm.Booster(model_str=text)
