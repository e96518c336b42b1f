"""Training the response models of a month, one for each kind of campaign, and choosing their champions.

Belongs here: candidates, figures, the card. Not here: how a champion is chosen (`model_choice.py`), scoring
(`response.py`), uplift (`uplift_training.py`).

Contacts are held out in time: waves of the newest days, each with a fifth of the contacts, are told by what was known
before them. Beside the candidates stand boosted trees on every field, judged in time and on five random folds: the latter
mix contacts of the same days and so promise what no campaign to come will keep.
"""

from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.mining.classifiers import BLEND, fit, raw_scores, rule
from crm_assets.mining.leaks import leak_message, leaking_features
from crm_assets.mining.model_choice import Choice, choose
from crm_assets.mining.model_folds import LEAST_OUTCOMES, Problem, rolling_folds
from crm_assets.mining.model_metrics import METRICS, bootstrap_weights, evaluate, interval
from crm_assets.mining.response import KindModel, ResponseModel, ResponseModels
from crm_assets.mining.response_inputs import (
    LEVEL,
    PAST_RESPONSES,
    ResponseInputs,
    fit_response_inputs,
    horizon_of,
    levels,
    waves,
)
from crm_assets.mining.subscription_inputs import Encoding, words
from crm_assets.mining.uplift_training import train_uplift

MODEL = "response"
BASE_RATE, RULE, EVERY_FIELD = "base_rate", "past_responses", "lightgbm_every_field"
PREFERENCE = ("logistic", BLEND, "lightgbm", "random_forest")
"""Candidates whose scores are log-odds, to which a level can be added; between equals the one that drifts least."""

FEW_PROSPECTS = ("logistic",)
"""Candidates for prospects where nearly everyone contacted had bought."""

WAVE_SHARE = 0.2
_FEW = 0.1
_RANDOM_FOLDS = 5
_MOST_RANDOM = 50_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrainedResponses:
    """What came of training a month.

    Attributes:
        models: The champions; None where there was nothing to learn from.
        leaderboard: Figures of every candidate, in the columns of `MODEL_LEADERBOARD`.
        message: One line on the choices, or on what is missing.
        card: The models' card, or what was missing.
        gains: share_taken, share_found and candidate (the kind), of held-out contacts.
        uplift: share_taken, gained, random and candidate (the kind), of held-out customers.
    """

    models: ResponseModels | None
    leaderboard: pd.DataFrame
    message: str
    card: dict[str, Any]
    gains: pd.DataFrame
    uplift: pd.DataFrame


def train_responses(
    rows: pd.DataFrame,
    rates: pd.DataFrame,
    month: date,
    most_days: int,
    *,
    screening_rows: int,
    seed: int,
    threads: int,
) -> TrainedResponses:
    """Train the models of a month on contacts whose horizon had ended before it.

    Args:
        rows: as `response_cases.contacted_rows` gives them.
        rates: as `response_cases.response_rates` gives them.
        month: first day the models may score.
        most_days: days from the contact in which a response counts; less where nearly all come sooner.
        screening_rows: most rows that candidates which seldom win are tried on first.
        seed: of everything drawn.
        threads: fits at a time; the result does not depend on it.
    """
    kinds: dict[str, KindModel] = {}
    cards: dict[str, Any] = {}
    leaks: dict[str, float] = {}
    boards, gains, curves = [], [], []
    for name, some in rows.groupby("campaign_kind", sort=True):
        kind = str(name)
        of_kind = rates[rates["campaign_kind"] == kind]
        horizon_days = horizon_of(of_kind, most_days)
        known = some[some["day"] + pd.Timedelta(days=horizon_days) < pd.Timestamp(month)]
        known = known.assign(responded=known["delay_days"] <= horizon_days)
        trained = _Kind(kind, known, of_kind, month, horizon_days, screening_rows, seed, threads).train()
        cards[kind] = trained.card
        leaks |= {f"{kind}: {label}": auc for label, auc in trained.card.get("leaks", {}).items()}
        if trained.model is None:
            continue
        kinds[kind] = trained.model
        boards += trained.boards
        gains.append(trained.gains)
        curves.append(trained.curve)
    needs = "needs campaign contacts whose horizon has ended: 0 rows"
    message = "; ".join(f"{kind}: {card['choice']}" for kind, card in cards.items()) or needs
    card: dict[str, Any] = {"model": MODEL, "trained_for": month.isoformat(), "leaks": leaks, "kinds": cards}
    if leaks or not kinds:
        card["needs"] = message
    card |= {
        "seed": seed,
        "versions": {name: version(name) for name in ("lightgbm", "scikit-learn", "numpy", "pandas")},
        "limits": "Says who answers when contacted; what a contact changes says uplift, where customers were held out.",
    }
    board = pd.concat(boards, ignore_index=True) if boards else pd.DataFrame(columns=list(MODEL_LEADERBOARD.by_name))
    models = ResponseModels(kinds) if kinds else None
    return TrainedResponses(models, board, message, card, _joined(gains), _joined(curves))


@dataclass(frozen=True)
class _TrainedKind:
    model: KindModel | None
    card: dict[str, Any]
    boards: list[pd.DataFrame]
    gains: pd.DataFrame
    curve: pd.DataFrame


@dataclass(frozen=True)
class _Kind:
    """Training of one kind of campaign."""

    kind: str
    rows: pd.DataFrame
    rates: pd.DataFrame
    month: date
    horizon_days: int
    screening_rows: int
    seed: int
    threads: int

    def train(self) -> _TrainedKind:
        contacted = self.rows[~self.rows["is_control"].astype(bool)]
        contacted = contacted.sort_values(["day", "campaign_id", "customer_id"], ignore_index=True)
        nothing = pd.DataFrame()
        if contacted.empty:
            needs = "needs contacts that were not held out and whose horizon has ended: 0 rows"
            return _TrainedKind(None, {"choice": needs}, [], nothing, nothing)
        bought = contacted[contacted["order_days"] > 0].reset_index(drop=True)
        fitted = {}
        if len(bought):
            fitted["customers"] = self._one(bought, False, PREFERENCE)
        few = len(bought) > (1 - _FEW) * len(contacted)
        fitted["prospects"] = self._one(contacted, True, FEW_PROSPECTS if few else PREFERENCE)
        leaks = {name: auc for one in fitted.values() for name, auc in one.leaks.items()}
        if leaks:
            card = {"choice": leak_message(leaks, "who responds"), "leaks": leaks}
            return _TrainedKind(None, card, [], nothing, nothing)
        main = fitted.get("customers", fitted["prospects"])
        assert main.inputs is not None
        assert main.model is not None
        assert fitted["prospects"].model is not None
        uplift = train_uplift(self.rows, main.inputs, self.kind, self.month, self.seed)
        model = KindModel(
            customers=main.model if "customers" in fitted else None,
            prospects=fitted["prospects"].model,
            value=_value(contacted),
            horizon_days=self.horizon_days,
            uplift=uplift.model if uplift else None,
        )
        defined = f"a response within {_days(self.horizon_days)} of the contact"
        card = {"choice": main.card["choice"], "definition": defined, **{who: one.card for who, one in fitted.items()}}
        boards = [one.board for one in fitted.values()]
        if uplift:
            card["uplift"] = uplift.card
            boards.append(uplift.leaderboard)
        curve = uplift.curve.assign(candidate=self.kind) if uplift else nothing
        return _TrainedKind(model, card, [board for board in boards if len(board)], main.gains, curve)

    def _one(self, rows: pd.DataFrame, for_prospects: bool, candidates: tuple[str, ...]) -> "_Fitted":
        outcome = rows["responded"].to_numpy(np.float64)
        days = rows["day"].to_numpy().astype("datetime64[D]")
        inputs, every, all_fields = fit_response_inputs(rows, for_prospects)
        at_once = len(np.unique(days)) == 1
        # Before the only day nobody knew a level; its own is the same for everyone, so it tells nobody apart.
        known_by = days + np.timedelta64(self.horizon_days if at_once else -1)
        level = levels(self.rates, known_by, self.horizon_days)
        matrix = inputs.with_level(all_fields, rows, level)
        problem = Problem(
            inputs=matrix,
            outcome=outcome,
            days=days,
            customers=rows["customer_id"],
            horizon_days=self.horizon_days,
            rule_name=RULE,
            rule=rule(PAST_RESPONSES, 1),
            preference=candidates,
            level=LEVEL,
            waves=waves(days, outcome, LEAST_OUTCOMES, WAVE_SHARE),
            held_out_waves=1,
            one_snapshot=at_once,
        )
        name = f"{MODEL}: {self.kind}" + (", prospects" if for_prospects else "")
        leaks = {every.label(column): auc for column, auc in leaking_features(all_fields, outcome).items()}
        card: dict[str, Any] = {
            "contacts": len(rows),
            "responses": int(outcome.sum()),
            "days": [str(days.min()), str(days.max())],
            "labels_end": str(days.max() + np.timedelta64(self.horizon_days)),
            "fields": sorted({words(source) for source in inputs.encoding.sources}),
            "fields that say which day it is, left out": list(map(words, inputs.of_the_day)),
        }
        if leaks:
            return _Fitted(None, None, {**card, "choice": leak_message(leaks, "who responds")}, leaks)
        model_id = f"{MODEL}-{self.month:%Y-%m}-{self.kind}" + ("-prospects" if for_prospects else "")
        if not 0 < outcome.sum() < len(outcome) or not rolling_folds(problem)[0]:
            few = f"{int(outcome.sum())} responses to {len(outcome)} contacts"
            card["choice"] = f"the base rate stays: {few} are too few to hold some out"
            return _Fitted(_base_rate(model_id, inputs), inputs, card, {})
        choice = choose(problem, self.seed, self.threads, self.screening_rows)
        board, figures = self._figures(name, problem, choice, all_fields)
        model, message = self._promoted(model_id, problem, choice, inputs, figures)
        board["is_champion"] = board["candidate"] == model.champion
        card |= {
            "choice": message,
            "champion": model.champion,
            "held_out_days": choice.folds,
            "figures": figures,
            "validation": _gap(figures, model.champion),
        }
        return _Fitted(model, inputs, card, {}, board, _gains(choice, outcome).assign(candidate=self.kind))

    def _promoted(
        self,
        model_id: str,
        problem: Problem,
        choice: Choice,
        inputs: ResponseInputs,
        figures: dict[str, dict[str, float]],
    ) -> tuple[ResponseModel, str]:
        if choice.champion == RULE:
            outcome = problem.outcome[choice.judged]
            scores = [problem.inputs[column].to_numpy()[choice.judged] for column in (PAST_RESPONSES, LEVEL)]
            weights = bootstrap_weights(len(outcome), list(problem.customers[choice.judged]), seed=self.seed)
            gains = np.subtract(*(evaluate(outcome, score, weights, only="auc")["auc"] for score in scores))
            if interval(gains)[0] <= 0:
                says = f"the base rate stays: {RULE} does no better beyond chance; {choice.message}"
                return _base_rate(model_id, inputs), says
        model = ResponseModel(
            f"{model_id}-{choice.champion}", choice.champion, choice.estimator, choice.calibration, inputs.to_document()
        )
        return model, choice.message

    def _figures(
        self, name: str, problem: Problem, choice: Choice, all_fields: pd.DataFrame
    ) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
        """The leaderboard with the base rate, random folds and boosted trees on every field."""
        from scipy.special import expit

        board = choice.leaderboard(name, self.month)
        figures = {candidate: dict(known) for candidate, known in choice.figures.items()}
        judged = choice.judged
        codes = pd.factorize(problem.customers, sort=True)[0]
        weights = bootstrap_weights(int(judged.sum()), list(codes[judged]), seed=self.seed)
        added: list[tuple[Any, ...]] = []

        def add(candidate: str, metric: str, value: float, drawn: Floats) -> None:
            figures.setdefault(candidate, {})[metric] = value
            added.append((name, self.month, candidate, metric, value, *interval(drawn), False))

        outcome, level = problem.outcome[judged], expit(problem.inputs[LEVEL].to_numpy()[judged])
        values, drawn = evaluate(outcome, level), evaluate(outcome, level, weights)
        for metric in METRICS:
            add(BASE_RATE, metric, float(values[metric][0]), drawn[metric])
        folds, _ = rolling_folds(problem)
        # Where all were contacted on one day, there is no time to compare random folds with.
        if folds[0].can_teach and len(folds[0].parts) == 1 and len(problem.preference) > 1:
            learn_from, _ = folds[0].parts[0]
            learnt = fit("lightgbm", all_fields[learn_from], problem.outcome[learn_from], self.seed, self.threads)
            scores = raw_scores(learnt, all_fields[judged], self.threads)
            in_time = (
                evaluate(outcome, scores, only="auc")["auc"],
                evaluate(outcome, scores, weights, only="auc")["auc"],
            )
            add(EVERY_FIELD, "auc", float(in_time[0][0]), in_time[1])
            add(EVERY_FIELD, "random_auc", *self._random(problem, all_fields))
        return pd.concat([board, pd.DataFrame(added, columns=list(board.columns))], ignore_index=True), figures

    def _random(self, problem: Problem, inputs: pd.DataFrame) -> tuple[float, Floats]:
        """Mean AUC of boosted trees over random folds, whatever the day, and its resamples."""
        generator = np.random.default_rng(self.seed)
        rows = generator.permutation(len(inputs))[:_MOST_RANDOM]
        outcome, fold_of = problem.outcome[rows], np.empty(len(rows), dtype=np.int64)
        # Each fold has its share of both outcomes.
        fold_of[np.argsort(outcome, kind="stable")] = np.arange(len(rows)) % _RANDOM_FOLDS
        weights = bootstrap_weights(len(rows), seed=self.seed)
        aucs, resampled = [], []
        for number in range(_RANDOM_FOLDS):
            part = fold_of == number
            learnt = fit("lightgbm", inputs.iloc[rows[~part]], outcome[~part], self.seed, self.threads)
            scores = raw_scores(learnt, inputs.iloc[rows[part]], self.threads)
            aucs.append(float(evaluate(outcome[part], scores, only="auc")["auc"][0]))
            resampled.append(evaluate(outcome[part], scores, weights[:, part], only="auc")["auc"])
        return float(np.mean(aucs)), np.asarray(np.mean(resampled, axis=0))


@dataclass(frozen=True)
class _Fitted:
    model: ResponseModel | None
    inputs: ResponseInputs | None
    card: dict[str, Any]
    leaks: dict[str, float]
    board: pd.DataFrame = field(default_factory=pd.DataFrame)
    gains: pd.DataFrame = field(default_factory=pd.DataFrame)


def _base_rate(model_id: str, inputs: ResponseInputs) -> ResponseModel:
    """The level for everyone, which is a probability already."""
    nothing = ResponseInputs(Encoding([], [], [], inputs.encoding.numbers, inputs.encoding.categories), [])
    curve = {"kind": "sigmoid", "slope": 1.0, "intercept": 0.0}
    return ResponseModel(f"{model_id}-{BASE_RATE}", BASE_RATE, rule(LEVEL, 1), curve, nothing.to_document())


def _gap(figures: dict[str, dict[str, float]], champion: str) -> str:
    """How far random folds flatter, in one line."""
    told, naive = figures[champion]["auc"], figures.get(EVERY_FIELD, {})
    if "random_auc" not in naive:
        return f"{champion} has AUC {told:.3f} on held-out contacts"
    said = f"{champion} has AUC {told:.3f} in time"
    random, in_time = naive["random_auc"], naive["auc"]
    return (
        f"{said}; boosted trees on every field promise {random:.3f} on random folds and have {in_time:.3f} in time, "
        f"a gap of {random - in_time:+.3f}"
    )


def _gains(choice: Choice, outcome: Floats) -> pd.DataFrame:
    """Share of the responses found by the share of the held-out contacts taken, likeliest first."""
    found = outcome[choice.judged][np.argsort(-choice.chance, kind="stable")]
    taken = np.arange(len(found) + 1) / len(found)
    return pd.DataFrame({"share_taken": taken, "share_found": np.r_[0.0, np.cumsum(found)] / found.sum()})


def _value(contacted: pd.DataFrame) -> float | None:
    """What a response is worth on average; None where no response has a value."""
    of_responses = contacted.loc[contacted["responded"].astype(bool), "value"]
    return float(of_responses.mean()) if (of_responses != 0).any() else None


def _days(number: int) -> str:
    return "a day" if number == 1 else f"{number} days"


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
