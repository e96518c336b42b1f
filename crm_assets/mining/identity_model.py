"""How probable it is that two records are one person: a Splink model, trained once and then kept.

Belongs here: learning the weights, scoring pairs, what a person wants to know of the model. Not here: the comparisons
(`identity_comparisons.py`), what follows from the scores (`identity.py`).
Source: Fellegi and Sunter, A Theory for Record Linkage (1969), as in Splink (moj-analytical-services/splink), with
expectation maximisation and term-frequency adjustments.

A model is plain values: Splink's settings with the learned weights, and the frequencies of the values that several
records share. Scoring uses these frequencies, not those of the rows scored, so the score of a pair does not change when
data grows.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from crm_assets.mining.identity_comparisons import (
    BLOCK_LIMIT,
    COMPARISONS,
    TERMS,
    shared_by,
    untrained_settings,
    with_blocks,
)
from crm_assets.mining.identity_persons import NOT_COMPARED
from crm_assets.mining.identity_records import COMPARED

if TYPE_CHECKING:
    import pandas as pd

MIN_RECORDS = 500
"""With fewer records that have a name, expectation maximisation has too few pairs of one person to learn from."""

TRAINING_RECORDS = 100_000
"""Most records a model learns from, chosen by a hash of their identifiers."""

RANDOM_RECORDS = 1_500
"""Records whose pairs stand for pairs of two persons; their number of pairs is what limits the rarest level."""

MIN_PAIRS = 200
"""A column that fewer pairs agree on is no start for learning the others."""

MIN_SHARES = {"m_probability": 0.001, "u_probability": 1e-6}
"""Smallest shares of pairs of one person (m) and of two persons (u) that a level is taken to have."""

COMMON_TERM = 3
"""Values that fewer records share are not kept in the model; they count as equally rare."""

DIGITS = 6
"""Significant digits of learned weights, so that the order of threads does not show."""


@dataclass(frozen=True)
class IdentityModel:
    """Weights of all comparisons.

    Attributes:
        settings: Splink's settings.
        terms: Shares of common values, by column.
        rare: Share of every other value; None when the frequency of values does not count.
        records: Records it learned from; 0 for the untrained one.
        starts: Columns whose agreement gave the pairs that expectation maximisation began with.
    """

    settings: Mapping[str, Any]
    terms: Mapping[str, Mapping[str, float]]
    rare: float | None
    records: int
    starts: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """The model as plain values."""
        return {
            "settings": dict(self.settings),
            "terms": {column: dict(shares) for column, shares in self.terms.items()},
            "rare": self.rare,
            "records": self.records,
            "starts": list(self.starts),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "IdentityModel":
        """The model of `to_document`."""
        return cls(
            document["settings"], document["terms"], document["rare"], document["records"], tuple(document["starts"])
        )

    def card(self) -> dict[str, Any]:
        """What a person wants to know: where the weights come from and how much each agreement is worth."""
        from math import log2

        weights = {
            comparison["output_column_name"]: {
                level["label_for_charts"]: round(log2(level["m_probability"] / level["u_probability"]), 2)
                for level in comparison["comparison_levels"]
                if not level.get("is_null_level")
            }
            for comparison in self.settings["comparisons"]
        }
        choice = f"trained by expectation maximisation on {self.records} records"
        if not self.records:
            choice = f"untrained weights: fewer than {MIN_RECORDS} records with a name have been delivered"
        elif not self.starts:
            choice = f"frequencies of {self.records} records; too few sure pairs to learn more than these"
        return {
            "model": "identity",
            "choice": choice,
            "records": self.records,
            "chance_of_two_records": self.settings["probability_two_random_records_match"],
            "learned_from_pairs_with_the_same": list(self.starts),
            "weights_in_bits": weights,
            "limits": "Values of people are kept in the model where several records share them; it stays in the "
            "workspace. Names in Chinese characters and in Latin letters are not compared with each other.",
            "splink": version("splink"),
        }


def untrained_model() -> IdentityModel:
    """The model of a workspace that is too small to learn from."""
    return IdentityModel(untrained_settings(with_terms=False), {}, None, 0)


def can_train(nodes: "pd.DataFrame") -> bool:
    """Whether there are enough records to learn from."""
    return int(nodes["family"].notna().sum()) >= MIN_RECORDS


def train_identity(nodes: "pd.DataFrame", connection: Any, seed: int) -> IdentityModel:
    """Learn the weights of all comparisons, without labels.

    Args:
        nodes: Normal records as `normal_records` gives, with `node`, `customer_id` and `day`.
        connection: A DuckDB connection with a schema of its own, to work in.
        seed: Seed of Splink's sampling.

    Returns:
        The model; comparisons that there are too few pairs for keep their untrained weights.
    """
    chosen = _chosen(nodes, TRAINING_RECORDS)
    database = _database(connection)
    starts = {f"start_{column}": _start(chosen, column) for column in _STARTS}
    chosen = chosen.assign(**starts)
    settings = untrained_settings()
    settings |= {"retain_intermediate_calculation_columns": False, "retain_matching_columns": False}
    random_pairs = _linker(_chosen(chosen, RANDOM_RECORDS), settings, database)
    random_pairs.training.estimate_u_using_random_sampling(
        max_pairs=1e9, seed=seed, min_count_per_level=None, num_chunks=1
    )
    settings = _with_shares(settings, random_pairs.misc.save_model_to_json(), "u_probability")
    linker = _linker(chosen, settings, database)
    linker.training.estimate_probability_two_random_records_match(_SURE, recall=_SURE_RECALL)
    found = linker.misc.save_model_to_json()["probability_two_random_records_match"]
    all_pairs = len(chosen) * (len(chosen) - 1) / 2
    settings["probability_two_random_records_match"] = _rounded(max(found, 1 / all_pairs))
    learned: list[str] = []
    if found * all_pairs * _SURE_RECALL >= MIN_PAIRS:
        for column in _STARTS:
            start = f"start_{column}"
            sizes = chosen[start].value_counts()
            if (sizes * (sizes - 1) // 2).sum() >= MIN_PAIRS:
                # Both columns are named, so that Splink leaves out the comparison all these pairs agree on.
                rule = f"l.{column} = r.{column} and l.{start} = r.{start}"
                linker.training.estimate_parameters_using_expectation_maximisation(rule)
                learned.append(column)
        settings = _with_shares(settings, linker.misc.save_model_to_json(), "m_probability")
    settings |= {"retain_intermediate_calculation_columns": True, "retain_matching_columns": True}
    terms = {column: _term_shares(chosen[column]) for column in TERMS}
    return IdentityModel(settings, terms, _rounded(2 / len(chosen)), len(chosen), tuple(learned))


def score_pairs(nodes: "pd.DataFrame", model: IdentityModel, connection: Any) -> "pd.DataFrame":
    """How alike each two records are that agree on some blocking key.

    Args:
        nodes: Normal records with `node` (unique whole numbers), `customer_id` and `day`.
        model: The model in force.
        connection: A DuckDB connection with a schema of its own, to work in.

    Returns:
        A row per pair of records of two customers that is not clearly of two persons (`NOT_COMPARED`): left, right (nodes, left < right), weight (bits; log2 of the odds
        that they are one person), and for each comparison `level_<name>` (its level, -1 where not known in both) and
        `bits_<name>` (what it adds to the weight).
    """
    import pandas as pd

    blocked = with_blocks(nodes)
    database = _database(connection)
    linker = _linker(blocked, dict(model.settings), database)
    if model.rare is not None:
        for column in TERMS:
            linker.table_management.register_term_frequency_lookup(
                database.register(_term_table(blocked[column], model.terms[column], model.rare, column)), column
            )
    relation = linker.inference.predict(threshold_match_weight=NOT_COMPARED).as_duckdbpyrelation()
    prefixes = ("gamma_", "mw_")
    wanted = [name for name in relation.columns if name in _PAIR or name.startswith(prefixes)]
    scored = relation.select(*wanted).df()
    left, right = scored["node_l"].to_numpy(), scored["node_r"].to_numpy()
    pairs = pd.DataFrame({"left": left.clip(max=right), "right": right.clip(min=left)})
    pairs["weight"] = scored["match_weight"].round(DIGITS)
    for name, (_, levels) in COMPARISONS.items():
        gamma = scored[f"gamma_{name}"].to_numpy()
        pairs[f"level_{name}"] = (len(levels) - 1 - gamma).astype("int8")
        pairs.loc[gamma < 0, f"level_{name}"] = -1
        bits = scored[f"mw_{name}"]
        adjusted = f"mw_tf_adj_{name}"
        pairs[f"bits_{name}"] = (bits + scored[adjusted] if adjusted in scored else bits).round(3)
    owner = nodes.set_index("node")["customer_id"]
    of_two = owner.loc[pairs["left"]].to_numpy() != owner.loc[pairs["right"]].to_numpy()
    return pairs[of_two].sort_values(["left", "right"], ignore_index=True)


def probability(weight: float) -> float:
    """The match probability of a weight in bits."""
    return 1 / (1 + 2.0**-weight)


def weight_of(probability: float) -> float:
    """The weight in bits of a match probability."""
    from math import log2

    return log2(probability / (1 - probability))


_STARTS = ("name_key", "birth_date", "postcode", "email", "phone")
_SURE = (
    "l.name_key = r.name_key and l.birth_date = r.birth_date",
    "l.name_key = r.name_key and l.start_postcode = r.start_postcode",
    "l.start_postcode = r.start_postcode and l.birth_date = r.birth_date",
    "l.start_email = r.start_email",
    "l.start_phone = r.start_phone",
)
_SURE_RECALL = 0.5
_PAIR = ("node_l", "node_r", "match_weight")


def _chosen(nodes: "pd.DataFrame", most: int) -> "pd.DataFrame":
    """The newest version of each record; of at most so many records, by the hash of their identifiers."""
    newest = nodes.sort_values(["customer_id", "node"]).drop_duplicates("customer_id", keep="last")
    digests = newest["customer_id"].map(lambda customer: hashlib.md5(customer.encode()).hexdigest())
    kept = newest.loc[digests.sort_values().index[:most]]
    return kept.sort_values("node", ignore_index=True)


def _start(nodes: "pd.DataFrame", column: str) -> "pd.Series":
    return nodes[column].where(shared_by(nodes[column], nodes["day"], nodes["customer_id"]) <= BLOCK_LIMIT, None)


def _database(connection: Any) -> Any:
    from splink import DuckDBAPI

    logging.getLogger("splink").setLevel(logging.ERROR)
    return DuckDBAPI(connection)


def _linker(nodes: "pd.DataFrame", settings: Mapping[str, Any], database: Any) -> Any:
    import pyarrow as pa
    from splink import Linker

    whole = {"node": pa.int64(), "tokens": pa.list_(pa.string())}
    columns = ["node", *COMPARED, *(name for name in map(str, nodes) if name.startswith(("block_", "start_")))]
    table = pa.table({name: pa.array(nodes[name], whole.get(name, pa.string()), from_pandas=True) for name in columns})
    return Linker(database.register(table), dict(settings), log_level=None)


def _with_shares(settings: Mapping[str, Any], trained: Mapping[str, Any], share: str) -> dict[str, Any]:
    """Settings with the trained shares of each comparison's levels, or its own where it could not be trained."""
    comparisons = []
    for own, found in zip(settings["comparisons"], trained["comparisons"], strict=True):
        shares = [level.get(share) for level in found["comparison_levels"] if not level.get("is_null_level")]
        known = [value if isinstance(value, float) else MIN_SHARES[share] for value in shares]
        if sum(known) > 0.5:
            floored = [max(value, MIN_SHARES[share]) for value in known]
            news = iter([_rounded(value / sum(floored)) for value in floored])
            levels = [
                level if level.get("is_null_level") else {**level, share: next(news)}
                for level in own["comparison_levels"]
            ]
            own = {**own, "comparison_levels": levels}
        comparisons.append(own)
    return {**settings, "comparisons": comparisons}


def _term_shares(values: "pd.Series") -> dict[str, float]:
    counts = values.value_counts()
    common = counts[counts >= COMMON_TERM].sort_index()
    return {str(value): _rounded(count / counts.sum()) for value, count in common.items()}


def _term_table(values: "pd.Series", shares: Mapping[str, float], rare: float, column: str) -> Any:
    import pyarrow as pa

    distinct = sorted(values.dropna().unique())
    frequencies = [shares.get(value, rare) for value in distinct]
    return pa.table({column: pa.array(distinct, pa.string()), f"tf_{column}": pa.array(frequencies, pa.float64())})


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
