"""Training the recommender of a month, and comparing it with simple lists.

Belongs here: the periods, the weights, the candidates and the choice. Not here: making lists (`recommender.py`), figures
in general (`ranking_metrics.py`).

The last days before a month are the test: what was known on the day before them makes the lists, and what customers then
bought judges them. The weights come from the days before these, so they never saw the test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.mining.model_metrics import interval
from crm_assets.mining.neighbours import Neighbours, alike, bought_together
from crm_assets.mining.product_purchases import EVERYBODY
from crm_assets.mining.ranking_metrics import COVERAGE, PLACES, Bought, Resampled, means, per_customer
from crm_assets.mining.ranks import find
from crm_assets.mining.recommender import (
    FEATURES,
    Candidates,
    ListRules,
    Recommender,
    Shop,
    find_candidates,
    kinds_of,
    listed,
    places_in,
)

MODEL = "recommendations"

HYBRID = "hybrid"
"""Everything that is known, weighed."""

BASELINES = ("personal_frequency", "popularity")
"""What the hybrid must beat: what each customer bought most often, then what is most popular; and this alone."""

SINGLE: Mapping[str, Mapping[str, float]] = {
    "personal_frequency": {"bought_365d": 1.0, "popular": 1e-4},
    "popularity": {"popular": 1.0},
    "bought_together": {"together": 1.0},
}
"""Weights of candidates other than the hybrid, before they are scaled to a probability."""

_SHOWN = "ndcg_at_10"
_LEAST_BOUGHT = 200
_LEAST_CUSTOMERS = 20
_COUNTLESS = 1 << 32

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """What was known on a day, and what was bought in the days after.

    Attributes:
        day: Last day seen.
        customers: customer_id, segment.
        history: As `purchase_history` gives it, of these customers.
        offered: As `offered_products` gives them, by product.
        sales: As `sales_of_segments` gives them.
        baskets: As `basket_lines` gives them.
        later: As `later_purchases` gives them, of these customers; nothing for the day before the month.
    """

    day: date
    customers: pd.DataFrame
    history: pd.DataFrame
    offered: pd.DataFrame
    sales: pd.DataFrame
    baskets: pd.DataFrame
    later: pd.DataFrame

    @classmethod
    def of_customers(
        cls,
        day: date,
        segments: pd.DataFrame,
        history: pd.DataFrame,
        offered: pd.DataFrame,
        sales: pd.DataFrame,
        baskets: pd.DataFrame,
        later: pd.DataFrame,
    ) -> "Known":
        """A day to learn from: its customers are those with purchases before it or after it."""
        buyers = pd.concat([history["customer_id"], later["customer_id"]]).drop_duplicates().sort_values()
        customers = buyers.to_frame().merge(segments, on="customer_id", how="left").fillna({"segment": EVERYBODY})
        return cls(day, customers, history, offered, sales, baskets, later)

    @classmethod
    def of_products(cls, day: date, offered: pd.DataFrame, baskets: pd.DataFrame) -> "Known":
        """The day before the month: what is on offer and what goes together."""
        nothing = pd.DataFrame()
        return cls(day, nothing, nothing, offered, nothing, baskets, nothing)

    def neighbours(self) -> tuple[Neighbours, Neighbours]:
        """Products bought together, and those alike to them."""
        together = bought_together(self.baskets)
        return together, alike(self.offered, together.products[np.unique(together.source)])


@dataclass(frozen=True)
class TrainedRecommender:
    """What came of training a month.

    Attributes:
        model: The recommender, or None when there was nothing to learn from.
        leaderboard: Figures of every candidate in the test, in the columns of the leaderboard.
        message: One line on the choice, or on what is missing.
    """

    model: Recommender | None
    leaderboard: pd.DataFrame
    message: str


def recommender_days(month: date, first_day: date | None, horizon_days: int) -> list[date]:
    """Days as of which a month's recommender learns, is tested and looks back: the oldest first, all before the month.

    Args:
        month: first day the model may score.
        first_day: first day with an order; None without orders.
        horizon_days: days after a day whose purchases are predicted.
    """
    days = [month - timedelta(days=1 + times * horizon_days) for times in (2, 1, 0)]
    return [day for day in days if first_day is not None and day >= first_day]


def train_recommender(
    known: list[Known], month: date, horizon_days: int, rules: ListRules, seed: int
) -> TrainedRecommender:
    """Train the recommender of a month on days before it.

    Args:
        known: of the days that `recommender_days` gives, in their order.
        month: first day the model may score.
        horizon_days: days of purchases that are predicted.
        rules: of the lists.
        seed: of the bootstrap.

    Returns:
        The recommender, the leaderboard and a line that says why.
    """
    nothing = pd.DataFrame(columns=list(MODEL_LEADERBOARD.by_name))
    if len(known) < 2 or len(known[-2].later) < _LEAST_BOUGHT:
        bought = len(known[-2].later) if len(known) > 1 else 0
        message = f"needs {_LEAST_BOUGHT} products bought in the {horizon_days} days before {month}: {bought}"
        return TrainedRecommender(None, nothing, message)
    learnt, tested = (known[0], known[1]) if len(known) > 2 else (known[0], None)
    if tested is not None and len(learnt.later) < _LEAST_BOUGHT:
        learnt, tested = tested, None
    found, outcome = _learnt(learnt)
    weights, intercept = fit_weights(found.features, outcome, FEATURES)
    card: dict[str, Any] = {
        "model": MODEL,
        "trained_for": month.isoformat(),
        "learnt_from": [str(learnt.day + timedelta(days=1)), str(learnt.day + timedelta(days=horizon_days))],
        "customers_learnt_from": len(learnt.customers),
        "horizon_days": horizon_days,
        "seed": seed,
    }
    if tested is None:
        champion, board = HYBRID, nothing
        message = f"{HYBRID} is champion untested: too little history to hold {horizon_days} days out"
    else:
        judged, coverage, counts = _judged(_shop(tested), tested, weights, rules, seed)
        champion, message = _choice(judged)
        board = _leaderboard(judged, coverage, month, champion)
        card |= {
            "tested_on": [str(tested.day + timedelta(days=1)), str(tested.day + timedelta(days=horizon_days))],
            **counts,
            "figures": {name: {**result.values, COVERAGE: coverage[name]} for name, result in judged.items()},
        }
    together, similar = known[-1].neighbours()
    if champion != HYBRID:
        weights, intercept = _scaled(SINGLE[champion], found.features, outcome)
    card |= {
        "champion": champion,
        "choice": message,
        "weights": dict(weights),
        "products_bought_together": len(together.products),
        "cold_products_linked": len(np.unique(similar.target)),
        "limits": "Probabilities are of buying within the horizon, for products among the customer's candidates.",
    }
    return TrainedRecommender(Recommender(weights, intercept, together, similar, card), board, message)


def _shop(known: Known) -> Shop:
    return Shop.of(known.offered, known.sales, *known.neighbours())


def _bought(shop: Shop, known: Known) -> Bought:
    """What customers bought later, also what was not on offer."""
    everyone = pd.Index(known.customers["customer_id"].to_numpy(dtype=object))
    customer = places_in(everyone, known.later["customer_id"])
    product = places_in(shop.index, known.later["product_id"]).astype(np.int64)
    # What nobody could have listed still counts as bought.
    unknown = product < 0
    product[unknown] = len(shop.index) + np.arange(int(unknown.sum()))
    inside = customer >= 0
    return Bought(customer[inside].astype(np.int64), product[inside])


def _learnt(known: Known) -> tuple[Candidates, NDArray[np.bool_]]:
    """Candidates of a day, and which of them were bought after it."""
    shop = _shop(known)
    found, bought = find_candidates(shop, known.customers, known.history), _bought(shop, known)
    later = np.unique(bought.customer * _COUNTLESS + bought.product)
    return found, find(later, found.customer * _COUNTLESS + found.product)[1]


def _scaled(
    weights: Mapping[str, float], features: Floats, outcome: NDArray[np.bool_]
) -> tuple[dict[str, float], float]:
    """Weights that keep a candidate's order and give probabilities."""
    one = features @ np.array([weights.get(feature, 0.0) for feature in FEATURES])
    scale, intercept = fit_weights(one[:, None], outcome, ("scale",))
    # What is not bought more often the higher it stands keeps its order all the same.
    slope = max(scale["scale"], 1e-6)
    return {feature: slope * weight for feature, weight in weights.items()}, intercept


def fit_weights(features: Floats, outcome: NDArray[np.bool_], names: tuple[str, ...]) -> tuple[dict[str, float], float]:
    """A logistic regression of standardised features, given for features as they are."""
    from sklearn.linear_model import LogisticRegression

    if outcome.all() or not outcome.any():
        return dict.fromkeys(names, 0.0), float(np.log((outcome.sum() + 0.5) / (len(outcome) - outcome.sum() + 0.5)))
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    fitted = LogisticRegression(solver="newton-cholesky").fit((features - mean) / spread, outcome)
    weights = fitted.coef_[0] / spread
    intercept = float(fitted.intercept_[0] - weights @ mean)
    # So many digits do not depend on the order in which a library adds up.
    return {name: float(f"{weight:.6g}") for name, weight in zip(names, weights, strict=True)}, float(
        f"{intercept:.6g}"
    )


def _judged(
    shop: Shop, known: Known, weights: Mapping[str, float], rules: ListRules, seed: int
) -> tuple[dict[str, Resampled], dict[str, float], dict[str, int]]:
    """Figures of each candidate, its coverage, and how many customers and products there were."""
    found, bought = find_candidates(shop, known.customers, known.history), _bought(shop, known)
    has_history = np.diff(found.taste.indptr) > 0
    judged, coverage, who = {}, {}, np.zeros(0, np.int64)
    for name, weighed in {HYBRID: weights, **SINGLE}.items():
        customer, rank, product = _lists(name, shop, found, weighed, rules)
        who, figures = per_customer(bought, customer, rank, product)
        judged[name] = means(figures, has_history[who], seed)
        coverage[name] = len(np.unique(product[rank < PLACES])) / max(len(shop.offered), 1)
    warm = int(has_history[who].sum())
    counts = {"warm_customers": warm, "cold_customers": len(who) - warm, "products_on_offer": len(shop.offered)}
    return judged, coverage, counts


def _lists(
    name: str, shop: Shop, found: Candidates, weights: Mapping[str, float], rules: ListRules
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Customer, rank and product of a candidate's lists: the hybrid's as they are published, others without rules."""
    if name == "popularity":
        # Of all customers, not of a segment.
        top = np.argsort(-shop.shares[0], kind="stable")[:PLACES]
        customers = np.arange(found.taste.shape[0])
        return (
            np.repeat(customers, len(top)),
            np.tile(np.arange(len(top)), len(customers)),
            np.tile(top, len(customers)),
        )
    score = found.features @ np.array([weights.get(feature, 0.0) for feature in FEATURES])
    own = rules if name == HYBRID else ListRules(PLACES, 0, 0.0, _COUNTLESS)
    chosen, rank = listed(found, score, kinds_of(shop.offered), own)
    return found.customer[chosen], rank, found.product[chosen]


def _choice(judged: Mapping[str, Resampled]) -> tuple[str, str]:
    """The hybrid, if it beats both baselines beyond chance; otherwise the better of these."""
    best = max(BASELINES, key=lambda name: judged[name].values[_SHOWN])
    gains, words = [], []
    for name in BASELINES:
        low, high = interval(judged[HYBRID].drawn[_SHOWN] - judged[name].drawn[_SHOWN])
        gain = judged[HYBRID].values[_SHOWN] - judged[name].values[_SHOWN]
        gains.append(low > 0)
        words.append(f"{name} {judged[name].values[_SHOWN]:.4f}, gain {gain:.4f} ({low:.4f} to {high:.4f})")
    champion = HYBRID if all(gains) else best
    figures = f"NDCG@10 {judged[HYBRID].values[_SHOWN]:.4f} against {'; '.join(words)}"
    return champion, f"{champion} is champion: {HYBRID} has {figures}"


def _leaderboard(
    judged: Mapping[str, Resampled], coverage: Mapping[str, float], month: date, champion: str
) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for name, result in judged.items():
        head, tail = (MODEL, month, name), (name == champion,)
        for metric, value in result.values.items():
            ends = (None, None) if np.isnan(value) else interval(result.drawn[metric])
            rows.append((*head, metric, value, *ends, *tail))
        rows.append((*head, COVERAGE, coverage[name], None, None, *tail))
    return pd.DataFrame(rows, columns=list(MODEL_LEADERBOARD.by_name))
